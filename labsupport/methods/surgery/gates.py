"""Gates: a factor on every channel of a group, where it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

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
    def multiply(_layer: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> Any:  # noqa: ANN401
        x = args[0] if args else named["input"]
        factors = gate.to(x.dtype).repeat_interleave(consumer.positions, -1)
        return (x * factors.reshape(*factors.shape, *[1] * (x.dim() - 2)),), {}

    return multiply
