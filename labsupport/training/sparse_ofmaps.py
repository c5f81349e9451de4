"""Training for ofmaps that are mostly zero, and that can lose some of what is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.training.objectives import CrossEntropy, Objective, Step

PLAIN = CrossEntropy()


@dataclass(frozen=True)
class SparseOfmaps:
    """Another objective, and `weight` times Hoyer's measure of the maps that ReLUs give.

    The measure tells how many values there are other than zero, and does not change with their
    scale, which a batch norm behind the map would undo (Kurtz et al. 2020, "Inducing and exploiting
    activation sparsity for fast inference on deep neural networks", section 3.2). Every map counts
    the same; vectors do not count. A share `dropout` of the maps' values is lost while training
    (Srivastava et al. 2014), so that the network can do without some.

    Raises LabError for a negative weight, a dropout outside [0, 1), and, when called, for a network
    where no ReLU that is a layer gives a map.
    """

    weight: float
    dropout: float = 0.0
    objective: Objective = PLAIN

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise LabError(f"sparsity with a weight of {self.weight}", "give 0 or more")
        if not 0 <= self.dropout < 1:
            raise LabError(f"a dropout of {self.dropout}", "give 0 to below 1")

    def __call__(self, model: nn.Module, batch: Batch) -> Step:
        """The loss of a batch."""
        with _watched(model, self.dropout) as measures:
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


@contextmanager
def _watched(model: nn.Module, dropout: float) -> Iterator[list[Tensor]]:
    """The measure of each map that a ReLU gives while the network runs and values are lost."""
    measures: list[Tensor] = []

    def lose(relu: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if output.dim() != 4:
            return output
        measures.append(hoyer(output))
        return torch.dropout(output, dropout, relu.training)

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                stack.callback(module.register_forward_hook(lose).remove)
        yield measures
