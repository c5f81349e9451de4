"""What a machine reaches at its best: arithmetic, and moving bytes in caches and main memory.

Both are clocked, not read off a data sheet. A cache shows as a range of lengths over which a stream
that is moved again and again keeps its rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from labsupport.measure.clocking import Call
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

    A stream is a copy, which reads and writes, or a dot product, which only reads. All are clocked
    in turn, so that a slow moment of the machine does not lower one of them alone.
    """
    macs, calls = _layers(device)
    for size in STREAMS:
        calls |= _streams(size, device)
    with torch.inference_mode():
        clocked = clock_calls(
            calls, rounds=rounds, repeats=3, threads=threads, device=torch.device(device)
        )
    best_s = clocked.samples.groupby("name")["ns"].min() / 1e9
    rates = {n: n / min(best_s[f"copy {n}"], best_s[f"dot {n}"]) / 1e9 for n in STREAMS}
    return Peaks(max(work / best_s[name] for name, work in macs.items()) / 1e9, rates)


def _layers(device: str) -> tuple[dict[str, int], dict[str, Call]]:
    """The MACs of a call of each layer and the call itself, by a name."""
    macs: dict[str, int] = {}
    calls: dict[str, Call] = {}
    for number, (operation, *shapes) in enumerate(LAYERS):
        x, weight = (torch.ones(shape, device=device) for shape in shapes)
        name = f"layer {number}"
        macs[name] = operation(x, weight).numel() * weight[0].numel()
        calls[name] = partial(operation, x, weight)
    return macs, calls


def _streams(moved_bytes: int, device: str) -> dict[str, Call]:
    """A copy and a dot product of two vectors that hold so many bytes together."""
    # The second begins some cache lines further on: at a distance of whole pages stores and loads
    # would block each other.
    length = moved_bytes // 8
    both = torch.ones(2 * length + OFFSET, device=device)
    source, target = both[:length], both[length + OFFSET :]
    return {
        f"copy {moved_bytes}": partial(target.copy_, source),
        f"dot {moved_bytes}": partial(torch.dot, source, target),
    }
