"""Searched masks on images that the search has not seen."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pandas as pd

from labsupport.data import Batched
from labsupport.methods.spatial.fast import fast_front
from labsupport.methods.spatial.masks import Granularity
from labsupport.methods.spatial.network import SpatialNetwork, disabled
from labsupport.methods.spatial.statistics import judge, savings
from labsupport.training import evaluate


def on_test(network: SpatialNetwork, test: Batched, before: float) -> dict[str, float]:
    """What the masks in force save and lose on a split, from the accuracy before.

    saved is a share of the convolutions' MACs, points_lost are percent of the images. Raises
    LabError for a split without images.
    """
    found = judge(network, test)
    lost = 100 * (before - found.accuracy)
    return {"saved": found.saved, "points_lost": lost, "accuracy": found.accuracy}


def front_on_test(
    network: SpatialNetwork,
    tuned: Batched,
    test: Batched,
    epsilons: Mapping[str, float | None],
    granularity: Granularity,
    *,
    p: int = 2,
    ones: tuple[int, int] | None = None,
    rounds: int = 2,
    tries: int = 10,
    batch_size: int = 250,
) -> tuple[dict[str, SpatialNetwork], pd.DataFrame]:
    """The masks that `fast_front` finds on one split, by the names of eps, and a table of them.

    None for an eps stands for what the network's own masks lose on `tuned`. The table has a row
    for each: mode, p, eps (its name), eps_points, saved_in_search, lost_in_search (in points),
    passes and seconds_clocked of the search, which serves all of them, and what `on_test` gives on
    `test`. Raises LabError as both do.
    """
    start = time.perf_counter()
    macs = savings(network, tuned).convolution_macs
    values = {name: _own_loss(network, tuned) if e is None else e for name, e in epsilons.items()}
    found = fast_front(
        network, tuned, values.values(), granularity,
        p=p, ones=ones, rounds=rounds, tries=tries, batch_size=batch_size,
    )  # fmt: skip
    about = {"mode": granularity.name.lower(), "p": p}
    seconds = time.perf_counter() - start
    with disabled(network):
        before = evaluate(network, test).accuracy
    rows = [
        about
        | {"eps": name, "eps_points": 100 * eps}
        | {"saved_in_search": found[eps].trial.saved_macs / macs}
        | {"lost_in_search": 100 * found[eps].trial.loss, "passes": len(found[eps].passes)}
        | {"seconds_clocked": seconds}
        | on_test(found[eps].network, test, before)
        for name, eps in values.items()
    ]
    return {name: found[eps].network for name, eps in values.items()}, pd.DataFrame(rows)


def _own_loss(network: SpatialNetwork, split: Batched) -> float:
    with disabled(network):
        before = evaluate(network, split).accuracy
    return max(0.0, before - evaluate(network, split).accuracy)
