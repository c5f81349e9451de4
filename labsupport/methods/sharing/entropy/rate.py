"""How many bits the codes of a network take, as something that training can lower.

A layer's codes are a matrix of whole numbers: a row for each output, its bias last. They are taken
to follow a two-sided geometric distribution, the Laplace one of whole numbers, whose mean magnitude
in row i and column j is the product of the two means, divided by the mean of all. These means are
those of the codes themselves: a coder that counts as it goes comes to know them without a table.
What is rare in a row or column costs most there, so that whole rows and columns vanish.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import pandas as pd
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.methods.sharing.entropy.steps import steps, straight_through
from labsupport.training.objectives import CrossEntropy, Objective, Step

PLAIN = CrossEntropy()
FIRST = 0.5  # what a row or column counts before anything is seen (Krichevsky and Trofimov 1981)


def geometric_bits(magnitudes: Tensor, mean: Tensor) -> Tensor:
    """Bits of each whole number of a magnitude, where such magnitudes have a mean above 0.

    -log2 of (1 - r) / (1 + r) r^magnitude, with the r that has this mean, 2r / (1 - r^2): then
    -ln((1 - r) / (1 + r)) is arsinh(mean), and r is the tanh of half of it.
    """
    start = mean.asinh()
    return (start - magnitudes * (start / 2).tanh().log()) / math.log(2)


def expected_magnitudes(magnitudes: Tensor) -> Tensor:
    """The mean magnitude at each place of a matrix, from the sums of its row and column."""
    rows, columns = (magnitudes.sum(side, keepdim=True) + FIRST for side in (1, 0))
    return rows * columns / (magnitudes.sum() + FIRST)


def code_bits(codes: Tensor) -> Tensor:
    """Bits of a matrix of codes, rounded; their gradient is that of the codes before rounding.

    The means are as the codes are and have no gradient: they are those with the fewest bits, so
    that to first order they change nothing.
    """
    magnitudes = straight_through(codes.abs(), codes.round().abs())
    return geometric_bits(magnitudes, expected_magnitudes(magnitudes.detach())).sum()


def rate(network: nn.Module) -> pd.Series[float]:
    """Bits of the codes of each layer, by the model that training lowers them in."""
    with torch.no_grad():
        bits = {name: code_bits(codes).item() for name, codes in code_matrices(network).items()}
    return pd.Series(bits, name="bits")


def code_matrices(network: nn.Module) -> dict[str, Tensor]:
    """The codes of each layer before rounding, (outputs, inputs and bias).

    Raises LabError for a network without steps.
    """
    found: dict[str, list[Tensor]] = {}
    for name, step in steps(network).items():
        layer, _, kind = name.rpartition(".")
        values = network.get_submodule(layer).get_parameter(f"parametrizations.{kind}.original")
        codes = step.codes(values)
        found.setdefault(layer, []).append(codes.reshape(len(codes), -1))
    if not found:
        problem = f"no layer of this {type(network).__name__} has steps"
        raise LabError(problem, "give it some: with_steps(network)")
    return {name: torch.cat(parts, 1) for name, parts in found.items()}


@dataclass(frozen=True)
class RateDistortion:
    """Another objective plus `weight` times the bits of the codes for each of them.

    Oktay et al. 2020, equation 6; rounding is straight-through where they add noise, so that what
    is trained is what is written. Raises LabError for a weight that is no finite number from 0 on,
    and, when called, for a network without steps.
    """

    weight: float
    objective: Objective = PLAIN

    def __post_init__(self) -> None:
        if not _is_finite(self.weight):
            raise LabError(f"a weight of {self.weight!r} for the bits", "give a finite one from 0")

    def __call__(self, model: nn.Module, batch: Batch) -> Step:
        """The loss of a batch."""
        loss, logits, labels = self.objective(model, batch)
        matrices = code_matrices(model).values()
        bits = torch.stack([code_bits(codes) for codes in matrices]).sum()
        return Step(loss + self.weight * bits / sum(map(Tensor.numel, matrices)), logits, labels)


def _is_finite(weight: object) -> bool:
    """Whether it is a number from 0 on, and not infinite."""
    return isinstance(weight, Real) and 0 <= float(weight) < math.inf
