from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from labsupport.core.errors import LabError
from labsupport.measure import formulas
from labsupport.sweep import Setup, clock_trials, networks
from labsupport.training import Recipe, evaluate, sources


@dataclass(frozen=True)
class Blank:
    """A reader's own augmentation."""

    def __call__(self, x):
        return x


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return Setup("mnist5k", Recipe(epochs=1, batch_size=64), folder, max_train=256)


def test_a_trial_counts_and_judges_its_network(setup):
    figures = setup.trial(seed=0, depth=1, width=8, size=14)
    splits = setup.splits(14)
    fit = setup.fit(seed=0, depth=1, width=8, size=14)
    assert figures["macs"] == formulas.linear_macs(196, 8) + formulas.linear_macs(8, 10)
    assert figures["accuracy"] == evaluate(fit.model, splits.test).accuracy
    assert figures["val_accuracy"] == evaluate(fit.model, splits.val).accuracy


def test_a_crop_and_a_resize_to_one_size_are_the_same_network_on_other_images(setup):
    crop, resize = (setup.trial(seed=0, width=8, **sides) for sides in ({"crop": 14}, {"size": 14}))
    assert crop["macs"] == resize["macs"]
    assert not torch.equal(setup.splits(crop=14).test.x, setup.splits(14).test.x)


def test_the_threads_of_the_caller_are_neither_used_nor_changed(setup):
    before = torch.get_num_threads()
    setup.trial(seed=0, depth=1, width=8, size=14)
    try:
        torch.set_num_threads(2)
        stored = set(setup.cache.iterdir())
        setup.trial(seed=0, depth=1, width=8, size=14)
        assert set(setup.cache.iterdir()) == stored  # the same network, found again
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_fingerprint_changes_with_all_that_a_trial_does_not_name(setup):
    others = [
        replace(setup, recipe=Recipe(epochs=2, batch_size=64)),
        replace(setup, split_seed=1),
        replace(setup, max_train=128),
        replace(setup, threads=2),
    ]
    assert len({setup.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert replace(setup, cache=Path("elsewhere")).fingerprint == setup.fingerprint


def test_the_fingerprint_stands_on_the_code_of_figures_and_of_the_recipe(setup, monkeypatch):
    asked = []
    monkeypatch.setattr(networks, "code_fingerprint", lambda names: str(asked.append(names)))
    assert replace(setup, recipe=Recipe(augmentation=(Blank(),))).fingerprint
    assert "test_networks" in asked[0]
    found = sources._with_imports(frozenset(asked[0]))
    parts = ("cost", "operators", "counting", "storage", "structure")
    assert {f"labsupport.network.{part}" for part in parts} <= found.keys()


def test_folders_are_the_same_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "set.csv").write_text("0,1,2,3,4\n")
    monkeypatch.chdir(tmp_path)
    setup = Setup("csv:set.csv", Recipe(), Path("cache"))
    assert setup.data == f"csv:{tmp_path / 'set.csv'}"
    assert setup.cache == tmp_path / "cache"
    assert setup.data_dir.is_absolute()


def test_a_set_that_is_not_there_is_told_at_once(tmp_path):
    with pytest.raises(LabError, match=r"there is no nothing\.csv"):
        Setup("csv:nothing.csv", Recipe(), tmp_path)


def test_networks_of_different_inputs_are_clocked_against_each_other(setup):
    trials = {
        "small": {"seed": 0, "depth": 1, "width": 8, "size": 14},
        "large": {"seed": 0, "depth": 4, "width": 512},
    }
    table = clock_trials(setup, trials, rounds=3, calls=5)
    assert list(table["variant"]) == ["small", "large"]
    table = table.set_index("variant")
    assert table.loc["small", "latency_b1_ms"] < table.loc["large", "latency_b1_ms"]
    assert (table[["latency_b1_iqr_ms", "latency_b1_anchor_ratio_clocked"]] >= 0).all().all()
    assert table.loc["small", "latency_b1_base_ratio_clocked"] == 1
