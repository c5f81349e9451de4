"""The scorecard: one row of one table that measures every method alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

import pandas as pd

CLOCKED = re.compile(r"_(ms|us|seconds|fps|clocked)$")


@dataclass(frozen=True)
class Scorecard:
    """What one network costs and gives, with the unit in the column's name.

    Counted figures (parameters, MACs, bytes) repeat exactly; clocked ones (names that end in
    `_ms`, `_us`, `_seconds`, `_fps` or `_clocked`) depend on the machine and its load. `base` is
    the variant that a row is compared with: `agreement` is the share of test images on which both
    answer alike, `..._base_ratio_clocked` the time over that of the base with its 95 % interval,
    from one clocking. `..._anchor_ratio_clocked` is the time over that of the course's anchor,
    LeNet-5 on one image: rows of several clockings are compared by it. Costs are means over the
    test images: a MAC is one multiply-accumulate, of floats in `macs`. Bits are means over the
    weights, of these and of what they multiply. `disk_bytes` is the network's file,
    `resident_bytes` what lies in memory between two calls. Latencies are medians with their
    interquartile range. None means not measured.
    """

    lab: str
    method: str
    variant: str
    dataset: str
    profile: str
    seed: int
    network: str | None = None
    base: str | None = None
    runtime: str | None = None
    device: str | None = None
    threads: int | None = None
    weight_bits: float | None = None
    activation_bits: float | None = None
    accuracy: float | None = None
    agreement: float | None = None
    parameters: int | None = None
    macs: float | None = None
    int8_macs: float | None = None
    binary_ops: float | None = None
    additions: float | None = None
    lookups: float | None = None
    disk_bytes: int | None = None
    resident_bytes: int | None = None
    latency_b1_ms: float | None = None
    latency_b1_iqr_ms: float | None = None
    latency_b1_anchor_ratio_clocked: float | None = None
    latency_b1_base_ratio_clocked: float | None = None
    latency_b1_base_ratio_low_clocked: float | None = None
    latency_b1_base_ratio_high_clocked: float | None = None
    large_batch: int | None = None
    latency_large_ms: float | None = None
    latency_large_iqr_ms: float | None = None
    latency_large_anchor_ratio_clocked: float | None = None
    latency_large_base_ratio_clocked: float | None = None
    latency_large_base_ratio_low_clocked: float | None = None
    latency_large_base_ratio_high_clocked: float | None = None
    memory_train_bytes: int | None = None
    memory_infer_bytes: int | None = None
    train_seconds: float | None = None


COLUMNS = [field.name for field in fields(Scorecard)]


def as_frame(cards: Iterable[Scorecard]) -> pd.DataFrame:
    """Scorecards as a tidy table, one row each, in the order of the fields."""
    return pd.DataFrame([asdict(card) for card in cards], columns=COLUMNS)


def with_speedups(cards: pd.DataFrame) -> pd.DataFrame:
    """The scorecards and how many times as fast as its base each is, with the ends of the interval.

    New columns speedup_b1_clocked, speedup_b1_low_clocked, speedup_b1_high_clocked, and the same
    for `large`: the inverse of the ratios of times, so low and high change places.
    """
    speedups = {
        f"speedup_{size}{end}_clocked": 1 / cards[f"latency_{size}_base_ratio{start}_clocked"]
        for size in ("b1", "large")
        for end, start in (("", ""), ("_low", "_high"), ("_high", "_low"))
    }
    return cards.assign(**speedups)


def with_gains(cards: pd.DataFrame) -> pd.DataFrame:
    """The scorecards and what each gains over its base, a row of the same network, data and seed.

    New columns gain_points, of accuracy, and times_smaller, of the file; NaN without such a base.
    """
    alike = ["lab", "method", "dataset", "profile", "seed", "network"]
    bases = cards[[*alike, "variant", "accuracy", "disk_bytes"]].rename(columns={"variant": "base"})
    both = cards.merge(bases, "left", [*alike, "base"], suffixes=("", "_of_base"))
    gain = 100 * (both["accuracy"] - both["accuracy_of_base"])
    smaller = both["disk_bytes_of_base"] / both["disk_bytes"]
    return cards.assign(gain_points=gain.to_numpy(), times_smaller=smaller.to_numpy())


def is_clocked(column: str) -> bool:
    """Whether a column's values depend on the speed of the machine."""
    return CLOCKED.search(column) is not None
