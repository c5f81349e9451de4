"""Removing channels for good, and masking them: two networks that compute the same."""

from __future__ import annotations

import copy
import gc
import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.methods.surgery.groups import (
    Group,
    Member,
    channel_groups,
    group_of,
    narrowed,
)
from labsupport.methods.surgery.kinds import CONVOLUTIONS, is_depthwise
from labsupport.network.tracing import trace

Removed = Mapping[str, Iterable[int]]  # which channels of which layer


def remove_channels(model: nn.Module, input_shape: tuple[int, ...], removed: Removed) -> nn.Module:
    """A smaller copy without some filters or neurons, and without all that reads them.

    `removed` names channels of a group, by their numbers in it, and the group by a layer that makes
    them; its other layers lose theirs, too.
    Raises LabError for a layer whose channels cannot be removed, a channel that is not there, or
    when none would be left.
    """
    smaller = copy.deepcopy(model)
    outputs: dict[str, list[Tensor]] = defaultdict(list)
    inputs: dict[str, list[Tensor]] = defaultdict(list)
    for group, gone in _by_group(model, input_shape, removed):
        for members, lost in ((makers(group), outputs), (group.consumers, inputs)):
            for member in members:
                lost[member.layer].append(member.features[sorted(gone)].flatten())
    for layer, parts in outputs.items():
        _drop_outputs(smaller.get_submodule(layer), torch.cat(parts))
    for layer, parts in inputs.items():
        _drop_inputs(smaller.get_submodule(layer), torch.cat(parts))
    trace(smaller, input_shape)  # what the groups did not foresee fails here, not at the user's
    gc.collect(1)  # torch.fx leaves cycles that would hold the weights of both networks
    return smaller


def mask_channels(model: nn.Module, input_shape: tuple[int, ...], removed: Removed) -> nn.Module:
    """A copy of full size in which the same channels are zero everywhere.

    The zeros are the weights and biases that make a channel, and a batch norm's scale, shift and
    mean.
    Raises LabError as `remove_channels` does.
    """
    masked = copy.deepcopy(model)
    for group, gone in _by_group(model, input_shape, removed):
        for member in makers(group):
            layer = masked.get_submodule(member.layer)
            for name, tensor in layer.state_dict().items():
                if name in ("weight", "bias", "running_mean"):
                    tensor[member.features[sorted(gone)].flatten()] = 0
    return masked


def shrink(model: nn.Module, input_shape: tuple[int, ...], to: Mapping[str, int]) -> nn.Module:
    """A copy that keeps the first so many channels of some layers: the shape, for other weights.

    Raises LabError as `narrowed` does.
    """
    chosen = narrowed(channel_groups(model, input_shape), to)
    removed = {layer: range(to[layer], group.channels) for layer, group in chosen.items()}
    return remove_channels(model, input_shape, removed)


def widths(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, int]:
    """How many channels each group has that can be pruned, by the group's name."""
    groups = channel_groups(model, input_shape)
    return {group.name: group.channels for group in groups if not group.fixed}


def makers(group: Group) -> tuple[Member, ...]:
    """The layers that hold weights for each channel of their output."""
    return (*group.producers, *group.followers)


def _by_group(
    model: nn.Module, input_shape: tuple[int, ...], removed: Removed
) -> list[tuple[Group, set[int]]]:
    groups = channel_groups(model, input_shape)
    chosen: dict[str, tuple[Group, set[int]]] = {}
    for layer, channels in removed.items():
        group = group_of(layer, groups)
        _, gone = chosen.setdefault(group.name, (group, set()))
        gone.update(_numbers(layer, channels))
        _check(layer, group.channels, gone)
    return list(chosen.values())


def _numbers(layer: str, channels: Iterable[int]) -> list[int]:
    try:
        given = list(channels)
        if any(isinstance(channel, bool) for channel in given):
            raise TypeError
        return [operator.index(channel) for channel in given]
    except TypeError:
        problem = f"{channels!r} are no channels of {layer}"
        raise LabError(problem, "give their numbers, from 0") from None


def _check(layer: str, channels: int, gone: set[int]) -> None:
    outside = [c for c in sorted(gone) if not 0 <= c < channels]
    if outside:
        raise LabError(f"{layer} has no channel {outside[0]}", f"choose from 0 to {channels - 1}")
    if len(gone) == channels:
        raise LabError(f"no channel of {layer} would be left", "keep at least one")


def _drop_outputs(layer: nn.Module, gone: Tensor) -> None:
    """Slice what a layer holds for each output; a batch norm's statistics are such, too."""
    tensors = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    before = max(len(tensor) for _, tensor in tensors if tensor.dim())
    keep = _others(before, gone)
    for name, tensor in tensors:
        if tensor.dim():  # a batch norm's count of batches has none
            setattr(layer, name, _sliced(tensor, keep))
    if isinstance(layer, CONVOLUTIONS) and is_depthwise(layer):
        _resize(layer, len(keep) * layer.in_channels // before, "in_channels", "groups")
    _resize(layer, len(keep), "out_features", "out_channels", "num_features")


def _drop_inputs(layer: nn.Module, gone: Tensor) -> None:
    """Slice what a layer holds for each input; grouped filters lose the same in each group."""
    weight = layer.get_parameter("weight")
    keep = _others(weight.shape[1], gone % weight.shape[1])
    layer.weight = _sliced(weight, keep, dim=1)
    groups = layer.groups if isinstance(layer, CONVOLUTIONS) else 1
    _resize(layer, len(keep) * groups, "in_features", "in_channels")


def _others(count: int, gone: Tensor) -> Tensor:
    """The numbers from 0 to below `count` that are not gone."""
    keep = torch.ones(count, dtype=torch.bool)
    keep[gone] = False
    return keep.nonzero().flatten()


def _sliced(tensor: Tensor, keep: Tensor, dim: int = 0) -> Tensor:
    """The kept part, a parameter again where it was one."""
    part = tensor.detach().index_select(dim, keep.to(tensor.device))
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(part, tensor.requires_grad)
    return part


def _resize(layer: nn.Module, size: int, *names: str) -> None:
    for name in names:
        if hasattr(layer, name):
            setattr(layer, name, size)
