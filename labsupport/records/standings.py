"""Where each network of the scoreboard stands: its costs, and what it gains over its base."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from labsupport.records.scoreboard import FIGURES, TIME

IDENTITY = ["lab", "method", "network", "variant", "base", "dataset", "profile", "runtime"]
WORK = ["macs", "int8_macs", "binary_ops", "additions"]
SAVED = {
    "memory_train_bytes": "training memory",
    "resident_bytes": "memory",
    "disk_bytes": "file",
    "parameters": "parameters saved",
    "operations": "operations saved",
}
SPEEDS = {
    "latency_b1_base_ratio_clocked": "speed, one image",
    "latency_large_base_ratio_clocked": "speed, batch",
}


def networks(scorecards: pd.DataFrame) -> pd.DataFrame:
    """One row per network: means over its seeds, which are counted in `seeds`.

    Two columns are new: `operations`, all that it computes for an image, of any kind, and `time`,
    that of one image over LeNet-5's in the same clocking.
    """
    groups = scorecards.groupby(IDENTITY, sort=False, dropna=False)
    rows = groups[FIGURES].mean().assign(seed=groups.size()).reset_index()
    rows["operations"] = rows[WORK].sum(axis="columns", min_count=1)
    return rows.rename(columns={"seed": "seeds"}).assign(time=rows[TIME])


def against_base(rows: pd.DataFrame) -> pd.DataFrame:
    """The networks and what each saves and gains over its base; empty where there is no base.

    New columns are those named in SAVED and SPEEDS, each how many times less or as fast; `gain`, in
    points of accuracy; and `similarity`, the percentage of answers that are the base's.
    """
    base = figures_of_base(rows, [*SAVED, "accuracy"])
    saved = (base[[*SAVED]] / rows[[*SAVED]]).rename(columns=SAVED)
    speeds = (1 / rows[[*SPEEDS]]).rename(columns=SPEEDS)
    gain = 100 * (rows["accuracy"] - base["accuracy"])
    more = pd.concat([rows, saved, speeds], axis="columns")
    return more.assign(gain=gain, similarity=100 * rows["agreement"])


def of_methods(scores: pd.DataFrame, methods: pd.DataFrame) -> pd.DataFrame:
    """The row of each method, which stays empty where its lab left no such network.

    `methods` has a row for each method with its name, and with the number of the lab, the variant
    and the runtime ("" if nothing was clocked) of the network that stands for it: the first one.
    """
    place = ["lab", "variant", "runtime"]
    numbered = scores.assign(lab=scores["lab"].str[:2], runtime=scores["runtime"].fillna(""))
    found = numbered.drop(columns="method").drop_duplicates(place)
    return methods[["method", *place]].merge(found, "left", place).set_index("method")


def figures_of_base(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """For each network the figures of its base, empty where it has none.

    A base is the network with that variant's name in the same lab, method, data set and profile: of
    the same kind of network, or else the only one of that name.
    """
    place = ["lab", "method", "dataset", "profile"]
    same = _found(rows, [*place, "network"], columns)
    return same.combine_first(_found(rows, place, columns))[[*columns]]


def _found(rows: pd.DataFrame, alike: list[str], columns: Sequence[str]) -> pd.DataFrame:
    """The figures of the one network that is alike and has the name of the base."""
    bases = rows[[*alike, "variant", *columns]].rename(columns={"variant": "base"})
    bases = bases.dropna(subset="base").drop_duplicates([*alike, "base"], keep=False)
    found = rows[[*alike, "base"]].merge(bases, "left", [*alike, "base"])
    return found[[*columns]].set_axis(rows.index)
