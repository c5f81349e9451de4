"""A network called: where it lies, what it takes, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters and buffers lie; the CPU if it has none."""
    for tensor in chain(model.parameters(), model.buffers()):
        return tensor.device
    return torch.device("cpu")


def example(model: nn.Module, input_shape: tuple[int, ...], batch: int = 1) -> Tensor:
    """A batch of zeros (batch, *input_shape) where the model lies, in its precision."""
    weights = (p.dtype for p in model.parameters() if p.is_floating_point())
    dtype = next(weights, torch.get_default_dtype())
    return torch.zeros(batch, *input_shape, device=device_of(model), dtype=dtype)


def synchronize(device: torch.device) -> None:
    """Wait until an accelerator has done what it was asked; the CPU is always done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module has no modules inside, but for those that compute its weights."""
    inside = dict(module.named_children())
    if parametrize.is_parametrized(module):
        del inside["parametrizations"]
    return not inside


def kind_of(module: nn.Module) -> str:
    """The name of a module's class; a layer that computes its weights is what it is without."""
    return parametrize.type_before_parametrizations(module).__name__


def run(model: nn.Module, x: Tensor) -> Tensor:
    """Apply the model. Raises LabError when the input does not fit."""
    try:
        return cast(Tensor, model(x))
    except RuntimeError as error:
        raise LabError(
            f"the model does not accept an input of shape {tuple(x.shape)}: {error}",
            "check the shape of one example (without the batch dimension)",
        ) from error


def is_conditional(model: nn.Module) -> bool:
    """Whether what the model computes, or a part of it, depends on the image."""
    return any(getattr(module, "conditional", False) for module in model.modules())


def exit_logits(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Logits (N, classes) of all exits of a network for every image; of most, the only ones.

    Raises LabError when the input does not fit a network of one exit.
    """
    of_all: Callable[[Tensor], list[Tensor]] | None = getattr(model, "all_logits", None)
    return [run(model, x)] if of_all is None else of_all(x)
