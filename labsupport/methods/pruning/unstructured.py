"""Unstructured pruning: single weights become zero, and stay in their matrices."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError
from labsupport.network.cost import Cost
from labsupport.network.parametrized import make_plain
from labsupport.network.weights import WEIGHTED, weighted_layers


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

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        with warnings.catch_warnings():  # torch says that its CSR tensors are a beta feature
            warnings.simplefilter("ignore", UserWarning)
            self.register_buffer("weight", weight.detach().to_sparse_csr())
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def __deepcopy__(self, _memo: dict[int, object]) -> SparseLinear:
        """A copy; torch has none for CSR tensors."""
        return SparseLinear(self.weight.to_dense(), self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        rows = x.reshape(-1, x.shape[-1])  # torch has no sparse product of more dimensions
        out: Tensor = (self.weight @ rows.T).T.reshape(*x.shape[:-1], len(self.weight))
        return out if self.bias is None else out + self.bias

    @property
    def weight_count(self) -> int:
        """Non-zero weights, and biases."""
        return self.weight._nnz() + (0 if self.bias is None else self.bias.numel())

    @property
    def weight_bits(self) -> float:
        """Bits of a weight without its place in the matrix."""
        return 8.0 * self.weight.dtype.itemsize

    activation_bits = weight_bits

    def forward_cost(self, x: Tensor, output: Tensor) -> Cost:
        """A MAC per non-zero weight and row of x."""
        additions = 0 if self.bias is None else output.numel()
        rows = x.numel() // x.shape[-1]
        return Cost(fp_macs=rows * self.weight._nnz(), additions=additions)


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
    kept = _largest(torch.cat([size.flatten() for size in sizes]), sparsity)
    masks = torch.split(kept, [size.numel() for size in sizes])
    for layer, mask in zip(layers, masks, strict=True):
        _mask(layer, mask)
    return sparse


def keep_largest(model: nn.Module, keep: float | Mapping[str, float]) -> nn.Module:
    """A copy with masks that leave each layer a share of its weights: the largest of the layer.

    The layers are convolutions and linear ones; `keep`, above 0 to 1, is for all of them, or by
    name for some. Raises LabError for another share, no such layer, and a name that is none.
    """
    sparse = copy.deepcopy(model)
    for name, layer, share in weighted_layers(sparse, keep):
        if not 0 < share <= 1:
            raise LabError(f"{share} of the weights of layer {name}", "keep above 0, at most 1")
        sizes = cast(Tensor, layer.weight).detach().abs().flatten()
        _mask(layer, _largest(sizes, 1 - share))
    return sparse


def _mask(layer: nn.Module, kept: Tensor) -> None:
    """Let a layer keep the weights for which `kept`, (weights,), is 1."""
    weight = cast(Tensor, layer.weight)
    mask = kept.view_as(weight).to(weight.dtype)
    parametrize.register_parametrization(layer, "weight", Masked(mask))


def without_masks(model: nn.Module) -> nn.Module:
    """A copy without the masks, the zeros now plain weights.

    Other parametrizations stay as they are, and so does a mask on what another one computes.
    """
    plain = copy.deepcopy(model)
    for layer in list(plain.modules()):
        if parametrize.is_parametrized(layer):
            for name in list(layer.get_submodule("parametrizations")._modules):
                _apply_masks(layer, name)
    return plain


def _apply_masks(layer: nn.Module, name: str) -> None:
    """Put the masks that come first on a tensor into the tensor itself."""
    steps = cast(nn.ModuleList, layer.get_submodule(f"parametrizations.{name}"))
    while len(steps) and isinstance(steps[0], Masked):
        original = steps.get_parameter("original")
        original.data = steps[0](original.data)
        del steps[0]
    if not len(steps):
        make_plain(layer, name, steps.get_parameter("original"))


def sparsity(model: nn.Module) -> float:
    """The share of zeros among the weights of convolutions and linear layers, 0 to 1.

    Computed weights count as what they are computed to be. Raises LabError for a network without
    such a layer.
    """
    layers = (layer for layer in model.modules() if isinstance(layer, (*WEIGHTED, SparseLinear)))
    weights = [layer.weight for layer in layers]
    if not weights:
        raise LabError(f"a {type(model).__name__} has no weights", "give one that has")
    return 1 - sum(map(_nonzero, weights)) / sum(weight.numel() for weight in weights)


def sparse_bytes(model: nn.Module) -> int:
    """Bytes of all tensors if each weight matrix were stored as CSR: float32 and int32.

    A value and its column for each non-zero weight, a start for each row and one more. Masks are
    not stored.
    """
    total = 0
    for tensor, weight in _tensors(model):
        if weight is None:
            total += tensor.numel() * tensor.element_size()
        else:
            total += 4 * (2 * _nonzero(weight) + len(weight) + 1)
    return total


def with_sparse_linears(model: nn.Module) -> nn.Module:
    """A copy in which every linear layer multiplies its non-zero weights alone."""
    sparse = without_masks(model)
    if isinstance(sparse, nn.Linear):
        return SparseLinear(sparse.weight, sparse.bias)
    for name, child in list(sparse.named_modules(remove_duplicate=False)):
        if isinstance(child, nn.Linear):
            sparse.set_submodule(name, SparseLinear(child.weight, child.bias))
    return sparse


def _largest(sizes: Tensor, sparsity: float) -> Tensor:
    """1 for each of the largest sizes, 0 for a share of the smallest, the first of equal ones."""
    gone = round(sparsity * len(sizes))
    if not gone:
        return torch.ones_like(sizes)
    border = sizes.kthvalue(gone).values
    kept = sizes >= border
    at_border = (sizes == border).nonzero().flatten()
    kept[at_border[: gone - int((~kept).sum())]] = False
    return kept.to(sizes.dtype)


def _tensors(model: nn.Module) -> Iterator[tuple[Tensor, Tensor | None]]:
    """All tensors of a network without masks, each with itself if it is a matrix of weights."""
    for layer in without_masks(model).modules():
        held = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
        for name, tensor in held:
            is_weight = name == "weight" and isinstance(layer, (*WEIGHTED, SparseLinear))
            yield tensor, tensor if is_weight else None


def _nonzero(weight: Tensor) -> int:
    return weight._nnz() if weight.is_sparse_csr else int((weight != 0).sum())
