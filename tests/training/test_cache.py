import copy
import importlib
import sys
import threading
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd
import pytest
import torch
from made_gaussians import made
from torch import nn
from torch.nn.functional import cross_entropy

from labsupport.core.errors import LabError
from labsupport.data import Split, Splits, stream
from labsupport.models import ModelSpec
from labsupport.network.modes import on_threads
from labsupport.network.storage import read_about
from labsupport.training import (
    SGD,
    Constant,
    Cyclic,
    Recipe,
    Shift,
    Snapshots,
    Step,
    cache,
    derive,
    evaluate,
    fit_or_load,
    no_bias_decay,
    snapshots,
    train_or_load,
)

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


class Local(nn.ReLU):
    """As if a notebook had defined it."""

    __module__ = "__main__"


@dataclass(frozen=True)
class Weighted:
    """An objective with a knob, and a teacher."""

    weight: float = 1.0
    teacher: nn.Module | None = None

    def __call__(self, model, batch):
        logits = model(batch.x)
        return Step(self.weight * cross_entropy(logits, batch.y), logits, batch.y)


@dataclass(frozen=True)
class Clipped:
    """What is done after each step."""

    limit: float

    def __call__(self, model, step):
        for weight in model.parameters():
            weight.clamp_(-self.limit, self.limit)


def loss_score(model, part):
    return -evaluate(model, part).loss


def net(seed=0, frozen=False, eval_mode=False):
    torch.manual_seed(seed)
    model = SPEC.build()
    model[1].weight.requires_grad_(not frozen)
    model[2].train(not eval_mode)
    return model


ONCE = Recipe(epochs=1, batch_size=32)
BASE = {"model": net(), "recipe": ONCE, "seed": 0, "objective": Weighted(1.0, net(1))}


def moved(splits):
    """Other training images under the same fingerprint, as `replace` leaves it."""
    return replace(splits, train=Split(splits.train.x + 1, splits.train.y))


def with_extras(splits, value):
    """The same images with something beside their labels."""
    extras = {"hint": torch.full((len(splits.train), 1), value)}
    return replace(splits, train=replace(splits.train, extras=extras))


@pytest.mark.parametrize(
    "changed",
    [
        {"model": net(1)},
        {"model": net(frozen=True)},
        {"model": net(eval_mode=True)},
        {"recipe": Recipe(epochs=1, batch_size=16)},
        {"recipe": replace(ONCE, schedule=Constant())},
        {"recipe": replace(ONCE, optimizer=SGD(momentum=0.5))},
        {"recipe": replace(ONCE, augmentation=(Shift(1),))},
        {"seed": 1},
        {"objective": None},
        {"groups": no_bias_decay},
        {"after_step": Clipped(1.0)},
        {"score": loss_score},
        {"objective": Weighted(2.0, net(1))},
        {"objective": Weighted(1.0, net(2))},
    ],
)
def test_the_key_changes_with_all_that_determines_a_network(tmp_path, splits, changed):
    for given in (BASE, BASE | changed):
        fit_or_load(splits=splits, folder=tmp_path, **given)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_key_changes_with_images_code_and_threads(tmp_path, splits, monkeypatch):
    def files(of=splits):
        fit_or_load(splits=of, folder=tmp_path, **BASE)
        return len(list(tmp_path.iterdir()))

    assert [files(), files(moved(splits)), files(made_splits("g"))] == [1, 2, 3]
    assert [files(with_extras(splits, hint)) for hint in (0.0, 1.0)] == [4, 5]
    with on_threads(torch.get_num_threads() + 1):
        assert files() == 6
    monkeypatch.setattr(cache, "code_fingerprint", lambda modules: "other code")
    assert files() == 7


def test_the_key_changes_with_the_processors_instructions(tmp_path, splits, monkeypatch):
    def files():
        fit_or_load(splits=splits, folder=tmp_path, **BASE)
        return len(list(tmp_path.iterdir()))

    assert files() == 1
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    assert files() == 2
    for number, name in enumerate(cache.INSTRUCTION_SETS, 3):
        monkeypatch.setenv(name, "less")
        assert files() == number


def test_the_key_changes_with_nothing_else(tmp_path, splits):
    twin = {"model": copy.deepcopy(net()).eval(), "objective": Weighted(1.0, net(1).eval())}
    torch.rand(1)
    for given in (BASE, BASE | twin, BASE | {"progress": True}):
        fit_or_load(splits=made_splits(), folder=tmp_path, **given)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_key_stands_on_the_code_of_objective_network_and_training(
    tmp_path, splits, monkeypatch
):
    asked = []
    monkeypatch.setattr(cache, "code_fingerprint", lambda modules: str(asked.append(modules)))
    fit_or_load(splits=splits, folder=tmp_path, **BASE)
    assert {"test_cache", "labsupport.training.loop", "torch.nn.modules.linear"} <= asked[0]


def test_what_was_trained_is_read_back_with_its_history_and_its_seconds(tmp_path, splits):
    first, second = (fit_or_load(splits=splits, folder=tmp_path, **BASE) for _ in range(2))
    pd.testing.assert_frame_equal(first.history, second.history, check_exact=True)
    assert (first.seconds, first.seed) == (second.seconds, second.seed)
    assert torch.equal(first.model(splits.test.x), second.model(splits.test.x))
    (path,) = tmp_path.iterdir()
    assert read_about(path)["recipe"] == ONCE
    assert path.name.startswith("Sequential-")


