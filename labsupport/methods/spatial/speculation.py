"""The search for SnaPEA's predictive mode: how many weights predict, and below which sums."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import pandas as pd
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.methods.spatial.snapea_layer import SnapeaLayer
from labsupport.methods.spatial.snapea_network import SnapeaNetwork
from labsupport.methods.spatial.trials import Trial, checked_eps, worth
from labsupport.network.cost import predict_with_cost
from labsupport.network.modes import evaluating

RATES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4)
Seen = dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Speculation:
    """What a search came to: a network in predictive mode, what it does to accuracy, all passes.

    `passes` has a row for each forward pass over the split: rate, saved_macs, loss. Saved are MACs
    of an image that the exact mode does.
    """

    network: SnapeaNetwork
    trial: Trial
    passes: pd.DataFrame


def speculate(
    network: SnapeaNetwork,
    split: Batched,
    eps: float,
    *,
    rates: Sequence[float] = RATES,
    shares: Sequence[float] = SHARES,
    profiled: int = 64,
    batch_size: int = 250,
) -> Speculation:
    """Predictive modes that lose at most `eps` of the accuracy on a split (0.01 is a point).

    A rate is the share of a filter's positive elements that may be predicted to be zero: it sets
    the filter's threshold. A layer predicts by that one of the `shares` of its weights which leaves
    the fewest MACs. Both are taken from the first `profiled` images. The rate is the same in all
    layers, and bisected among `rates` by a forward pass each; of all that lose at most `eps`, what
    saves most is the answer, be it the exact mode. (The source tunes every filter by itself.)

    Raises LabError for a negative eps, for rates or shares outside 0 to 1, or none, and for a split
    without images.
    """
    _check(eps, rates, shares)
    exact = copy.deepcopy(network)
    for layer in exact.layers.values():
        layer.be_exact()
    right, macs = _right_and_macs(exact, split, batch_size)
    seen = _seen(exact, split, profiled)
    best, rows = (exact, Trial(0.0, 0.0)), [{"rate": math.nan, "saved_macs": 0.0, "loss": 0.0}]
    left = sorted(rates)
    while left:
        middle = len(left) // 2
        candidate = _at_rate(exact, seen, left[middle], shares)
        right_now, macs_now = _right_and_macs(candidate, split, batch_size)
        trial = Trial(macs - macs_now, (right - right_now) / len(split))
        rows.append({"rate": left[middle], **vars(trial)})
        if trial.loss <= eps:
            best = max(best, (candidate, trial), key=lambda one: worth(one[1]))
        left = left[middle + 1 :] if trial.loss <= eps else left[:middle]
    return Speculation(*best, pd.DataFrame(rows))


def _check(eps: float, rates: Sequence[float], shares: Sequence[float]) -> None:
    checked_eps(eps)
    if not rates or not shares or not all(0 <= part <= 1 for part in (*rates, *shares)):
        problem = f"rates {tuple(rates)} and shares {tuple(shares)}"
        raise LabError(problem, "give at least one of each, from 0 to 1")


def _right_and_macs(network: SnapeaNetwork, split: Batched, batch_size: int) -> tuple[int, float]:
    """How many images are classified correctly, and the MACs of one."""
    logits, cost = predict_with_cost(network, split, batch_size)
    labels = torch.cat([y for _, y in split.batches(batch_size)])
    return int((logits.argmax(1) == labels).sum()), cost.fp_macs


@torch.no_grad()
def _seen(network: SnapeaNetwork, split: Batched, images: int) -> Seen:
    """What each layer gets for the first images: its convolution's input and the ReLU's map."""
    seen: Seen = {}

    def keep(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen[cast(SnapeaLayer, layer).name] = given[0].clone(), given[1].clone()

    hooks = [layer.register_forward_pre_hook(keep) for layer in network.layers.values()]
    with evaluating(network):
        network(next(split.batches(images))[0])
    for hook in hooks:
        hook.remove()
    return seen


def _at_rate(
    exact: SnapeaNetwork, seen: Seen, rate: float, shares: Sequence[float]
) -> SnapeaNetwork:
    """A copy whose layers predict at a rate, each by the number of weights that saves most."""
    network = copy.deepcopy(exact)
    for name, layer in network.layers.items():
        x, y = seen[name]
        numbers = sorted({max(1, round(share * layer.macs)) for share in shares})
        options = [(first, _thresholds(layer.first_sums(x, first), y, rate)) for first in numbers]
        saved = [_saved(layer, x, y, *option) for option in options]
        layer.be_exact()
        if max(saved) > -layer.forward_cost(x, y).fp_macs:
            layer.predict_zeros(*options[saved.index(max(saved))])
    return network


def _saved(layer: SnapeaLayer, x: Tensor, y: Tensor, first: int, thresholds: Tensor) -> float:
    """MACs that a layer saves in a predictive mode."""
    layer.predict_zeros(first, thresholds)
    return -layer.forward_cost(x, layer(x, y)).fp_macs


def _thresholds(sums: Tensor, y: Tensor, rate: float) -> Tensor:
    """Of each filter, the sum below which a share `rate` of the positive elements lies.

    A filter without positive elements gets none, minus infinity.
    """
    of_positive = [sums[:, f][y[:, f] > 0] for f in range(sums.shape[1])]
    endless = sums.new_tensor(-math.inf)
    return torch.stack([of.quantile(rate) if len(of) else endless for of in of_positive])
