"""Deep Compression: pruned in rounds, shared, retrained, and the same network from its file."""

import pytest
import torch
from made_methods import BRIEF, toy_splits
from made_rules import toy_network

from labsupport.core.errors import LabError
from labsupport.methods.deep_compression import deep_compression, prune_in_rounds
from labsupport.methods.pruning import keep_largest, sparsity
from labsupport.methods.sharing import compress, decompress, shared_layers
from labsupport.network.fingerprint import fingerprint
from labsupport.training import evaluate

KEEP = {"0": 0.75, "4": 0.25}


@pytest.fixture(scope="module")
def splits():
    return toy_splits()


def kept(layer):
    return int((layer.weight != 0).sum())


@pytest.mark.parametrize("rounds", [1, 3])
def test_rounds_end_at_the_shares(rounds, splits):
    network = toy_network().eval()
    before = fingerprint(network)
    pruned = prune_in_rounds(network, splits, BRIEF, keep=KEEP, rounds=rounds)
    assert fingerprint(network) == before
    assert [kept(pruned[i]) for i in (0, 4, 7)] == [27, 108, 36]


def test_each_round_takes_from_what_the_last_one_left(splits):
    steps = [
        prune_in_rounds(toy_network(), splits, BRIEF, keep=0.25 ** (n / 2), rounds=n)
        for n in (1, 2)
    ]
    first, second = (step[4].weight != 0 for step in steps)
    assert first.sum() == 216
    assert second.sum() == 108
    assert not (second & ~first).any()


def test_the_file_holds_the_network_whose_weights_were_retrained(splits, tmp_path):
    network = deep_compression(
        toy_network(), splits, BRIEF, BRIEF, keep=KEEP, bits={"0": 3, "4": 2, "7": 2}, rounds=2
    )
    shared = shared_layers(network)
    assert [shared[name].centroids for name in ("0", "4", "7")] == [8, 4, 4]
    assert [kept(network[i]) for i in (0, 4)] == [27, 108]
    size = compress(network, tmp_path / "net").sum()
    read = decompress(tmp_path / "net")
    assert (tmp_path / "net").stat().st_size == size
    assert fingerprint(read) == fingerprint(network)
    assert evaluate(read, splits.test) == evaluate(network, splits.test)


def test_of_each_layer_the_largest_stay():
    network = toy_network()
    pruned = keep_largest(network, KEEP)
    for name, share in KEEP.items():
        old, new = network.get_submodule(name).weight, pruned.get_submodule(name).weight
        gone = new == 0
        assert kept(pruned.get_submodule(name)) == round(share * old.numel())
        assert old[gone].abs().max() <= old[~gone].abs().min()
    assert torch.equal(pruned[7].weight, network[7].weight)
    assert sparsity(keep_largest(network, 1.0)) == 0


@pytest.mark.parametrize(
    ("keep", "match"),
    [
        ({"4": 0}, "0 of the weights of layer 4; keep above 0"),
        (1.5, "1.5 of the weights of layer 0"),
        (-0.5, "-0.5 of the weights"),
        ({"1": 0.5}, "there is no layer 1; there are 0, 4, 7"),
    ],
)
def test_wrong_shares_are_refused_before_any_training(keep, match, splits):
    with pytest.raises(LabError, match=match):
        deep_compression(toy_network(), splits, BRIEF, BRIEF, keep=keep, bits=2)


@pytest.mark.parametrize(
    ("keep", "bits", "match"),
    [
        (0.5, 9, "9"),
        (0.5, {"nope": 4}, "no layer nope"),
        ({"0": 0.1}, 4, "layer 0"),
    ],
)
def test_wrong_bits_are_refused_before_any_training(keep, bits, match, splits, monkeypatch):
    def train(*_: object, **__: object) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr("labsupport.methods.deep_compression.fit", train)
    with pytest.raises(LabError, match=match):
        deep_compression(toy_network(), splits, BRIEF, BRIEF, keep=keep, bits=bits)


@pytest.mark.parametrize("rounds", [0, 2.5, "3", None])
def test_rounds_that_are_no_whole_number_from_one_are_refused(rounds, splits):
    with pytest.raises(LabError, match=f"pruning in {rounds} rounds"):
        prune_in_rounds(toy_network(), splits, BRIEF, keep=0.5, rounds=rounds)
