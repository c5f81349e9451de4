"""Gates: a factor on every channel of a group, where it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from labsupport.methods.surgery.groups import Group, Member


@contextmanager
def gated(model: nn.Module, group: Group, gate: Tensor) -> Iterator[None]:
    """Multiply the channels of a group by `gate`, (channels,) or one row per example (N, channels).

    A gate of zeros in place of ones removes a channel without surgery; the gradient by the gate
    tells what a channel contributes. Raises LabError for a group that cannot be pruned.
    """
    group.check_free(group.name)
    with ExitStack() as stack:
        for consumer in group.consumers:
            layer = model.get_submodule(consumer.layer)
            hook = layer.register_forward_pre_hook(_gating(consumer, gate), with_kwargs=True)
            stack.callback(hook.remove)
        yield


def _gating(consumer: Member, gate: Tensor) -> Any:  # noqa: ANN401  (torch's own hook type)
    def multiply(layer: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> Any:  # noqa: ANN401
        x = args[0] if args else named["input"]
        last = isinstance(layer, nn.Linear)
        factors = _factors(consumer, gate.to(x.dtype), x.shape[-1 if last else 1])
        layout = [1] * (x.dim() - 1)
        layout[-1 if last else 0] = factors.shape[-1]
        return (x * factors.reshape(*factors.shape[:-1], *layout),), {}

    return multiply


def _factors(consumer: Member, gate: Tensor, inputs: int) -> Tensor:
    """A factor for each input of a layer: 1 where the group has no part in it."""
    one = torch.ones_like(gate[..., :1])
    which = torch.full((inputs,), gate.shape[-1], device=gate.device)
    numbers = torch.arange(gate.shape[-1], device=gate.device)
    which[consumer.features.to(gate.device)] = numbers[:, None].expand_as(consumer.features)
    return torch.cat([gate, one], -1)[..., which]
