"""Products of packed signs, and what becomes of their sums: floats, or bits again."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.methods.binary import BinaryLayer
from labsupport.network.cost import Cost
from labsupport.runtimes.packed import kernel, moves
from labsupport.runtimes.packed.kernel import BITS, Whole, Words
from labsupport.runtimes.packed.layers import PackedLayer, Pair
from labsupport.runtimes.packed.words import dense, rows_of_words, undense, words_for


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
        self.scales = self.factors.numpy().copy()
        self.shifts = np.zeros_like(self.scales) if self.bias is None else self.bias.numpy().copy()

    def forward(self, x: Tensor) -> Tensor:
        """Words (N, H, W, K) to maps (N, filters, H', W'); or rows (N, K) to rows (N, filters).

        Raises LabError as `rows` does.
        """
        rows, sides = self.rows(x)
        out = np.empty((len(x), self.shape[0], math.prod(sides)), np.float32)
        run = kernel.floats_alone if self.threads == 1 else _together(kernel.floats_together, self)
        run(rows, self.words, self.size, self.scales, self.shifts, out)
        maps = out[:, :, 0] if self.window is None else out.reshape(*out.shape[:2], *sides)
        return torch.from_numpy(maps)

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
        self.table: Whole = limits.astype(np.int32)
        self.turned = rows_of_words(undense(self.flips, (len(limits), filters)))

    def forward(self, x: Tensor) -> Tensor:
        """Words (N, H, W, K) to words (N, H', W', K'); or rows (N, K) to rows.

        Raises LabError as `rows` and `check_sides` do.
        """
        rows, sides = self.rows(x)
        self.check_sides(sides)
        bits = np.empty((len(rows), words_for(self.shape[0])), np.int64)
        run = kernel.bits_alone if self.threads == 1 else _together(kernel.bits_together, self)
        if self.pool == (1, 1):
            run(rows, self.words, self.table, self.turned, bits)
            maps = bits if self.window is None else bits.reshape(len(x), *sides, bits.shape[1])
        else:
            table = self.table_of(sides)
            run(rows, self.words, table, np.zeros((len(table), bits.shape[1]), np.int64), bits)
            maps = self.pooled(bits.reshape(len(x), *sides, bits.shape[1]))
        return torch.from_numpy(maps)

    def check_sides(self, sides: Pair) -> None:
        """Raises LabError for maps of another size than limits of each position were made for."""
        after = math.prod(side // of for side, of in zip(sides, self.pool, strict=True))
        if len(self.table) not in (1, after):
            problem = f"layer {self.name} has limits of {len(self.table)} positions, not {after}"
            raise LabError(problem, "give images of the size that the network was packed for")

    def pooled(self, maps: Words) -> Words:
        """The maximum of windows: one where any bit is, turned round only then."""
        down, across = (side // of for side, of in zip(maps.shape[1:3], self.pool, strict=True))
        out = np.empty((len(maps), down, across, maps.shape[-1]), np.int64)
        moves.pool_bits(maps, self.pool, self.turned, out)
        return out

    def table_of(self, sides: Pair) -> Whole:
        """The limits of each position before the pool: those of the position that it ends in."""
        if len(self.table) == 1:
            return self.table
        down, across = (side // of for side, of in zip(sides, self.pool, strict=True))
        maps = self.table.reshape(down, across, -1)
        wide = maps.repeat(self.pool[0], axis=0).repeat(self.pool[1], axis=1)
        rest = [(0, side - of) for side, of in zip(sides, wide.shape[:2], strict=True)]
        table: Whole = np.pad(wide, [*rest, (0, 0)], mode="edge").reshape(math.prod(sides), -1)
        return table

    def forward_cost(self, x: Tensor, _output: Tensor) -> Cost:
        """Binary operations; comparisons are free, as a batch norm's are."""
        return Cost(binary_ops=self.binary_ops(x))


def _together(run: Any, layer: PackedLayer) -> Any:  # noqa: ANN401  (numba's functions)
    """A kernel on the threads of a layer, as far as there are any."""
    numba.set_num_threads(min(layer.threads, numba.config.NUMBA_NUM_THREADS))
    return run
