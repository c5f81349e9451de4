"""What a layer is decomposed from and made of again: its weight by groups, small convolutions."""

from __future__ import annotations

from typing import Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.network.calls import kind_of

Layer = nn.Linear | nn.Conv2d
Made = TypeVar("Made", nn.Linear, nn.Conv2d)


class Decomposition(Protocol):
    """A way to decompose a layer, with its ranks."""

    def __call__(self, layer: nn.Module, name: str) -> nn.Module:
        """What takes the place of a layer: it takes and gives the same shapes.

        Raises LabError that names the layer where it, its weights or the ranks do not fit.
        """


def checked(layer: nn.Module, name: str, *kinds: type[nn.Module]) -> Layer:
    """The layer, of one of some kinds. Raises LabError for another, and weights not finite."""
    if kind_of(layer) not in [kind.__name__ for kind in kinds]:
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise LabError(f"layer {name} is a {kind_of(layer)}", f"decompose a {wanted} so")
    tensors = [p for p in (cast(Layer, layer).weight, cast(Layer, layer).bias) if p is not None]
    if not tensors[0].numel() or not all(bool(p.isfinite().all()) for p in tensors):
        problem = f"layer {name} has no weights, or some that are not finite"
        raise LabError(problem, "look at how it was made")
    return cast(Layer, layer)


def checked_kernel(layer: nn.Module, name: str) -> nn.Conv2d:
    """A convolution over positions and channels. Raises LabError where nothing would be gained."""
    convolution = cast(nn.Conv2d, checked(layer, name, nn.Conv2d))
    if convolution.kernel_size == (1, 1):
        problem = f"layer {name} is a 1x1 convolution, which has no positions to separate"
        raise LabError(problem, "decompose it by SVD(rank), or leave it as it is")
    check_channels(convolution, name)
    return convolution


def is_depthwise(layer: nn.Module) -> bool:
    """Whether it is a convolution each of whose filters sees one channel of several."""
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels


def check_channels(layer: Layer, name: str) -> None:
    """Raises LabError for a depthwise convolution."""
    if is_depthwise(layer):
        problem = f"layer {name} is depthwise: each filter sees one channel, so nothing is gained"
        raise LabError(problem, "leave it as it is")


def check_rank(rank: int, full: int, name: str, what: str = "rank") -> None:
    """Raises LabError for a rank that is no whole number from 1 to the full one."""
    whole = isinstance(rank, int | np.integer) and not isinstance(rank, bool)
    if not whole or not 1 <= rank <= full:
        problem = f"layer {name} cannot have a {what} of {rank}"
        raise LabError(problem, f"give a whole number, 1 to {full}")


def by_groups(layer: nn.Conv2d) -> Tensor:
    """The weight in float64, (groups, filters, channels, rows, columns), sizes of one group."""
    weight = layer.weight.detach().double()
    return weight.reshape(layer.groups, -1, *weight.shape[1:])


def convolution(
    like: nn.Conv2d,
    weight: Tensor,
    axes: tuple[int, ...] = (),
    groups: int | None = None,
    bias: Tensor | None = None,
) -> nn.Conv2d:
    """A convolution by a weight (filters, channels of a group, rows, columns).

    It strides, pads and dilates as `like` does along some axes, 0 rows and 1 columns, and has as
    many groups unless told otherwise. Its type, place and whether it learns are those of `like`.
    """
    groups = like.groups if groups is None else groups
    made = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        cast("tuple[int, int]", tuple(weight.shape[2:])),
        stride=_along(axes, like.stride, 1),
        padding=_padding(axes, like.padding),
        dilation=_along(axes, like.dilation, 1),
        groups=groups,
        bias=bias is not None,
        padding_mode=like.padding_mode if axes else "zeros",
        device="meta",  # so that no weights are drawn
    )
    return _with_tensors(made, like, weight, bias)


def linear(like: nn.Linear, weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear layer by a weight (outputs, inputs)."""
    outputs, inputs = weight.shape
    made = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    return _with_tensors(made, like, weight, bias)


def pointwise(
    like: nn.Conv2d, weight: Tensor, groups: int | None = None, bias: Tensor | None = None
) -> nn.Conv2d:
    """A 1x1 convolution by a weight (filters, channels of a group)."""
    return convolution(like, weight[:, :, None, None], groups=groups, bias=bias)


def _with_tensors(made: Made, like: Layer, weight: Tensor, bias: Tensor | None) -> Made:
    made.weight = parameter(weight, like.weight)
    if bias is not None:
        made.bias = parameter(bias, bias)
    return made.train(like.training)


def parameter(value: Tensor, like: Tensor) -> nn.Parameter:
    """A parameter of its own memory, in the type and place of another, learning if that does."""
    tensor = torch.empty_like(value, dtype=like.dtype, device=like.device).copy_(value.detach())
    return nn.Parameter(tensor.contiguous(), requires_grad=like.requires_grad)


def _along(axes: tuple[int, ...], sizes: tuple[int, ...], still: int) -> tuple[int, int]:
    rows, columns = (sizes[axis] if axis in axes else still for axis in (0, 1))
    return rows, columns


def _padding(axes: tuple[int, ...], padding: str | tuple[int, ...]) -> str | tuple[int, int]:
    return padding if isinstance(padding, str) else _along(axes, padding, 0)
