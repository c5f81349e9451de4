"""Layers that multiply packed signs, for inference on the CPU.

Weights are kept a bit for each, which is what a file holds of them; their words in the order of the
kernel are made from these anew in each process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.methods.binary import BinaryConv2d, BinaryLayer
from labsupport.network.cost import Cost
from labsupport.runtimes.packed import kernel, moves
from labsupport.runtimes.packed.kernel import BITS, Words
from labsupport.runtimes.packed.words import (
    dense,
    interleaved,
    pack_maps,
    rows_of_words,
    undense,
    words_for,
)

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """What a convolution's filters see: taps, steps, and positions added on each side.

    `pads` are those at the left, right, top and bottom.
    """

    taps: Pair
    stride: Pair
    dilation: Pair
    pads: tuple[int, int, int, int]

    def sides(self, height: int, width: int) -> Pair:
        """Height and width of what comes out."""
        left, right, top, bottom = self.pads
        padded = height + top + bottom, width + left + right
        each = zip(padded, self.taps, self.dilation, self.stride, strict=True)
        down, across = ((p - d * (t - 1) - 1) // s + 1 for p, t, d, s in each)
        return down, across


class Pack(nn.Module):
    """Signs of maps (N, C, H, W) or rows (N, C) as words, int64 (N, H, W, K) or (N, K)."""

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        self.name, self.channels = name, channels

    def forward(self, x: Tensor) -> Tensor:
        """The words. Raises LabError for another number of channels, and what are no floats."""
        if x.shape[1] != self.channels or not x.is_floating_point():
            problem = f"layer {self.name} gets {x.shape[1]} channels of {x.dtype}"
            raise LabError(problem, f"give floats of {self.channels}")
        return pack_maps(x.detach() if x.requires_grad else x)

    def forward_cost(self, _x: Tensor, _output: Tensor) -> Cost:
        """Nothing is multiplied or added."""
        return Cost()


class PackedLayer(nn.Module):
    """A product of packed signs; what becomes of its sums is the matter of its kinds.

    `positions` is how many positions of maps a linear layer sees, each packed by itself. `window`
    is a convolution's.
    """

    bits: Tensor
    activation_bits = 1.0

    def __init__(self, layer: BinaryLayer, positions: int = 1) -> None:
        super().__init__()
        self.name, self.threads, self.positions = layer.name, 1, positions
        self.shape = tuple(layer.weight.shape)
        self.window = window_of(layer) if isinstance(layer, BinaryConv2d) else None
        self.register_buffer("bits", dense(layer.weight))

    def __getstate__(self) -> dict[str, Any]:
        """All but what is made of the bits."""
        return {name: value for name, value in vars(self).items() if name not in self.made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.prepare()

    made: tuple[str, ...] = ("words", "around")

    def prepare(self) -> None:
        """Make words of the bits, in the order of the kernel."""
        signs = undense(self.bits, self.shape)
        by_tap = signs.reshape(len(signs), -1, self.taps).swapaxes(1, 2)
        rows = rows_of_words(by_tap)  # (filters, taps, words of a position)
        self.words = interleaved(rows.reshape(len(rows), -1))
        self.around: Words = rows_of_words(np.ones(by_tap.shape[2], dtype=bool))

    @property
    def taps(self) -> int:
        """Positions that a filter sees."""
        return self.positions if self.window is None else math.prod(self.shape[2:])

    @property
    def size(self) -> int:
        """Signs that a filter sees."""
        return math.prod(self.shape[1:])

    def rows(self, x: Tensor) -> tuple[Words, Pair]:
        """What each output position sees as words (M, K), and the height and width of positions.

        Raises LabError for inputs that are not packed, or of another number of channels.
        """
        self.check(x)
        if self.window is None:
            return (x if x.dim() == 2 else x.reshape(len(x), -1)).numpy(), (1, 1)
        left, _, top, _ = self.window.pads
        sides = self.window.sides(x.shape[1], x.shape[2])
        rows = np.empty((len(x), *sides, *self.window.taps, len(self.around)), np.int64)
        maps = x.contiguous().numpy()
        steps = self.window.stride, self.window.dilation
        moves.gather_windows(maps, self.around, (top, left), *steps, rows)
        return rows.reshape(len(x) * math.prod(sides), -1), sides

    def check(self, x: Tensor) -> None:
        """Raises LabError for inputs that are not packed, or packed of other channels."""
        if x.dtype != torch.int64:
            problem = f"layer {self.name} gets inputs of {x.dtype}, which are not packed"
            raise LabError(problem, "give the words of a Pack, or what a layer of bits gives")
        wanted = len(self.around) * (1 if self.window else self.positions)
        given = x.shape[-1] if self.window else math.prod(x.shape[1:])
        if given != wanted or (self.window and x.dim() != 4):
            problem = f"layer {self.name} gets {given} words where it sees {wanted}"
            raise LabError(problem, f"pack inputs of {self.shape[1]} channels")

    @property
    def weight_count(self) -> int:
        """Weights, and what the sums meet."""
        return math.prod(self.shape) + self.others

    @property
    def weight_bits(self) -> float:
        """Mean bits of both."""
        others = sum(8 * b.nbytes for n, b in self.named_buffers() if n != "bits")
        return (math.prod(self.shape) + others) / self.weight_count

    @property
    def others(self) -> int:
        """How many numbers besides weights there are."""
        return sum(b.numel() for n, b in self.named_buffers() if n != "bits")

    @property
    def made_bytes(self) -> int:
        """Bytes of what is made of the bits."""
        return sum(getattr(self, name).nbytes for name in self.made)

    def binary_ops(self, x: Tensor) -> int:
        """Multiply-accumulates of signs for packed inputs."""
        sides = self.window.sides(x.shape[1], x.shape[2]) if self.window else (1, 1)
        return len(x) * math.prod(sides) * math.prod(self.shape)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{self.name}, {self.shape}"


class FloatsFromBits(PackedLayer):
    """Packed signs to floats: sums times a factor of each filter, plus a bias."""

    factors: Tensor
    bias: Tensor | None
    made = ("words", "around", "scales", "shifts")

    def __init__(self, layer: BinaryLayer, positions: int = 1) -> None:
        super().__init__(layer, positions)
        self.register_buffer("factors", layer.alpha.detach().clone())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.prepare()

    def prepare(self) -> None:
        """Factors and biases as the kernel reads them."""
        super().prepare()
        self.scales = self.factors.numpy()
        self.shifts = np.zeros_like(self.scales) if self.bias is None else self.bias.numpy()

    def forward(self, x: Tensor) -> Tensor:
        """Words (N, H, W, K) to maps (N, filters, H', W'); or rows (N, K) to rows (N, filters).

        Raises LabError as `rows` does.
        """
        rows, sides = self.rows(x)
        out = np.empty((len(rows), self.shape[0]), np.float32)
        run = kernel.floats_alone if self.threads == 1 else _together(kernel.floats_together, self)
        run(rows, self.words, self.size, self.scales, self.shifts, out)
        sums = torch.from_numpy(out)
        if self.window is None:
            return sums
        return sums.view(len(x), *sides, -1).permute(0, 3, 1, 2).contiguous()

    def forward_cost(self, x: Tensor, output: Tensor) -> Cost:
        """Binary operations, and an addition for each bias."""
        additions = 0 if self.bias is None else output.numel()
        return Cost(binary_ops=self.binary_ops(x), additions=additions)


class BitsFromBits(PackedLayer):
    """Packed signs to packed signs: sums are compared with limits, and maybe pooled.

    `limits` (P, filters) say up to how many differing signs a bit is one, for each position of what
    comes out or for all of them; `flips` (P, filters) which bits are then turned round. A pool is a
    maximum over windows that do not overlap.
    """

    limits: Tensor
    flips: Tensor
    made = ("words", "around", "table", "turned")

    def __init__(
        self, layer: BinaryLayer, limits: Tensor, flips: Tensor, pool: Pair, positions: int = 1
    ) -> None:
        super().__init__(layer, positions)
        fits = self.size < 2**15
        self.register_buffer("limits", limits.to(torch.int16 if fits else torch.int32))
        self.register_buffer("flips", dense(torch.where(flips, 1, -1)))
        self.pool = pool
        self.prepare()

    def prepare(self) -> None:
        """Limits and flips as the kernels read them, none for the filters that fill a word."""
        super().prepare()
        filters = self.shape[0]
        limits = np.pad(self.limits.numpy(), [(0, 0), (0, -filters % BITS)], constant_values=-1)
        self.table = limits.astype(np.int32)
        self.turned = rows_of_words(undense(self.flips, (len(limits), filters)))

    def forward(self, x: Tensor) -> Tensor:
        """Words (N, H, W, K) to words (N, H', W', K'); or rows (N, K) to rows.

        Raises LabError as `rows` does.
        """
        rows, sides = self.rows(x)
        bits = np.empty((len(rows), words_for(self.shape[0]) * 8), np.uint8)
        run = kernel.bits_alone if self.threads == 1 else _together(kernel.bits_together, self)
        run(rows, self.words, self.table_of(sides), bits)
        maps = bits.view("<i8").reshape(len(x), *sides, -1)
        down, across = (side // of for side, of in zip(sides, self.pool, strict=True))
        out = np.empty((len(x), down, across, maps.shape[-1]), np.int64)
        moves.pool_bits(maps, self.pool, self.turned, out)
        return torch.from_numpy(out if self.window else out.reshape(len(x), -1))

    def table_of(self, sides: Pair) -> Words:
        """The limits of each position before the pool: those of the position that it ends in."""
        if len(self.table) == 1:
            return self.table
        down, across = (side // of for side, of in zip(sides, self.pool, strict=True))
        maps = self.table.reshape(down, across, -1)
        wide = maps.repeat(self.pool[0], axis=0).repeat(self.pool[1], axis=1)
        rest = [(0, side - of) for side, of in zip(sides, wide.shape[:2], strict=True)]
        table: Words = np.pad(wide, [*rest, (0, 0)], mode="edge").reshape(math.prod(sides), -1)
        return table

    def forward_cost(self, x: Tensor, _output: Tensor) -> Cost:
        """Binary operations; comparisons are free, as a batch norm's are."""
        return Cost(binary_ops=self.binary_ops(x))


def window_of(layer: BinaryConv2d) -> Window:
    """What a binary convolution's filters see."""
    height, width = layer.weight.shape[2:]
    left, right, top, bottom = layer.pads
    return Window((height, width), layer.stride, layer.dilation, (left, right, top, bottom))


def _together(run: Any, layer: PackedLayer) -> Any:  # noqa: ANN401  (numba's functions)
    """A kernel on the threads of a layer, as far as there are any."""
    numba.set_num_threads(min(layer.threads, numba.config.NUMBA_NUM_THREADS))
    return run
