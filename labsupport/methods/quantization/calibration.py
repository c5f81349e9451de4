"""Calibration: what enters the layers of a network for some images."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.network.calls import exit_logits
from labsupport.network.modes import evaluating

IMAGES = 512
VALUES = 2**17  # that are kept of those that enter a layer in a call


def input_values(
    network: nn.Module, layers: Mapping[str, nn.Module], split: Batched, seed: int = 0
) -> dict[str, Tensor]:
    """Numbers that enter some layers for 512 images of a split, drawn by chance, in a row each.

    Of many numbers some are drawn; the smallest and the largest are always among them. Raises
    LabError for a split without images, a layer that none of them reaches, and numbers that are
    not finite.
    """
    if not len(split):
        raise LabError("there are no images to calibrate by", "give some of the training part")
    chance = torch.Generator().manual_seed(seed)
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    x, _ = next(iter(split.batches(IMAGES, chance)))
    with ExitStack() as hooks, evaluating(network), torch.no_grad():
        for name, layer in layers.items():
            hooks.enter_context(_recorded(layer, seen[name], seed))
        exit_logits(network, x)
    return {name: _values(name, parts) for name, parts in seen.items()}


def _recorded(layer: nn.Module, into: list[Tensor], seed: int) -> RemovableHandle:
    """A hook that notes what enters a layer until it is removed, alike in all that read one map."""

    def note(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        into.append(_sample(inputs[0].flatten(), torch.Generator().manual_seed(seed)))

    return layer.register_forward_pre_hook(note)


def _sample(values: Tensor, chance: torch.Generator) -> Tensor:
    if len(values) <= VALUES:
        return values.clone()
    drawn = torch.randint(len(values), (VALUES,), generator=chance).to(values.device)
    return torch.cat([values[drawn], torch.stack(values.aminmax())])


def _values(name: str, parts: list[Tensor]) -> Tensor:
    if not parts:
        problem = f"no image reaches layer {name}"
        raise LabError(problem, "leave it out: give bits by name for the other layers")
    values = torch.cat(parts)
    if not values.isfinite().all():
        problem = f"layer {name} gets numbers that are not finite"
        raise LabError(problem, "look at how the network was trained")
    return values
