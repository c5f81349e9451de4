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
    `_ms`, `_us`, `_seconds`, `_fps` or `_clocked`) depend on the machine and its load. A MAC is
    one multiply-accumulate. `agreement` is the share of test images on which the network answers
    as the original one. Latencies are medians with their interquartile range; the noise columns
    are the difference between two runs of the same network. None means not measured.
    """

    lab: str
    method: str
    variant: str
    dataset: str
    profile: str
    seed: int
    accuracy: float | None = None
    agreement: float | None = None
    parameters: int | None = None
    macs: int | None = None
    disk_bytes: int | None = None
    latency_b1_ms: float | None = None
    latency_b1_iqr_ms: float | None = None
    latency_b1_noise_ms: float | None = None
    large_batch: int | None = None
    latency_large_ms: float | None = None
    latency_large_iqr_ms: float | None = None
    latency_large_noise_ms: float | None = None
    memory_train_bytes: int | None = None
    memory_infer_bytes: int | None = None
    train_seconds: float | None = None


COLUMNS = [field.name for field in fields(Scorecard)]


def as_frame(cards: Iterable[Scorecard]) -> pd.DataFrame:
    """Scorecards as a tidy table, one row each, in the order of the fields."""
    return pd.DataFrame([asdict(card) for card in cards], columns=COLUMNS)


def is_clocked(column: str) -> bool:
    """Whether a column's values depend on the speed of the machine."""
    return CLOCKED.search(column) is not None
