"""Pruned networks on disk: the weights, and the shape that they belong to."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.core.tensors import UNREADABLE, read_tensors, write_tensors
from labsupport.methods.surgery.removal import shrink, widths
from labsupport.models import ModelSpec
from labsupport.network.calls import example
from labsupport.network.modes import evaluating
from labsupport.training.loop import seeded


def save_pruned(model: nn.Module, spec: ModelSpec, path: Path) -> None:
    """Write a network that was pruned from what `spec` builds, as one safetensors file.

    Its metadata holds the spec and the widths that are left. Raises LabError for a network that
    is not the spec's own with fewer channels.
    """
    whole = _untrained(spec)
    known = widths(whole, spec.input_shape)
    left = {n: w for n, w in widths(model, spec.input_shape).items() if n in known}
    rebuilt = _filled(shrink(whole, spec.input_shape, left), model.state_dict())
    x = torch.randn(2, *spec.input_shape, generator=torch.Generator().manual_seed(0))
    given = copy.deepcopy(model).cpu()  # another device would round otherwise
    x = x.to(example(given, spec.input_shape))
    with evaluating(given), torch.no_grad():
        if not torch.allclose(given(x), rebuilt(x), rtol=1e-3, atol=1e-5):
            problem = f"the network is no {spec.name} with fewer channels"
            raise LabError(problem, "give the spec that it was pruned from")
    write_tensors(path, model.state_dict(), {"spec": spec.describe(), "widths": left})


def load_pruned(path: Path) -> nn.Module:
    """A network that `save_pruned` wrote, in eval mode; torch's random state stays as it was.

    Raises LabError for a file that is missing, broken or of another kind.
    """
    try:
        state, about = read_tensors(path)
        given = about["spec"]
        spec = ModelSpec(**{**given, "input_shape": tuple(given["input_shape"])})
        return _filled(shrink(_untrained(spec), spec.input_shape, dict(about["widths"])), state)
    except (*UNREADABLE, LabError) as error:
        problem = f"{path} holds no pruned network ({type(error).__name__})"
        raise LabError(problem, "give a file that save_pruned wrote") from None


def _untrained(spec: ModelSpec) -> nn.Module:
    with seeded(0):  # the weights are replaced; the caller's random state is not
        return spec.build()


def _filled(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """The model with other weights, in their precision, in eval mode."""
    precision = next((t.dtype for t in state.values() if t.is_floating_point()), torch.float32)
    try:
        model.to(precision).load_state_dict(state)
    except RuntimeError:
        raise LabError("these weights belong to another network", "give its own spec") from None
    return model.eval()
