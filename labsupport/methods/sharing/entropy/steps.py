"""Layers whose weights and biases are whole multiples of steps that are trained with them.

Oktay et al. 2020, "Scalable model compression by entropy penalized reparameterization", with the
steps of Esser et al. 2020, "Learned step size quantization".
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError
from labsupport.methods.sharing.layers import make_plain_value
from labsupport.network.weights import weighted_layers

BITS = range(2, 9)
STEPPED = ("weight", "bias")


class LearnedStep(nn.Module):
    """A tensor rounded to whole multiples of a step, the nearest ones; both of them learn.

    Gradients pass the rounding as if it were not there (Bengio et al. 2013, straight-through). The
    logarithm of the step is what learns; the step itself has the 16 bits of a bfloat16, as in a
    file. Raises LabError for a step that is not above 0, or not finite.
    """

    def __init__(self, step: float) -> None:
        super().__init__()
        if not _is_positive(step):
            raise LabError(f"a step of {step!r}", "give a finite one above 0")
        self.log_step = nn.Parameter(torch.tensor(math.log(step)))  # as StepGroups finds it

    @property
    def step(self) -> Tensor:
        """The step, a float32 without dimensions."""
        exact = self.log_step.exp()
        return straight_through(exact, exact.bfloat16().float())

    def codes(self, tensor: Tensor) -> Tensor:
        """A tensor in steps, not yet rounded."""
        return tensor / self.step

    def forward(self, tensor: Tensor) -> Tensor:
        """A tensor of any shape to its nearest multiples."""
        codes = self.codes(tensor)
        return (straight_through(codes, codes.round()) * self.step).to(tensor.dtype)


def straight_through(value: Tensor, rounded: Tensor) -> Tensor:
    """What was rounded, exactly, with the gradient of what it was before."""
    return rounded.detach() + (value - value.detach())


def with_steps(network: nn.Module, bits: int | Mapping[str, int] = 5) -> nn.Module:
    """A copy whose layers round their weights and biases to multiples of steps that learn.

    The layers are linear ones and convolutions; `bits` is for all of them, or by name for some: the
    first step makes the largest value the largest number of so many bits, sign included. Raises
    LabError for bits outside 2 to 8, no such layer, and a layer that is empty or not finite.
    """
    stepped = copy.deepcopy(network)
    for name, layer, width in weighted_layers(stepped, bits):
        for kind in STEPPED:
            if getattr(layer, kind) is not None:
                make_plain_value(layer, kind)
                step = _first_step(getattr(layer, kind), f"{kind} of layer {name}", width)
                learned = LearnedStep(step).requires_grad_(getattr(layer, kind).requires_grad)
                parametrize.register_parametrization(layer, kind, learned)
    return stepped


def steps(network: nn.Module) -> dict[str, LearnedStep]:
    """What rounds the tensors of a network, by their names."""
    return {f"{name}.{kind}".lstrip("."): step for name, _, kind, step in _stepped(network)}


def rounded(network: nn.Module) -> nn.Module:
    """A copy that answers alike, its weights and biases plain ones again."""
    plain = copy.deepcopy(network)
    for _, layer, kind, _ in list(_stepped(plain)):
        make_plain_value(layer, kind)
    return plain


def _is_positive(step: object) -> bool:
    """Whether it is a number above 0, and not infinite."""
    return isinstance(step, Real) and 0 < float(step) < math.inf


def _stepped(network: nn.Module) -> Iterator[tuple[str, nn.Module, str, LearnedStep]]:
    """Name of a layer, the layer, which of its tensors is rounded, and what does it."""
    for name, layer in network.named_modules():
        for kind in STEPPED:
            if parametrize.is_parametrized(layer, kind):
                first = layer.get_submodule(f"parametrizations.{kind}.0")
                if isinstance(first, LearnedStep):
                    yield name, layer, kind, first


def _first_step(tensor: Tensor, name: str, bits: int) -> float:
    if type(bits) is not int or bits not in BITS:
        problem = f"{bits!r} bits for the {name}"
        raise LabError(problem, f"give a whole number, {BITS[0]} to {BITS[-1]}")
    if not tensor.numel() or not tensor.isfinite().all():
        problem = f"the {name} is empty or not finite"
        raise LabError(problem, "look at how it was trained")
    largest = cast(float, tensor.detach().abs().max().item())
    return largest / (2 ** (bits - 1) - 1) or 1.0
