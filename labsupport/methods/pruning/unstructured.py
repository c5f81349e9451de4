"""Unstructured pruning: single weights become zero, and stay in their matrices."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from labsupport.errors import LabError

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Masked(nn.Module):
    """The weights where the mask is 1, zero elsewhere, so that training does not revive them."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """Weights of the same shape."""
        return weight * self.mask


class SparseLinear(nn.Module):
    """A linear layer that stores and multiplies its non-zero weights alone (CSR), not trained."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().to_sparse_csr())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_features) to (N, out_features)."""
        out: Tensor = (self.weight @ x.T).T
        return out if self.bias is None else out + self.bias


def magnitude(model: nn.Module, sparsity: float) -> nn.Module:
    """A copy with a share of its weights masked: the smallest in all its layers together.

    The weights are those of convolutions and linear layers; biases stay. Han et al. 2015,
    "Learning both weights and connections", section 3. Raises LabError for a sparsity outside
    [0, 1), or no such layer.
    """
    if not 0 <= sparsity < 1:
        raise LabError(f"a sparsity of {sparsity}", "give a number from 0 to below 1")
    sparse = copy.deepcopy(model)
    layers = [layer for layer in sparse.modules() if isinstance(layer, WEIGHTED)]
    if not layers:
        raise LabError(f"a {type(model).__name__} has no weights to prune", "give one that has")
    sizes = [layer.weight.detach().abs() for layer in layers]
    kept = torch.ones(sum(size.numel() for size in sizes), device=sizes[0].device)
    order = torch.cat([size.flatten() for size in sizes]).argsort(stable=True)
    kept[order[: round(sparsity * len(order))]] = 0
    masks = torch.split(kept, [size.numel() for size in sizes])
    for layer, mask in zip(layers, masks, strict=True):
        mask = mask.view_as(layer.weight).to(layer.weight.dtype)
        parametrize.register_parametrization(layer, "weight", Masked(mask))
    return sparse


def settled(model: nn.Module) -> nn.Module:
    """A copy without the masks, the zeros now plain weights."""
    plain = copy.deepcopy(model)
    for layer in list(plain.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            weight = layer.get_submodule("parametrizations.weight")().detach()
            # Not remove_parametrizations: a copy shares its class with the original, and it would
            # take the weight off that class.
            layer.__class__ = type(layer).__bases__[0]
            del layer.parametrizations
            layer.weight = nn.Parameter(weight)
    return plain


def sparsity(model: nn.Module) -> float:
    """The share of zeros among the weights of convolutions and linear layers, 0 to 1."""
    weights = [layer.weight for layer in model.modules() if isinstance(layer, WEIGHTED)]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return zeros / sum(weight.numel() for weight in weights)


def sparse_bytes(model: nn.Module) -> int:
    """Bytes of all tensors if each weight matrix were stored as CSR: float32 and int32.

    A value and its column for each non-zero weight, a start for each row and one more.
    """
    total = 0
    for layer in model.modules():
        own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
        for name, tensor in own:
            is_weight = name == "weight" and isinstance(layer, WEIGHTED)
            dense = tensor.numel() * tensor.element_size()
            total += 4 * (2 * int((tensor != 0).sum()) + len(tensor) + 1) if is_weight else dense
    return total


def with_sparse_linears(model: nn.Module) -> nn.Module:
    """A copy in which every linear layer multiplies its non-zero weights alone."""
    sparse = settled(model)
    for parent in list(sparse.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, SparseLinear(child))
    return sparse
