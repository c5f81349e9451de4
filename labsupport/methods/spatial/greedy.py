"""The source's search for masks: targets by themselves, then what they make up, level by level.

Imanuel and Batenkov 2019, "CNN spatial optimizations", section 5.2.2 and appendix 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.methods.spatial.layer import SpatialLayer
from labsupport.methods.spatial.masks import Granularity, Mask
from labsupport.methods.spatial.network import SpatialNetwork
from labsupport.methods.spatial.patterns import everything, patterns
from labsupport.methods.spatial.reruns import LayerTrials
from labsupport.methods.spatial.trials import Found, Trial, Trials, or_none, worth

Options = list[tuple[Tensor, Trial]]  # codes of a layer's mask, and what they do by themselves


def greedy_search(
    network: SpatialNetwork,
    split: Batched,
    eps: float,
    granularity: Granularity,
    *,
    p: int = 2,
    ones: tuple[int, int] | None = None,
    gt: int = 10,
    top: int = 4,
    batch_size: int = 250,
) -> Found:
    """Masks that lose at most `eps` of the accuracy on a split (0.01 is a point), by trial passes.

    A target is what has a pattern of its own: a layer, a filter, or a block of `gt` x `gt` patches
    (the source's granularity threshold; 1 is a single patch). First every pattern is tried in every
    target, all else computed in full, by passes through what lies behind the layer. Then the
    targets of a filter, and after that the filters of a layer, are put together: each with its best
    option, each with its second best, and so on, of which the best `top` are kept. Options that
    lose more than `eps` go, the others are sorted by what they save. At last the layers' best ones
    together are relaxed, step by step until none is left: the layer whose option loses most by
    itself takes its next one that loses less, in the end none. (How the source relaxes its mask, it
    does not say.) Of all that was tried and loses at most `eps`, what saves most is the answer.

    Raises LabError for a negative eps, a range of `ones` without a pattern, a `gt` or `top` below
    1, and a split without images.
    """
    search = _Search(granularity, p, patterns(p, ones).tolist(), eps, gt, top)
    trials = Trials(network, split, [eps], batch_size)
    layers = trials.network.layers
    options = {name: search.layer(LayerTrials(trials, layer)) for name, layer in layers.items()}
    _relax(trials, options, p)
    return trials.found(eps)


def one_by_one(trials: Trials, epsilons: Iterable[float], patterns: Tensor, p: int) -> None:
    """What `greedy_search` tries for each eps where a layer has one pattern, each pattern once."""
    tried: dict[str, Options] = {}
    for name, layer in trials.network.layers.items():
        one, codes = LayerTrials(trials, layer), patterns.view(-1, 1, 1, 1)
        tried[name] = [(code, one.run("targets", Mask(p, code))) for code in codes]
    for eps in epsilons:
        _relax(trials, {name: _allowed(options, eps) for name, options in tried.items()}, p)


def first_passes(
    network: SpatialNetwork,
    granularity: Granularity,
    *,
    p: int = 2,
    ones: tuple[int, int] | None = None,
    gt: int = 10,
) -> int:
    """The passes of `greedy_search` on its first level, targets x patterns: nearly all of them.

    Raises LabError as `greedy_search` does.
    """
    search = _Search(granularity, p, patterns(p, ones).tolist(), 0.0, gt, 1)
    targets = sum(
        len(list(search.blocks(layer))) * search.shape(layer)[0]
        for layer in network.layers.values()
    )
    return targets * len(search.codes)


@dataclass(frozen=True)
class _Search:
    """How options are made. Raises LabError for a `gt` or `top` below 1."""

    granularity: Granularity
    p: int
    codes: list[int]
    eps: float
    gt: int
    top: int

    def __post_init__(self) -> None:
        if min(self.gt, self.top) < 1:
            problem = f"blocks of {self.gt} patches, the best {self.top} options"
            raise LabError(problem, "give at least 1 of each")

    def shape(self, layer: SpatialLayer) -> torch.Size:
        return self.granularity.shape(layer.ofmap, self.p)

    def layer(self, trials: LayerTrials) -> Options:
        """What a layer may take."""
        filters = [self.filter(trials, c) for c in range(self.shape(trials.layer)[0])]
        return self.together("filters", trials, filters)

    def filter(self, trials: LayerTrials, number: int) -> Options:
        """What a filter may take; the others of the layer, if it is not all of them, are full."""
        targets = []
        for rows, columns in self.blocks(trials.layer):
            tried = []
            for code in self.codes:
                codes = torch.full(self.shape(trials.layer), everything(self.p))
                codes[number, rows, columns] = code
                tried.append((codes, self.run("targets", trials, codes)))
            targets.append(_allowed(tried, self.eps))
        return self.together("blocks", trials, targets)

    def blocks(self, layer: SpatialLayer) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of the patches of each target in a filter."""
        _, rows, columns = self.shape(layer)
        for row in range(0, rows, self.gt):
            for column in range(0, columns, self.gt):
                yield slice(row, row + self.gt), slice(column, column + self.gt)

    def together(self, stage: str, trials: LayerTrials, parts: list[Options]) -> Options:
        """The best options of several parts of a mask at once; those of a single part as they are.

        A part with fewer options than others goes on with its last one, one without any is full.
        """
        if len(parts) == 1:
            return parts[0]
        some = [part for part in parts if part]
        tried = []
        for i in range(max(map(len, some), default=0)):
            chosen = [part[min(i, len(part) - 1)][0] for part in some]
            codes = torch.stack(chosen).amin(0)  # computed as a whole is the largest code
            tried.append((codes, self.run(stage, trials, codes)))
        return _allowed(tried, self.eps)[: self.top]

    def run(self, stage: str, trials: LayerTrials, codes: Tensor) -> Trial:
        return trials.run(stage, Mask(self.p, codes))


def _allowed(tried: Options, eps: float) -> Options:
    """Those that lose no more than `eps`, the one that saves most first."""
    kept = [one for one in tried if one[1].loss <= eps]
    return sorted(kept, key=lambda one: worth(one[1]), reverse=True)


def _relax(trials: Trials, options: dict[str, Options], p: int) -> None:
    """The layers' first options together, then with ever milder ones, until none is left."""
    fronts = {name: _front(of) for name, of in options.items()}
    while left := {name: of for name, of in fronts.items() if of}:
        trials.run("network", {name: or_none(p, of[0][0]) for name, of in left.items()})
        del fronts[max(left, key=lambda name: left[name][0][1].loss)][0]


def _front(options: Options) -> Options:
    """The options that lose less than all before them."""
    losses = [trial.loss for _, trial in options]
    return [one for i, one in enumerate(options) if all(losses[i] < x for x in losses[:i])]
