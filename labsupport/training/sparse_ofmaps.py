"""Training for ofmaps whose patches are mostly zero, and that can lose some of what is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.training.objectives import CrossEntropy, Objective, Step

PLAIN = CrossEntropy()


@dataclass(frozen=True)
class SparseOfmaps:
    """Another objective, and `weight` times Hoyer's measure of the maps that ReLUs give.

    The measure tells how many patches of `side` x `side` are not all zero, by their L2 norms (Yang,
    Wen, and Li 2020, "DeepHoyer", section 3.2); with a side of 1, how many values. It does not
    change with their scale, which a batch norm behind the map would undo. Every map counts the
    same; vectors do not count. A share `dropout` of the maps' values is lost while training
    (Srivastava et al. 2014), so that the network can do without some.

    Raises LabError for a negative weight, a dropout outside [0, 1), a side below 1, and, when
    called, for a network where no ReLU that is a layer gives a map.
    """

    weight: float
    dropout: float = 0.0
    side: int = 1
    objective: Objective = PLAIN

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise LabError(f"sparsity with a weight of {self.weight}", "give 0 or more")
        if not 0 <= self.dropout < 1:
            raise LabError(f"a dropout of {self.dropout}", "give 0 to below 1")
        if self.side < 1:
            raise LabError(f"patches with a side of {self.side}", "give 1 or more")

    def __call__(self, model: nn.Module, batch: Batch) -> Step:
        """The loss of a batch."""
        with _watched(model, self.dropout, self.side) as measures:
            loss, logits, labels = self.objective(model, batch)
        if not measures:
            problem = f"no nn.ReLU of this {type(model).__name__} gives a map"
            raise LabError(problem, "put one behind a convolution, as a layer")
        return Step(loss + self.weight * torch.stack(measures).mean(), logits, labels)


def hoyer(maps: Tensor) -> Tensor:
    """The squared L1 norm over the squared L2 norm, per element; 0 for maps that are all zero.

    It is the share of values other than zero where these are all of one size, and less elsewhere.
    """
    squares = maps.square().sum() + torch.finfo(maps.dtype).tiny
    return maps.abs().sum().square() / (squares * maps.numel())


def norms(maps: Tensor, side: int) -> Tensor:
    """The L2 norms of patches of side x side of maps (N, C, H, W); the last ones may be smaller."""
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))  # bfloat16 is no type for sums
    if side == 1:
        return maps.abs()
    squares = avg_pool2d(maps.square(), side, ceil_mode=True, divisor_override=1)
    return (squares + torch.finfo(maps.dtype).tiny).sqrt()  # whose gradient at 0 is 0


@contextmanager
def _watched(model: nn.Module, dropout: float, side: int) -> Iterator[list[Tensor]]:
    """The measure of each map that a ReLU gives while the network runs and values are lost."""
    measures: list[Tensor] = []

    def lose(relu: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if output.dim() != 4:
            return output
        measures.append(hoyer(norms(output, side)))
        return torch.dropout(output, dropout, relu.training)

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                stack.callback(module.register_forward_hook(lose).remove)
        yield measures
