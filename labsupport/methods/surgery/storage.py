"""Pruned networks on disk: the weights, and the shape that they belong to."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from labsupport.errors import LabError
from labsupport.files import whole
from labsupport.methods.surgery.removal import shrink, widths
from labsupport.models import ModelSpec


def save_pruned(model: nn.Module, spec: ModelSpec, path: Path) -> None:
    """Write a network that was pruned from what `spec` builds, as one safetensors file.

    Its metadata holds the spec and the widths that are left.
    """
    about = {"spec": spec.describe(), "widths": widths(model, spec.input_shape)}
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    with whole(Path(path)) as temporary:
        save_file(state, temporary, metadata={"pruned": json.dumps(about)})


def load_pruned(path: Path) -> nn.Module:
    """A network that `save_pruned` wrote, in eval mode.

    Raises LabError for a file that is missing, broken or of another kind.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["pruned"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        spec = ModelSpec(**{**about["spec"], "input_shape": tuple(about["spec"]["input_shape"])})
        model = shrink(spec.build(), spec.input_shape, about["widths"])
        model.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        problem = f"{path} holds no pruned network ({type(error).__name__})"
        raise LabError(problem, "give a file that save_pruned wrote") from None
    return model.eval()