def test_what_cannot_be_kept_is_refused_before_it_is_trained(tmp_path, splits, monkeypatch):
    monkeypatch.setattr(cache, "fit", train_or_load)
    for wrong in ({"model": net().append(Local())}, {"objective": lambda *_: None}):
        with pytest.raises(LabError):
            fit_or_load(splits=splits, folder=tmp_path, **BASE | wrong)


def test_snapshots_are_derived_and_not_fitted(tmp_path, splits):
    with pytest.raises(LabError, match=r"several networks.*use derive"):
        fit_or_load(splits=splits, folder=tmp_path, **BASE | {"after_step": Snapshots([1])})
    given = {"splits": splits, "recipe": Recipe(2, 32, schedule=Cyclic(2), keep="last"), "seed": 0}
    first, second = (derive(tmp_path, snapshots, net(), **given).network for _ in range(2))
    assert len(first) == len(second) == 2
    assert torch.equal(first[1](splits.test.x), second[1](splits.test.x))
    with pytest.raises(LabError, match="has no cycles"):
        snapshots(net(), splits, ONCE, 0)


def test_an_edited_module_that_is_reloaded_makes_another_network(tmp_path, monkeypatch):
    source = "import copy\ndef grown(net):\n    net = copy.deepcopy(net)\n"
    source += "    net[1].weight.data.fill_({})\n    return net\n"
    path = tmp_path / "my_growth.py"
    path.write_text(source.format(1))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("my_growth")
    before = derive(tmp_path, module.grown, net()).network
    path.write_text(source.format(20))
    after = derive(tmp_path, importlib.reload(module).grown, net()).network
    del sys.modules["my_growth"]
    assert (before[1].weight == 1).all()
    assert (after[1].weight == 20).all()


def test_images_on_disk_are_told_apart_by_their_rows(tmp_path):
    recipe = Recipe(epochs=1, batch_size=500)
    splits = stream("mnist5k", max_train=100)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    for part in (splits, stream("mnist5k", max_train=100), replaced(splits, 50)):
        fit_or_load(model, part, recipe, 0, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def replaced(splits, n):
    return replace(splits, train=splits.train.take(n))


# Networks that are derived from others.


def scaled(model, by=2.0, split=None):
    """A copy with larger weights, and noise drawn from torch's random state."""
    model = copy.deepcopy(model)
    for weight in model.parameters():
        weight.data = by * weight.data + torch.rand(weight.shape)
    return model


def blended(first, second):
    both = nn.ModuleList([copy.deepcopy(first), copy.deepcopy(second)])
    return both.train()


def accuracy(model):
    return 0.5


def test_a_derived_network_is_made_once_and_read_back(tmp_path, splits):
    parent = net()
    state = torch.get_rng_state()
    first = derive(tmp_path, scaled, parent, by=3.0, split=splits.train)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    second = derive(tmp_path, scaled, parent, by=3.0, split=splits.train)
    assert first.seconds == second.seconds > 0
    assert torch.equal(first.network(splits.test.x), second.network(splits.test.x))
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("scaled-")


def test_several_networks_are_derived_from_several(tmp_path):
    made = derive(tmp_path, blended, net(0), net(1)).network
    assert len(made) == 2
    assert not made.training
    assert torch.equal(made[1][1].weight, net(1)[1].weight)
    derive(tmp_path, blended, net(1), net(0))
    assert len(list(tmp_path.iterdir())) == 2


def test_the_key_of_a_derived_network_changes_with_all_that_determines_it(
    tmp_path, splits, monkeypatch
):
    def files(*parents, **arguments):
        derive(tmp_path, scaled, *parents, **arguments)
        return len(list(tmp_path.iterdir()))

    assert [files(net()), files(net(1)), files(net(), by=1.0), files(net(), by=2.0)] == [1, 2, 3, 4]
    assert [files(net(), split=splits), files(net(), split=moved(splits))] == [5, 6]
    assert files(net().eval()) == 6
    monkeypatch.setattr(cache, "code_fingerprint", lambda modules: "other code")
    assert files(net()) == 7


def test_what_is_no_network_or_has_no_name_is_not_derived(tmp_path):
    with pytest.raises(LabError, match="a float cannot be kept"):
        derive(tmp_path, accuracy, net())
    with pytest.raises(LabError, match="a lambda has no name"):
        derive(tmp_path, lambda model: model, net())
    with pytest.raises(LabError, match="has no description"):
        derive(tmp_path, scaled, net(), by=object())


@pytest.mark.parametrize("damage", [b"", b"not a network", None])
def test_a_damaged_file_is_trained_anew(tmp_path, splits, damage):
    first = train_or_load(SPEC, splits, RECIPE, 0, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    again = train_or_load(SPEC, splits, RECIPE, 0, tmp_path)
    assert torch.equal(first.model(splits.test.x), again.model(splits.test.x))
    assert len(path.read_bytes()) > len(whole) // 2


def test_many_may_train_the_same_network_at_once(tmp_path, splits):
    results = []
    work = [
        threading.Thread(
            target=lambda: results.append(fit_or_load(splits=splits, folder=tmp_path, **BASE))
        )
        for _ in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(results) == 4
    assert len(list(tmp_path.iterdir())) == 1


def test_a_function_without_a_name_is_refused(tmp_path):
    with pytest.raises(LabError, match="a partial has no name"):
        derive(tmp_path, partial(narrower, width=2))


def narrower(width):
    return nn.Linear(width, width)
