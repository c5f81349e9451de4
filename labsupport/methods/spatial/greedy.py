"""The source's search at its coarsest granularity, one pattern per layer, and the exact solution.

Imanuel and Batenkov 2019, "CNN spatial optimizations", sections 5.2.2.2 and 5.2.2.3, appendix 1.
"""

from __future__ import annotations

from itertools import product

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.methods.spatial.masks import Mask
from labsupport.methods.spatial.network import SpatialNetwork
from labsupport.methods.spatial.patterns import patterns
from labsupport.methods.spatial.trials import Choice, Found, Trial, Trials, check_eps

MOST_PASSES = 10_000  # of the exact solution
NOTHING = Trial(0.0, 0.0)
Options = list[tuple[Mask | None, Trial]]


def greedy_uniform_layers(
    network: SpatialNetwork,
    split: Batched,
    eps: float,
    p: int = 2,
    ones: tuple[int, int] | None = None,
    batch_size: int = 250,
) -> Found:
    """One pattern for each layer, each layer tried by itself, then all of them relaxed together.

    First every pattern is tried in every layer alone. Those that lose more than `eps` go; the
    others are sorted by what they save. The layers' first ones together are the first mask of the
    network. As long as it loses too much, the layer whose pattern loses most by itself takes its
    next one that loses less, in the end none. This takes layers x patterns passes, and those of
    the relaxation. `eps` is an accuracy: 0.01 for one point. Raises LabError for a negative eps, a
    range of `ones` without a pattern, and a split without images.
    """
    check_eps(eps)
    masks = _masks(p, ones)
    trials = Trials(network, split, batch_size)
    options = {
        name: _options([(mask, trials.run("layer", {name: mask})) for mask in masks], eps)
        for name in network.layers
    }
    choice = _first(options)
    while any(mask is not None for mask in choice.values()):
        trial = trials.run("network", choice)
        if trial.loss <= eps:
            return trials.found(choice, trial)
        _relax(options)
        choice = _first(options)
    return trials.found(choice, NOTHING)


def exact_uniform_layers(
    network: SpatialNetwork,
    split: Batched,
    eps: float,
    p: int = 2,
    ones: tuple[int, int] | None = None,
    batch_size: int = 250,
) -> Found:
    """The patterns, or none, for each layer that save most within `eps`, by trying all of them.

    Raises LabError as `greedy_uniform_layers` does, and for more than 10,000 combinations.
    """
    check_eps(eps)
    options, names = [None, *_masks(p, ones)], list(network.layers)
    if len(options) ** len(names) > MOST_PASSES:
        problem = f"{len(options)} options in {len(names)} layers are too many to try all"
        raise LabError(problem, f"keep to {MOST_PASSES:,} combinations, or search greedily")
    trials = Trials(network, split, batch_size)
    best: tuple[Choice, Trial] = (dict.fromkeys(names), NOTHING)
    for masks in product(options, repeat=len(names)):
        choice = dict(zip(names, masks, strict=True))
        trial = trials.run("network", choice)
        if trial.loss <= eps and _worth(trial) > _worth(best[1]):
            best = choice, trial
    return trials.found(*best)


def _worth(trial: Trial) -> tuple[float, float]:
    """More is better: what is saved, and among equals what is not lost."""
    return trial.saved_macs, -trial.loss


def _masks(p: int, ones: tuple[int, int] | None) -> list[Mask]:
    return [Mask.uniform(p, code) for code in patterns(p, ones).tolist()]


def _options(tried: list[tuple[Mask, Trial]], eps: float) -> Options:
    """What a layer may take, the one that saves most first; each loses less than the one before.

    The last one is no mask.
    """
    in_order = sorted(tried, key=lambda one: _worth(one[1]), reverse=True)
    allowed = [one for one in in_order if one[1].loss <= eps]
    losses = [trial.loss for _, trial in allowed]
    less = [one for i, one in enumerate(allowed) if all(losses[i] < loss for loss in losses[:i])]
    return [*less, (None, NOTHING)]


def _first(options: dict[str, Options]) -> dict[str, Mask | None]:
    return {name: of_layer[0][0] for name, of_layer in options.items()}


def _relax(options: dict[str, Options]) -> None:
    """Let the layer whose first option loses most by itself go on to its next one."""
    left = [name for name, of_layer in options.items() if len(of_layer) > 1]
    del options[max(left, key=lambda name: options[name][0][1].loss)][0]
