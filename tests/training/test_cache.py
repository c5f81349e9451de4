import pandas as pd
import pytest
import torch
from made_gaussians import made

from labsupport.data import Splits
from labsupport.models import ModelSpec
from labsupport.training import Constant, Recipe, cache, train_or_load

SPEC = ModelSpec("mlp", (1, 2, 2), 2, {"depth": 1, "width": 4, "norm": "batch"})
RECIPE = Recipe(epochs=3, batch_size=32)


def made_splits(fingerprint="f"):
    parts = (made(96, 0), made(33, 1), made(40, 2))
    return Splits("made", *parts, ("a", "b"), (0.0,), (1.0,), fingerprint)


@pytest.fixture(scope="module")
def splits():
    return made_splits()


def test_the_second_call_reads_what_the_first_trained(tmp_path, splits):
    first = train_or_load(SPEC, splits, RECIPE, 0, tmp_path)
    second = train_or_load(SPEC, splits, RECIPE, 0, tmp_path)
    pd.testing.assert_frame_equal(first.history, second.history)
    assert (first.seconds, first.best_epoch) == (second.seconds, second.best_epoch)
    for a, b in zip(
        first.model.state_dict().values(), second.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    assert len(list(tmp_path.iterdir())) == 1


def test_training_does_not_depend_on_what_ran_before(tmp_path, splits):
    first = train_or_load(SPEC, splits, RECIPE, 0, tmp_path / "a")
    torch.rand(100)
    second = train_or_load(SPEC, splits, RECIPE, 0, tmp_path / "b")
    x = splits.test.x
    assert torch.equal(first.model(x), second.model(x))


def test_neither_training_nor_reading_moves_the_callers_random_state(tmp_path, splits):
    draws = []
    for _ in range(2):
        torch.manual_seed(7)
        train_or_load(SPEC, splits, RECIPE, 0, tmp_path)
        draws.append(torch.rand(1))
    torch.manual_seed(7)
    assert draws == [torch.rand(1)] * 2


def test_the_key_changes_with_all_that_determines_a_network(monkeypatch):
    base = cache.key(SPEC, made_splits(), RECIPE, 0)
    others = [
        cache.key(ModelSpec("mlp", (1, 2, 2), 2, {"width": 5}), made_splits(), RECIPE, 0),
        cache.key(SPEC, made_splits("g"), RECIPE, 0),
        cache.key(SPEC, made_splits(), Recipe(epochs=4, batch_size=32), 0),
        cache.key(SPEC, made_splits(), Recipe(epochs=3, batch_size=32, schedule=Constant()), 0),
        cache.key(SPEC, made_splits(), RECIPE, 1),
    ]
    monkeypatch.setattr(cache, "code_fingerprint", lambda: "other code")
    others.append(cache.key(SPEC, made_splits(), RECIPE, 0))
    assert len({base, *others}) == len(others) + 1
    monkeypatch.undo()
    assert cache.key(SPEC, made_splits(), RECIPE, 0) == base


@pytest.mark.parametrize("damage", [b"", b"not a network", None])
def test_a_damaged_file_is_trained_anew(tmp_path, splits, damage):
    first = train_or_load(SPEC, splits, RECIPE, 0, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    again = train_or_load(SPEC, splits, RECIPE, 0, tmp_path)
    assert torch.equal(first.model(splits.test.x), again.model(splits.test.x))
    assert len(path.read_bytes()) > len(whole) // 2
