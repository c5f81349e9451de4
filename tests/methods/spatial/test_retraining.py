"""Retraining with masks in force: where gradients go, and search and retraining by turns."""

from functools import partial

import pytest
import torch
from made_methods import BRIEF, IMAGE, toy_splits
from made_rules import toy_network
from made_spatial import SHAPE, Residual, by_hand, images, made, mask_by_chance

from labsupport.core.errors import LabError
from labsupport.core.randomness import seeded
from labsupport.data import Batch
from labsupport.methods.spatial import (
    Granularity,
    Mask,
    SpatialNetwork,
    alternate,
    fast_front,
    retrain,
    savings,
    spatialize,
)
from labsupport.network.fingerprint import fingerprint
from labsupport.training import SparseOfmaps, evaluate

SEARCH = partial(fast_front, granularity=Granularity.FILTER, tries=4)


@pytest.fixture
def network():
    with seeded(0):
        return spatialize(toy_network(), IMAGE)


def test_gradients_pass_through_kept_positions_alone():
    network, x = spatialize(made(Residual), SHAPE), images().x
    layer = network.layers["stem"]
    mask = mask_by_chance(layer.ofmap)
    layer.set_mask(mask)
    maps = torch.randn(len(x), *layer.ofmap, dtype=x.dtype).relu().requires_grad_()
    (2 * layer(maps)).sum().backward()
    masked, _ = by_hand(maps.detach(), mask)
    kept = layer.kept(maps)
    assert torch.equal(maps.grad, 2.0 * kept)
    assert torch.equal(layer(maps), masked)
    assert not kept.all()


def test_a_copy_is_retrained_and_keeps_its_masks(network):
    network.set_masks(Mask.uniform(2, 1))
    network.disable("0")
    splits, before = toy_splits(), fingerprint(network)
    trained = retrain(network, splits, BRIEF, seed=1)
    assert isinstance(trained, SpatialNetwork)
    assert fingerprint(network) == before != fingerprint(trained)
    again = retrain(network, splits, BRIEF, seed=1)
    assert fingerprint(again) == fingerprint(trained)
    for name, layer in trained.layers.items():
        assert torch.equal(layer.codes, network.layers[name].codes)
        assert layer.enabled == network.layers[name].enabled


def test_sparsity_makes_maps_sparser(network):
    splits = toy_splits()
    means = {}
    for sparsity in (0.0, 30.0):
        trained = retrain(network, splits, BRIEF, sparsity=sparsity)
        batch = Batch(splits.val.x, splits.val.y)
        with torch.no_grad():
            both = (SparseOfmaps(weight)(trained.eval(), batch).loss for weight in (1.0, 0.0))
            means[sparsity] = next(both) - next(both)
    assert means[30.0] < means[0.0]


def test_turns_of_search_and_retraining_end_with_what_loses_no_more_than_eps(network):
    splits, before = toy_splits(), fingerprint(network)
    network.disable()
    accuracy = evaluate(network, splits.val).accuracy
    network.enable()
    found = alternate(network, splits, 0.05, SEARCH, BRIEF, search_eps=0.2, turns=2)
    assert fingerprint(network) == before
    assert found.trial.loss <= 0.05 + 1e-9
    measured = accuracy - evaluate(found.network, splits.val).accuracy
    assert measured == pytest.approx(found.trial.loss)
    assert savings(found.network, splits.val).saved_macs == pytest.approx(found.trial.saved_macs)
    allowed = found.steps.query("loss <= 0.05 + 1e-9")["saved_macs"]
    assert allowed.max() == found.trial.saved_macs
    assert found.steps.query("step == 'retrain'")["turn"].tolist() == [1, 2]
    assert found.steps["step"].iloc[-1] == "search"
    alone = SEARCH(network, splits.val, [0.05])[0.05].trial.saved_macs
    assert found.trial.saved_macs >= alone


def test_what_cannot_be_is_refused(network):
    splits = toy_splits()
    with pytest.raises(LabError, match="sparsity with a weight of -1"):
        retrain(network, splits, BRIEF, sparsity=-1)
    with pytest.raises(LabError, match="has no spatial layers"):
        retrain(toy_network(), splits, BRIEF)
    for wrong in ({"eps": -0.1}, {"eps": 0.1, "search_eps": -0.1}):
        with pytest.raises(LabError, match=r"eps of -0\.1"):
            alternate(network, splits, search=SEARCH, recipe=BRIEF, **wrong)
    with pytest.raises(LabError, match="0 turns"):
        alternate(network, splits, 0.1, SEARCH, BRIEF, turns=0)
