from itertools import product

import pytest
import torch
from made_spatial import SHAPE, Residual, chain, images, made
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.methods.spatial import (
    Mask,
    disabled,
    exact_uniform_layers,
    greedy_uniform_layers,
    patterns,
    savings,
    spatialize,
)
from labsupport.network.fingerprint import fingerprint

SEARCHES = (greedy_uniform_layers, exact_uniform_layers)


def right_split(network, n=40):
    """Images with the answers that the network gives without masks as labels."""
    x = images(n).x
    with disabled(network), torch.no_grad():
        return Split(x, network(x).argmax(1))


def measured(network, split):
    """MACs that an image saves with the masks as they are, and the share of wrong answers."""
    with torch.no_grad():
        wrong = (network(split.x).argmax(1) != split.y).double().mean().item()
    return savings(network, split).saved_macs, wrong


def best_by_hand(network, split, eps, codes):
    best = 0.0
    for choice in product([None, *codes], repeat=len(network.layers)):
        network.disable()
        for name, code in zip(network.layers, choice, strict=True):
            if code is not None:
                network.set_masks({name: Mask.uniform(2, code)})
                network.enable(name)
        saved, loss = measured(network, split)
        best = max(best, saved if loss <= eps else 0)
    return best


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.2])
def test_the_exact_solution_is_the_best_of_all_and_greedy_is_within_it(eps):
    network = spatialize(made(chain), SHAPE)
    split, before = right_split(network), fingerprint(network)
    exact, greedy = (search(network, split, eps, ones=(1, 1)) for search in reversed(SEARCHES))
    assert fingerprint(network) == before
    assert len(exact.passes) == 1 + 5**2
    assert exact.trial.saved_macs == pytest.approx(
        best_by_hand(network, split, eps, patterns(2, (1, 1)).tolist())
    )
    for found in (exact, greedy):
        saved, loss = measured(found.network, split)
        assert found.trial.saved_macs == pytest.approx(saved)
        assert found.trial.loss == pytest.approx(loss)
        assert loss <= eps
    assert greedy.trial.saved_macs <= exact.trial.saved_macs + 1e-9
    assert (greedy.passes["stage"] == "layer").sum() == 2 * 4


@pytest.mark.parametrize("eps", [0.0, 0.02, 0.1, 1.0])
@pytest.mark.parametrize(("p", "ones"), [(2, None), (3, (1, 1))])
def test_in_a_network_of_one_layer_greedy_is_exact(eps, p, ones):
    network = spatialize(made(chain), SHAPE, convolutions=["3"])
    split = right_split(network)
    greedy, exact = (search(network, split, eps, p, ones) for search in SEARCHES)
    assert greedy.trial == exact.trial
    assert len(greedy.passes) <= 1 + len(patterns(p, ones)) + 1


def test_where_all_may_be_lost_every_layer_takes_what_saves_most_by_itself():
    network = spatialize(made(Residual), SHAPE)
    found = greedy_uniform_layers(network, right_split(network), 1.0, ones=(1, 2))
    assert (found.passes["stage"] == "network").sum() == 1
    assert all(layer.enabled for layer in found.network.layers.values())


def test_where_every_mask_loses_too_much_none_is_left():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.fill_(1)
        net[3].weight.copy_(torch.tensor([[-1.0] * 4, [1.0] * 4]))
        net[3].bias.copy_(torch.tensor([0.5, 0]))
    x = torch.eye(4).view(4, 1, 2, 2)  # one bright pixel, which three of four masks overlook
    network, split = spatialize(net, (1, 2, 2)), Split(x, torch.ones(4, dtype=torch.int64))
    for search in SEARCHES:
        found = search(network, split, 0.5, ones=(1, 1))
        assert found.trial.saved_macs == found.trial.loss == 0
        assert not any(layer.enabled for layer in found.network.layers.values())
        kept = search(network, split, 0.75, ones=(1, 1))
        assert (kept.trial.loss, kept.trial.saved_macs) == (0.75, 2.25)


@pytest.mark.parametrize("search", SEARCHES)
def test_what_cannot_be_is_refused(search):
    network, split = spatialize(made(chain), SHAPE), images()
    for eps in (-0.01, float("nan")):
        with pytest.raises(LabError, match=f"eps of {eps}"):
            search(network, split, eps)
    with pytest.raises(LabError, match="no pattern of 2 x 2 has 3 to 2 ones"):
        search(network, split, 0.0, ones=(3, 2))
    with pytest.raises(LabError, match="no images"):
        search(network, images(0), 0.0)


def test_too_many_combinations_are_refused():
    network = spatialize(made(Residual), SHAPE)
    with pytest.raises(LabError, match="15 options in 5 layers are too many"):
        exact_uniform_layers(network, images(), 0.0)
