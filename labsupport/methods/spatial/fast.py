"""The fast search for masks: statistics say what to try, a handful of passes what it loses."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.methods.spatial.greedy import one_by_one
from labsupport.methods.spatial.harm import effects
from labsupport.methods.spatial.masks import Granularity
from labsupport.methods.spatial.network import SpatialNetwork
from labsupport.methods.spatial.patterns import patterns
from labsupport.methods.spatial.ranking import Ranking, hull
from labsupport.methods.spatial.trials import Choice, Found, Trial, Trials, or_none

FINEST = 1 / 32  # of all that can be saved: the least that a pass adds


def fast_search(
    network: SpatialNetwork,
    split: Batched,
    eps: float,
    granularity: Granularity,
    *,
    p: int = 2,
    ones: tuple[int, int] | None = None,
    rounds: int = 2,
    tries: int = 10,
    batch_size: int = 250,
    statistics: Batched | None = None,
) -> Found:
    """Masks that lose at most `eps` of the accuracy on a split (0.01 is a point), in few passes.

    A forward and a backward pass tell what every pattern saves in every place, and estimate what
    harm it does. Places take patterns in the order of MACs saved per harm, as far as forward passes
    allow: halving finds how far, then small groups of the steps that follow are tried, and left out
    where they lose too much. Each round has `tries` such passes; its statistics are taken under the
    masks of the round before. Where a layer has one pattern there is little to rank, and each
    pattern is tried in each layer besides, as `greedy_search` does. What saves most of all that was
    tried and loses at most `eps` is the answer.

    `statistics` are the images for the statistics, by default those of the split. Patterns that
    were ranked by some images lose less on them than on others: the loss on a split that took no
    part in the ranking is nearly what fresh images show.

    Raises LabError for a negative eps, a range of `ones` without a pattern, `rounds` or `tries`
    below 1, a split without images, and more places and patterns than fit into memory.
    """
    found = fast_front(
        network, split, [eps], granularity,
        p=p, ones=ones, rounds=rounds, tries=tries, batch_size=batch_size, statistics=statistics,
    )  # fmt: skip
    return found[eps]


def fast_front(
    network: SpatialNetwork,
    split: Batched,
    epsilons: Iterable[float],
    granularity: Granularity,
    *,
    p: int = 2,
    ones: tuple[int, int] | None = None,
    rounds: int = 2,
    tries: int = 10,
    batch_size: int = 250,
    statistics: Batched | None = None,
) -> dict[float, Found]:
    """What `fast_search` finds for several eps, by eps; each saves at least as much as alone.

    They share the first statistics and all passes, so that `passes` is the same table for all.
    Raises LabError as `fast_search` does, and without any eps.
    """
    epsilons = list(epsilons)
    if min(rounds, tries) < 1 or not epsilons:
        problem = f"{rounds} rounds of {tries} tries for {len(epsilons)} eps"
        raise LabError(problem, "give at least 1 of each")
    options = patterns(p, ones)
    trials = Trials(network, split, epsilons, batch_size)
    search = _Search(trials, split if statistics is None else statistics, granularity, options, p)
    first = _Walk(search, "round 1", {}, Trial(0.0, 0.0))
    for eps in epsilons:
        first.go(eps, tries)
    for number in range(2, rounds + 1):
        for eps in epsilons:
            choice, trial = trials.best[eps]
            if choice:  # without masks, the statistics are those of the first round
                _Walk(search, f"round {number}", choice, trial).go(eps, tries)
    if granularity is Granularity.LAYER:
        one_by_one(trials, epsilons, options, p)
    return {eps: trials.found(eps) for eps in epsilons}


class _Search:
    """What the walks of a search share."""

    def __init__(
        self,
        trials: Trials,
        statistics: Batched,
        granularity: Granularity,
        options: Tensor,
        p: int,
    ) -> None:
        self.trials, self.statistics, self.p = trials, statistics, p
        self.granularity, self.options = granularity, options

    def ranking(self, choice: Choice, trial: Trial) -> Ranking:
        """The ranking by statistics under a choice of masks."""
        masked = self.trials.masked(choice)
        settings = self.granularity, self.options, self.p, self.trials.batch_size
        found = effects(masked, self.statistics, *settings)
        share = len(self.statistics) / len(self.trials.split)
        for direction in ("forward", "backward"):
            self.trials.log("statistics", trial, direction, share)
        return Ranking({name: hull(one, self.options, self.p) for name, one in found.items()})


class _Walk:
    """How far along a ranking the masks may go; what was tried for one eps is known for others."""

    def __init__(self, search: _Search, stage: str, choice: Choice, trial: Trial) -> None:
        self.search, self.stage = search, stage
        self.ranking = search.ranking(choice, trial)
        self.known: dict[tuple[range, ...], Trial] = {}

    def go(self, eps: float, tries: int) -> None:
        """Go on by half of what is ahead, then a quarter, ...; leave out what cannot be passed."""
        taken: tuple[range, ...] = ()
        start, share = 0, 0.5
        for _ in range(tries):
            if start == len(self.ranking):
                return
            end = self.ranking.reach(start, share * float(self.ranking.saved[-1]))
            longer = _with(taken, range(start, end))
            if self.trial(longer).loss <= eps:
                taken, start = longer, end
            elif share <= FINEST or end == start + 1:
                start = end
            share = max(share / 2, FINEST)

    def trial(self, taken: tuple[range, ...]) -> Trial:
        """What the masks of some steps do, by one pass unless it is known."""
        if taken not in self.known:
            p, codes = self.search.p, self.ranking.codes(taken)
            choice = {name: or_none(p, of) for name, of in codes.items()}
            self.known[taken] = self.search.trials.run(self.stage, choice)
        return self.known[taken]


def _with(taken: tuple[range, ...], part: range) -> tuple[range, ...]:
    """Runs of steps and one more, as few runs as can be."""
    if taken and taken[-1].stop == part.start:
        return (*taken[:-1], range(taken[-1].start, part.stop))
    return (*taken, part)
