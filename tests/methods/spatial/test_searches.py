"""The greedy search against the exact solution, and that against a loop over all masks."""

from itertools import product

import pytest
import torch
from made_spatial import SHAPE, Residual, chain, images, made
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.methods.spatial import (
    Granularity,
    Mask,
    disabled,
    everything,
    exact_search,
    fast_search,
    first_passes,
    greedy_search,
    patterns,
    savings,
    spatialize,
)
from labsupport.network.fingerprint import fingerprint

SEARCHES = (greedy_search, exact_search)
TINY = (1, 4, 2)
PLACES = {
    Granularity.LAYER: 1, Granularity.FILTER: 2, Granularity.POSITION: 2, Granularity.PATCH: 4
}  # fmt: skip


def tiny():
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def own_answers(network, shape, n=40):
    """Images with the answers that the network gives without masks as labels."""
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with disabled(network), torch.no_grad():
        return Split(x, network(x).argmax(1))


def measured(network, split):
    """MACs that an image saves with the masks as they are, and the share of wrong answers."""
    with torch.no_grad():
        wrong = (network(split.x).argmax(1) != split.y).double().mean().item()
    return savings(network, split).saved_macs, wrong


def best_by_hand(network, split, eps, granularity):
    (layer,) = network.layers.values()
    shape, codes = granularity.shape(layer.ofmap, 2), [everything(2), 1, 2, 4, 8]
    best = 0.0
    for choice in list(product(codes, repeat=shape.numel()))[1:]:
        layer.set_mask(Mask(2, torch.tensor(choice).view(shape)))
        saved, loss = measured(network, split)
        best = max(best, saved if loss <= eps else 0)
    return best


@pytest.mark.parametrize("granularity", Granularity)
def test_the_exact_solution_is_the_best_of_all_masks_and_greedy_within_it(granularity):
    network, eps = spatialize(made(tiny), TINY), 0.1
    split, before = own_answers(network, TINY), fingerprint(network)
    exact, greedy = (
        exact_search(network, split, eps, granularity, ones=(1, 1)),
        greedy_search(network, split, eps, granularity, ones=(1, 1), gt=1),
    )
    assert fingerprint(network) == before
    assert len(exact.passes) == 1 + 5 ** PLACES[granularity]
    best = best_by_hand(network, split, eps, granularity)
    assert exact.trial.saved_macs == pytest.approx(best)
    assert best > 0
    for found in (exact, greedy):
        assert measured(found.network, split) == pytest.approx(
            (found.trial.saved_macs, found.trial.loss)
        )
        assert found.trial.loss <= eps
    assert greedy.trial.saved_macs <= exact.trial.saved_macs + 1e-9
    targets = (greedy.passes["stage"] == "targets").sum()
    assert targets == 4 * PLACES[granularity]
    assert targets == first_passes(network, granularity, ones=(1, 1), gt=1)


@pytest.mark.parametrize("eps", [0.0, 0.02, 0.1, 1.0])
@pytest.mark.parametrize(("p", "ones"), [(2, None), (3, (1, 1))])
def test_one_pattern_in_one_layer_is_found_exactly(eps, p, ones):
    network = spatialize(made(chain), SHAPE, convolutions=["3"])
    split = own_answers(network, SHAPE)
    greedy, exact = (
        search(network, split, eps, Granularity.LAYER, p=p, ones=ones) for search in SEARCHES
    )
    assert greedy.trial == exact.trial
    assert len(greedy.passes) <= 1 + 2 * len(patterns(p, ones))


def test_two_layers_against_all_pairs_of_patterns():
    network = spatialize(made(chain), SHAPE)
    split = own_answers(network, SHAPE)
    greedy, exact = (
        search(network, split, 0.1, Granularity.LAYER, ones=(1, 1)) for search in SEARCHES
    )
    assert len(exact.passes) == 1 + 5**2
    assert 0 < greedy.trial.saved_macs == pytest.approx(exact.trial.saved_macs)
    assert max(greedy.trial.loss, exact.trial.loss) <= 0.1
    steps = greedy.passes.query("stage == 'network' and loss <= 0.1")["saved_macs"]
    assert steps.iloc[0] < greedy.trial.saved_macs  # the first that may be is not the best


