"""Searched masks on images that the search has not seen."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from labsupport.data import Batched
from labsupport.methods.spatial.fast import fast_front, fast_search
from labsupport.methods.spatial.greedy import greedy_search
from labsupport.methods.spatial.masks import Granularity
from labsupport.methods.spatial.network import SpatialNetwork, disabled
from labsupport.methods.spatial.statistics import judge, plain_macs
from labsupport.training import evaluate


def on_test(
    network: SpatialNetwork, test: Batched, before: float | None = None
) -> dict[str, float]:
    """What the masks in force save and lose on a split, from an accuracy before.

    By default that is the network's own without masks. saved is a share of the convolutions' MACs,
    and so is `always`, the part of it whose patterns look at nothing, since their ones lie beyond a
    ragged edge; macs are all that are left, points_lost are percent of the images. Raises LabError
    for a split without images.
    """
    found = judge(network, test)
    before = _plain_accuracy(network, test) if before is None else before
    convolutions, everything = plain_macs(network, next(test.batches(1))[0].shape[1:])
    return {
        "saved": found.saved,
        "always": _always_saved(network) / convolutions,
        "points_lost": 100 * (before - found.accuracy),
        "accuracy": found.accuracy,
        "macs": everything - found.saved * convolutions,
    }


def beside_greedy(
    network: SpatialNetwork,
    split: Batched,
    eps: float,
    granularity: Granularity,
    *,
    p: int = 2,
    gt: int = 10,
    tries: int = 10,
) -> dict[str, object]:
    """What `greedy_search` and `fast_search` find on the same images, and their passes.

    `gt` is the greedy one's. Shares are of the convolutions' MACs, those without a spatial layer
    too. Raises LabError as both do.
    """
    macs = plain_macs(network, next(split.batches(1))[0].shape[1:])[0]
    found = {
        "greedy": greedy_search(network, split, eps, granularity, p=p, gt=gt),
        "fast": fast_search(network, split, eps, granularity, p=p, tries=tries),
    }
    row: dict[str, object] = {"mode": granularity.name.lower(), "layers": len(network.layers)}
    row |= {"gt": gt, "eps_points": 100 * eps}
    for name, one in found.items():
        row[f"{name}_saved"] = one.trial.saved_macs / macs
        row[f"{name}_passes"] = len(one.passes)
    return row


def front_on_test(
    network: SpatialNetwork,
    tuned: Batched,
    test: Batched,
    epsilons: Mapping[str, float | None],
    granularity: Granularity,
    *,
    p: int = 2,
    **search: Any,  # noqa: ANN401 - what else `fast_front` takes
) -> tuple[dict[str, SpatialNetwork], pd.DataFrame]:
    """The masks that `fast_front` finds on one split, by the names of eps, and a table of them.

    None for an eps stands for what the network's own masks lose on `tuned`. The table has a row
    for each: variant (all of the next three), mode, p, eps (its name), eps_points, saved_in_search,
    lost_in_search (in points), passes and seconds_clocked of the search, which serves all of them,
    and what `on_test` gives on `test`. Raises LabError as both do.
    """
    start = time.perf_counter()
    macs = plain_macs(network, next(tuned.batches(1))[0].shape[1:])[0]
    values = {name: _own_loss(network, tuned) if e is None else e for name, e in epsilons.items()}
    found = fast_front(network, tuned, values.values(), granularity, p=p, **search)
    mode = granularity.name.lower()
    seconds = time.perf_counter() - start
    before = _plain_accuracy(network, test)
    rows = [
        {"variant": f"{p} x {p} by {mode}, eps {name}", "mode": mode, "p": p}
        | {"eps": name, "eps_points": 100 * eps}
        | {"saved_in_search": found[eps].trial.saved_macs / macs}
        | {"lost_in_search": 100 * found[eps].trial.loss, "passes": len(found[eps].passes)}
        | {"seconds_clocked": seconds}
        | on_test(found[eps].network, test, before)
        for name, eps in values.items()
    ]
    return {name: found[eps].network for name, eps in values.items()}, pd.DataFrame(rows)


def fronts_on_test(
    networks: Mapping[int, SpatialNetwork],
    setups: Iterable[tuple[Granularity, int]],
    tuned: Batched,
    test: Batched,
    epsilons: Mapping[Granularity, Mapping[str, float | None]],
    **search: Any,  # noqa: ANN401 - what else `fast_front` takes
) -> tuple[dict[tuple[Granularity, int], dict[str, SpatialNetwork]], pd.DataFrame]:
    """`front_on_test` for several granularities and sides of patches, and one table of all.

    `networks` have a side's masks to start from; rows of mode own say what these do on `test`.
    """
    setups = list(setups)
    sides = dict.fromkeys(p for _, p in setups)
    own = [{"mode": "own", "p": p, "eps": "own"} | on_test(networks[p], test) for p in sides]
    masks, tables = {}, [pd.DataFrame(own)]
    for mode, p in setups:
        given = networks[p], tuned, test, epsilons[mode], mode
        masks[mode, p], table = front_on_test(*given, p=p, **search)
        tables.append(table)
    return masks, pd.concat(tables, ignore_index=True)


def _always_saved(network: SpatialNetwork) -> int:
    """MACs of an image that are saved whatever the image shows."""
    layers = [layer for layer in network.layers.values() if layer.enabled]
    blind = [~layer.kept(layer.computed.new_ones(1, *layer.ofmap)) for layer in layers]
    return sum(int(b.sum()) * layer.macs for b, layer in zip(blind, layers, strict=True))


def _own_loss(network: SpatialNetwork, split: Batched) -> float:
    return max(0.0, _plain_accuracy(network, split) - evaluate(network, split).accuracy)


def _plain_accuracy(network: SpatialNetwork, split: Batched) -> float:
    with disabled(network):
        return evaluate(network, split).accuracy
