"""Criteria: a number per filter that says how much the network would miss it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.methods.surgery import Group, Member, gated
from labsupport.network.calls import exit_logits
from labsupport.network.modes import evaluating

Scores = dict[str, Tensor]  # (channels,) in float64 for each group's name; less is missed less
Criterion = Callable[[nn.Module, Sequence[Group]], Scores]


def l1(model: nn.Module, groups: Sequence[Group]) -> Scores:
    """Sum of the absolute weights of each filter. Li et al. 2017, section 3.1."""
    return {group.name: _over_filters(model, group, Tensor.abs) for group in groups}


def l2(model: nn.Module, groups: Sequence[Group]) -> Scores:
    """Euclidean norm of each filter's weights."""
    return {group.name: _over_filters(model, group, Tensor.square).sqrt() for group in groups}


def batch_norm_scale(model: nn.Module, groups: Sequence[Group]) -> Scores:
    """Absolute scale of the batch norms that a channel passes. Liu et al. 2017, section 3.

    Raises LabError for a group without a batch norm that scales.
    """
    return {group.name: _scales(model, group) for group in groups}


def random(seed: int) -> Criterion:
    """Any order is as good: what a criterion has to beat."""

    def scores(_model: nn.Module, groups: Sequence[Group]) -> Scores:
        draw = torch.Generator().manual_seed(seed)
        return {
            group.name: torch.rand(group.channels, generator=draw, dtype=torch.float64)
            for group in groups
        }

    return scores


def taylor(split: Batched, batch_size: int = 250) -> Criterion:
    """First-order change of the loss without a channel, by one backward pass.

    Per example the absolute mean over positions of activation times gradient, averaged over
    examples, normalized to length 1 within a layer. Molchanov et al. 2017, section 2.2.
    Raises LabError for a split without images.
    """
    _check_images(split)

    def scores(model: nn.Module, groups: Sequence[Group]) -> Scores:
        with evaluating(model), torch.enable_grad():
            return {group.name: _taylor(model, group, split, batch_size) for group in groups}

    return scores


def oracle(split: Batched, batch_size: int = 250, at_once: int = 4) -> Criterion:
    """The loss with each channel removed, less the loss with all: what the others estimate.

    One pass tries `at_once` channels: in it the layers before the gate run once, those behind it
    once for each channel. Raises LabError for less than one at once, and for no images.
    """
    _check_images(split)
    if at_once < 1:
        raise LabError(f"{at_once} channels at once", "take at least 1")

    def scores(model: nn.Module, groups: Sequence[Group]) -> Scores:
        with evaluating(model), torch.inference_mode():
            return {
                group.name: _oracle(model, group, split, batch_size, at_once) for group in groups
            }

    return scores


def _check_images(split: Batched) -> None:
    if not len(split):
        raise LabError("there are no images to score channels by", "give at least one")


def _loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy summed over the examples, and over the exits of a network that has several."""
    exits = [cross_entropy(logits, y, reduction="sum") for logits in exit_logits(model, x)]
    return torch.stack(exits).sum()


def _over_filters(model: nn.Module, group: Group, of_weight: Callable[[Tensor], Tensor]) -> Tensor:
    sums = [
        of_weight(_weight(model, member).double()).flatten(1).sum(1)[member.features].sum(1)
        for member in group.producers
    ]
    return torch.stack(sums).sum(0)


def _scales(model: nn.Module, group: Group) -> Tensor:
    scales = [
        _weight(model, member).double().abs()[member.features].sum(1)
        for member in group.followers
        if _scales_channels(model.get_submodule(member.layer))
    ]
    if not scales:
        raise LabError(
            f"no batch norm scales the channels of {group.name}", "take another criterion"
        )
    return torch.stack(scales).sum(0)


def _weight(model: nn.Module, member: Member) -> Tensor:
    return model.get_submodule(member.layer).get_parameter("weight").detach().cpu()


def _scales_channels(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine


def _taylor(model: nn.Module, group: Group, split: Batched, batch_size: int) -> Tensor:
    total = torch.zeros(group.channels, dtype=torch.float64)
    for x, y in split.batches(batch_size):
        gate = torch.ones(len(x), group.channels, device=x.device, requires_grad=True)
        with gated(model, group, gate):
            loss = _loss(model, x, y)
        # Activation times gradient, summed over positions, is the gradient by the gate. The number
        # of positions is the same for all channels of a layer and leaves with the normalization.
        (change,) = torch.autograd.grad(loss, gate)
        total += change.abs().double().sum(0).cpu()
    return normalize(total, dim=0)


def _oracle(
    model: nn.Module, group: Group, split: Batched, batch_size: int, at_once: int
) -> Tensor:
    change, seen = torch.zeros(group.channels, dtype=torch.float64), 0
    for x, y in split.batches(batch_size):

        def loss(gate: Tensor, x: Tensor = x, y: Tensor = y) -> Tensor:
            with gated(model, group, gate):
                return _loss(model, x, y)

        gates = 1 - torch.eye(group.channels, device=x.device)
        without = torch.vmap(loss, chunk_size=at_once)(gates)
        change += (without - loss(torch.ones_like(gates[0]))).double().cpu()
        seen += len(x)
    return change / seen
