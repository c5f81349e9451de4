"""What a machine reaches at its best: arithmetic, and moving bytes in caches and main memory.

Both are clocked, not read off a data sheet. A cache shows as a range of lengths over which a stream
that is moved again and again keeps its rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from labsupport.measure.latency import clock_calls

Operation = Callable[[Tensor, Tensor], Tensor]
# Layers by the shapes of input and weight; the fastest of them is the peak of arithmetic.
LAYERS: tuple[tuple[Operation, tuple[int, ...], tuple[int, ...]], ...] = (
    *((functional.linear, (rows, 1024), (1024, 1024)) for rows in (64, 256, 1024)),
    (functional.linear, (256, 256), (256, 256)),
    (functional.conv2d, (16, 64, 18, 18), (64, 64, 3, 3)),
)
OFFSET = 80  # floats
STREAMS = tuple(2**power for power in range(15, 28))  # 32 KB to 128 MB


@dataclass(frozen=True)
class Peaks:
    """What a machine reaches at its best.

    `gmacs_per_s_clocked` is the rate of the fastest product, `streams_clocked` the rate in GB/s of
    a stream by its bytes: short streams stay in a cache, long ones come from main memory.
    """

    gmacs_per_s_clocked: float
    streams_clocked: Mapping[int, float]

    def gbytes_per_s(self, moved_bytes: float = math.inf) -> float:
        """Most GB/s for a layer that moves so many bytes; without an argument, of main memory.

        The rate of the longest stream that is no longer, or of a longer one that was faster: to
        move less is never slower, it is the call that makes a very short stream look slow.
        """
        sizes = self.streams_clocked
        nearest = max((size for size in sizes if size <= moved_bytes), default=min(sizes))
        return max(rate for size, rate in sizes.items() if size >= nearest)

    def roof_gmacs(self, intensity: float, moved_bytes: float = math.inf) -> float:
        """Most GMAC/s at so many MACs per byte; without `moved_bytes` for data in main memory."""
        return min(self.gmacs_per_s_clocked, intensity * self.gbytes_per_s(moved_bytes))

    def ridge(self, moved_bytes: float = math.inf) -> float:
        """MACs per byte from which on arithmetic is the limit."""
        return self.gmacs_per_s_clocked / self.gbytes_per_s(moved_bytes)


def machine_peaks(threads: int = 1, *, device: str = "cpu", rounds: int = 5) -> Peaks:
    """Clock layers of several shapes and streams of several lengths; the best call counts.

    A stream is a copy, which reads and writes, or a dot product, which only reads.
    """
    best = partial(_best_seconds, threads=threads, device=torch.device(device), rounds=rounds)
    with torch.inference_mode():
        arithmetic = max(macs / best(call) for macs, call in _layers(device))
        streams = {n: max(n / best(call) for call in _streams(n, device)) / 1e9 for n in STREAMS}
    return Peaks(arithmetic / 1e9, streams)


def _layers(device: str) -> Iterator[tuple[int, Callable[[], object]]]:
    """The MACs of a call of each layer, and the call."""
    for operation, *shapes in LAYERS:
        x, weight = (torch.ones(shape, device=device) for shape in shapes)
        yield operation(x, weight).numel() * weight[0].numel(), partial(operation, x, weight)


def _streams(moved_bytes: int, device: str) -> list[Callable[[], object]]:
    """A copy and a dot product of two vectors that hold so many bytes together."""
    # The second begins some cache lines further on: at a distance of whole pages stores and loads
    # would block each other.
    length = moved_bytes // 8
    both = torch.ones(2 * length + OFFSET, device=device)
    source, target = both[:length], both[length + OFFSET :]
    return [lambda: target.copy_(source), lambda: source @ target]


def _best_seconds(
    call: Callable[[], object], threads: int, device: torch.device, rounds: int
) -> float:
    clocked = clock_calls({"peak": call}, rounds=rounds, repeats=3, threads=threads, device=device)
    return float(clocked.samples.query("name == 'peak'")["ns"].min()) / 1e9
