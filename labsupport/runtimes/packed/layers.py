"""Layers that multiply packed signs, for inference on the CPU.

Weights are kept a bit for each, which is what a file holds of them; their words in the order of the
kernel are made from these anew in each process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.methods.binary import BinaryConv2d, BinaryLayer
from labsupport.runtimes.packed import moves
from labsupport.runtimes.packed.kernel import Words
from labsupport.runtimes.packed.prepared import Prepared
from labsupport.runtimes.packed.words import dense, interleaved, rows_of_words, undense

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
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


class PackedLayer(Prepared):
    """A product of packed signs; what becomes of its sums is the matter of its kinds.

    `positions` is how many positions of maps a linear layer sees, each packed by itself. `window`
    is a convolution's.
    """

    bits: Tensor
    made: tuple[str, ...] = ("words", "around")
    activation_bits = 1.0

    def __init__(self, layer: BinaryLayer, positions: int = 1) -> None:
        super().__init__()
        self.name, self.threads, self.positions = layer.name, 1, positions
        self.shape = tuple(layer.weight.shape)
        self.window = window_of(layer) if isinstance(layer, BinaryConv2d) else None
        self.register_buffer("bits", dense(layer.weight))

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
            return (x if x.dim() == 2 else x.flatten(1)).numpy(), (1, 1)
        left, _, top, _ = self.window.pads
        sides = self.window.sides(x.shape[1], x.shape[2])
        if min(sides) < 1:
            problem = f"layer {self.name} gets maps of {x.shape[1]} x {x.shape[2]}"
            raise LabError(problem, "give images no smaller than what its filters see")
        rows = np.empty((len(x), *sides, *self.window.taps, len(self.around)), np.int64)
        maps = x.contiguous().numpy()
        steps = self.window.stride, self.window.dilation
        moves.gather_windows(maps, self.around, (top, left), *steps, rows)
        return rows.reshape(len(x) * math.prod(sides), self.taps * len(self.around)), sides

    def check(self, x: Tensor) -> None:
        """Raises LabError for inputs that are not packed, or packed of other channels."""
        if x.dtype != torch.int64:
            problem = f"layer {self.name} gets inputs of {x.dtype}, which are not packed"
            raise LabError(problem, "give the words of a Pack, or what a layer of bits gives")
        if x.dim() not in ((4,) if self.window else (2, 4)):
            problem = f"layer {self.name} gets words of shape {tuple(x.shape)}"
            raise LabError(
                problem, "give (images, H, W, words), or (images, words) to a linear layer"
            )
        wanted = len(self.around) * (1 if self.window else self.positions)
        given = x.shape[-1] if self.window else math.prod(x.shape[1:])
        if given != wanted:
            problem = f"layer {self.name} gets {given} words where it sees {wanted}"
            raise LabError(problem, f"pack inputs of {self.shape[1]} channels")

    def binary_ops(self, x: Tensor) -> int:
        """Multiply-accumulates of signs for packed inputs."""
        sides = self.window.sides(x.shape[1], x.shape[2]) if self.window else (1, 1)
        return len(x) * math.prod(sides) * math.prod(self.shape)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{self.name}, {self.shape}"


def window_of(layer: BinaryConv2d) -> Geometry:
    """What a binary convolution's filters see."""
    height, width = layer.weight.shape[2:]
    left, right, top, bottom = layer.pads
    return Geometry((height, width), layer.stride, layer.dilation, (left, right, top, bottom))
