"""Pruned networks on disk: the weights, and the shape that they belong to."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from labsupport.errors import LabError
from labsupport.files import whole
from labsupport.measure.modes import evaluating, example
from labsupport.methods.surgery.removal import shrink, widths
from labsupport.models import ModelSpec
from labsupport.training.loop import seeded


def save_pruned(model: nn.Module, spec: ModelSpec, path: Path) -> None:
    """Write a network that was pruned from what `spec` builds, as one safetensors file.

    Its metadata holds the spec and the widths that are left. Raises LabError for a network that
    is not the spec's own with fewer channels.
    """
    left = _widths(model, spec)
    x = torch.randn(2, *spec.input_shape, generator=torch.Generator().manual_seed(0))
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    with evaluating(model), torch.no_grad():
        x = x.to(example(model, spec.input_shape))
        ours, theirs = model(x).cpu(), _rebuilt(spec, left, state)(x.cpu())
    if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5):
        problem = f"the network is no {spec.name} with fewer channels"
        raise LabError(problem, "give the spec that it was pruned from")
    about = {"spec": spec.describe(), "widths": left}
    with whole(Path(path)) as temporary:
        save_file(state, temporary, metadata={"pruned": json.dumps(about)})


def load_pruned(path: Path) -> nn.Module:
    """A network that `save_pruned` wrote, in eval mode; torch's random state stays as it was.

    Raises LabError for a file that is missing, broken or of another kind.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["pruned"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        spec = ModelSpec(**{**about["spec"], "input_shape": tuple(about["spec"]["input_shape"])})
        return _rebuilt(spec, dict(about["widths"]), state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, LabError) as error:
        problem = f"{path} holds no pruned network ({type(error).__name__})"
        raise LabError(problem, "give a file that save_pruned wrote") from None


def _widths(model: nn.Module, spec: ModelSpec) -> dict[str, int]:
    with seeded(0):
        known = widths(spec.build(), spec.input_shape)
    return {name: n for name, n in widths(model, spec.input_shape).items() if name in known}


def _rebuilt(spec: ModelSpec, left: dict[str, int], state: dict[str, Tensor]) -> nn.Module:
    with seeded(0):
        model = shrink(spec.build(), spec.input_shape, left)
    precision = next((t.dtype for t in state.values() if t.is_floating_point()), torch.float32)
    try:
        model.to(precision).load_state_dict(state)
    except RuntimeError:
        problem = f"the weights do not belong to a {spec.name} with fewer channels"
        raise LabError(problem, "give the spec that it was pruned from") from None
    return model.eval()