@pytest.mark.parametrize(
    ("granularity", "gt", "targets"),
    [
        (Granularity.LAYER, 1, 1 + 1),
        (Granularity.FILTER, 1, 4 + 6),
        (Granularity.POSITION, 1, 4 * 3 + 1),
        (Granularity.POSITION, 2, 2 * 2 + 1),
        (Granularity.PATCH, 2, 4 * 2 * 2 + 6),
        (Granularity.PATCH, 10, 4 + 6),
    ],
)
def test_every_pattern_is_tried_in_every_target(granularity, gt, targets):
    network = spatialize(made(chain), SHAPE)
    options = {"ones": (3, 3), "gt": gt}
    found = greedy_search(network, images(4), 1.0, granularity, **options)
    assert first_passes(network, granularity, **options) == 4 * targets
    assert (found.passes["stage"] == "targets").sum() == 4 * targets


def test_blocks_as_large_as_the_map_are_the_search_by_filters():
    network = spatialize(made(chain), SHAPE)
    split = own_answers(network, SHAPE)
    by_patch, by_filter = (
        greedy_search(network, split, 0.1, granularity, ones=(1, 1), gt=10)
        for granularity in (Granularity.PATCH, Granularity.FILTER)
    )
    assert by_patch.trial == by_filter.trial
    assert by_patch.passes.equals(by_filter.passes)


def test_filters_put_together_save_what_they_save_by_themselves():
    network = spatialize(made(chain), SHAPE, convolutions=["0"])
    split = own_answers(network, SHAPE)
    found = greedy_search(network, split, 1.0, Granularity.FILTER, ones=(1, 1), top=2)
    passes = found.passes.groupby("stage", sort=False)["saved_macs"]
    alone = passes.get_group("targets").to_numpy().reshape(4, 4)
    assert passes.get_group("filters").iloc[0] == pytest.approx(alone.max(1).sum())
    assert found.trial.saved_macs == pytest.approx(alone.max(1).sum())


def test_where_all_may_be_lost_every_layer_is_masked_at_once():
    network = spatialize(made(Residual), SHAPE)
    split = own_answers(network, SHAPE)
    found = greedy_search(network, split, 1.0, Granularity.LAYER, ones=(1, 2))
    assert found.passes["saved_macs"].idxmax() == (found.passes["stage"] == "network").idxmax()
    assert all(layer.enabled for layer in found.network.layers.values())


@pytest.mark.parametrize("search", [*SEARCHES, fast_search])
def test_where_every_mask_loses_too_much_none_is_left(search):
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.fill_(1)
        net[3].weight.copy_(torch.tensor([[-1.0] * 4, [1.0] * 4]))
        net[3].bias.copy_(torch.tensor([0.5, 0]))
    x = torch.eye(4).view(4, 1, 2, 2)  # one bright pixel, which three of four masks overlook
    network, split = spatialize(net, (1, 2, 2)), Split(x, torch.ones(4, dtype=torch.int64))
    found = search(network, split, 0.5, Granularity.LAYER, ones=(1, 1))
    assert found.trial.saved_macs == found.trial.loss == 0
    assert not any(layer.enabled for layer in found.network.layers.values())
    assert torch.equal(found.network.masks["0"].codes, network.masks["0"].codes)
    kept = search(network, split, 0.75, Granularity.LAYER, ones=(1, 1))
    assert (kept.trial.loss, kept.trial.saved_macs) == (0.75, 2.25)


@pytest.mark.parametrize("search", SEARCHES)
def test_what_cannot_be_is_refused(search):
    network, split = spatialize(made(chain), SHAPE), images()
    for eps in (-0.01, float("nan")):
        with pytest.raises(LabError, match=f"eps of {eps}"):
            search(network, split, eps, Granularity.LAYER)
    with pytest.raises(LabError, match="no pattern of 2 x 2 has 3 to 2 ones"):
        search(network, split, 0.0, Granularity.LAYER, ones=(3, 2))
    with pytest.raises(LabError, match="no images"):
        search(network, images(0), 0.0, Granularity.LAYER)


def test_bounds_of_the_searches_are_checked():
    network = spatialize(made(Residual), SHAPE)
    with pytest.raises(LabError, match="15 options in 5 places are too many"):
        exact_search(network, images(), 0.0, Granularity.LAYER)
    for wrong in ({"gt": 0}, {"top": 0}):
        with pytest.raises(LabError, match="give at least 1 of each"):
            greedy_search(network, images(), 0.0, Granularity.PATCH, **wrong)


@pytest.mark.parametrize(("top", "steps"), [(1, 1), (2, 2), (100, 3)])
def test_the_best_options_of_a_layer_are_relaxed_one_by_one(top, steps):
    network = spatialize(made(chain), SHAPE, convolutions=["0"])
    split = own_answers(network, SHAPE)
    found = greedy_search(network, split, 0.5, Granularity.FILTER, ones=(1, 2), top=top)
    assert (found.passes["stage"] == "network").sum() == steps
