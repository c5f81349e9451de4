"""What stands between two binary layers, folded into limits of the first one's sums.

ReLU, batch norm and the sign that the second takes are all monotone, so that a sum's sign changes
at one place at most. The float layers themselves are asked where: what they round is rounded alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Size, Tensor, fx, nn

from labsupport.methods.binary import BinaryLayer
from labsupport.network.tracing import called

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
MONOTONE = (nn.ReLU, nn.Hardtanh, nn.Identity, nn.Dropout, nn.Dropout2d, *NORMS)


@dataclass(frozen=True)
class Chain:
    """The calls from one binary layer to the next, `reader`, and what they are."""

    nodes: tuple[fx.Node, ...]
    modules: tuple[nn.Module, ...]
    reader: fx.Node

    @property
    def pool(self) -> tuple[int, int]:
        """The windows of the pool among them; single positions where there is none."""
        pools = (m for m in self.modules if isinstance(m, nn.MaxPool2d))
        return next((_pair(pool.kernel_size) for pool in pools), (1, 1))


def chain_from(graph: fx.GraphModule, node: fx.Node) -> Chain | None:
    """The chain from the call of a binary layer to another that takes signs; None for no such.

    Each call in it is the only reader of the one before. One pool at most, of windows side by side,
    after functions that do not decrease; a maximum passes through these.
    """
    nodes: list[fx.Node] = []
    modules: list[nn.Module] = []
    rising = bool((cast(BinaryLayer, called(graph, node)).alpha >= 0).all())
    while len(node.users) == 1:
        (node,) = node.users
        module = called(graph, node)
        if isinstance(module, BinaryLayer):
            packs = module.scheme.window is not None and not module.scheme.scales_inputs
            return Chain(tuple(nodes), tuple(modules), node) if packs else None
        if module is None or not _folds(module, modules, rising):
            return None
        nodes.append(node)
        modules.append(module)
    return None


def chain_before(graph: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    """The calls of monotone functions of each channel up to a layer, which alone reads them."""
    found: list[fx.Node] = []
    (node,) = node.all_input_nodes
    while len(node.users) == 1 and _is_monotone(called(graph, node)):
        (before,) = node.all_input_nodes
        if len(before.users) > 1 and getattr(called(graph, node), "inplace", False):
            break  # others read what it writes
        found.insert(0, node)
        node = before
    return found


def limits_before(modules: Sequence[nn.Module], shape: Size) -> tuple[Tensor, Tensor]:
    """From which float on what functions make of it has another sign, and which signs turn: (C,).

    `shape` is that of the maps or rows that they get. Floats are bisected in their order.
    """
    wanted = (1, *shape[1:])
    largest = torch.finfo(torch.float32).max
    top = int(torch.tensor(largest).view(torch.int32))

    def signs(places: Tensor) -> Tensor:
        x = _float_at(places)
        for module in modules:
            x = module(x)
        return x >= 0

    low, high = torch.full(wanted, -top), torch.full(wanted, top + 1)
    lowest = signs(low)
    while bool((high - low > 1).any()):
        middle = (low + high).div(2, rounding_mode="floor")
        alike = signs(middle) == lowest
        low, high = torch.where(alike, middle, low), torch.where(alike, high, middle)
    return _by_channel(_float_at(high)), _by_channel(lowest)


def _by_channel(maps: Tensor) -> Tensor:
    """The first position of maps (1, C, H, W), or a row (1, C): (C,)."""
    return maps.flatten(2)[0, :, 0] if maps.dim() > 2 else maps[0]


def limits(layer: BinaryLayer, chain: Chain, shape: Size) -> tuple[Tensor, Tensor]:
    """Up to how many signs may differ for a bit, and which bits are turned round: (P, filters).

    `shape` is that of the layer's maps (N, filters, H, W) or rows (N, filters). P is 1 where all
    positions, those after a pool, have the same.
    """
    sides = [side // of for side, of in zip(shape[2:], chain.pool, strict=False)]
    wanted = (1, shape[1], *sides)
    size = layer.weight[0].numel()
    first = _signs(layer, chain, torch.zeros(wanted, dtype=torch.long))
    last, beyond = torch.zeros(wanted, dtype=torch.long), torch.full(wanted, size + 1)
    while bool((beyond - last > 1).any()):  # bisect, everywhere at once
        middle = (last + beyond) // 2
        alike = _signs(layer, chain, middle) == first
        last, beyond = torch.where(alike, middle, last), torch.where(alike, beyond, middle)
    found, flips = (values.flatten(2).squeeze(0).T for values in (_maps(last), _maps(~first)))
    alike_everywhere = bool((found == found[:1]).all() and (flips == flips[:1]).all())
    rows = 1 if alike_everywhere else len(found)
    return found[:rows].contiguous(), flips[:rows].contiguous()


def _signs(layer: BinaryLayer, chain: Chain, differing: Tensor) -> Tensor:
    """Whether what the chain makes of sums with so many differing signs is >= 0."""
    sums = (layer.weight[0].numel() - 2 * differing).to(layer.weight.dtype)
    x = sums * layer.by_filter(layer.alpha)
    x = x if layer.bias is None else x + layer.by_filter(layer.bias)
    for module in chain.modules:
        x = x if isinstance(module, nn.MaxPool2d) else module(x)
    return x.view(differing.shape) >= 0


def _float_at(places: Tensor) -> Tensor:
    """Finite floats, and infinity, by their place in order; that of zero is 0."""
    magnitudes = places.abs().to(torch.int32).view(torch.float32)
    return torch.where(places < 0, -magnitudes, magnitudes)


def _maps(values: Tensor) -> Tensor:
    return values.view(*values.shape, *[1] * (4 - values.dim()))


def _folds(module: nn.Module, before: Sequence[nn.Module], rising: bool) -> bool:
    """Whether a module folds behind others; `rising` says that no factor of sums is negative."""
    if isinstance(module, nn.Flatten):
        return module.start_dim == 1 and module.end_dim == -1
    if isinstance(module, nn.MaxPool2d):
        rises = rising and all(map(_rises, before))
        return rises and not _is_pooled(before) and _lies_side_by_side(module)
    return _is_monotone(module)


def _is_monotone(module: nn.Module | None) -> bool:
    """Whether a module computes a monotone function of each channel by itself."""
    if isinstance(module, NORMS):
        return module.running_mean is not None
    return isinstance(module, MONOTONE)


def _is_pooled(modules: Sequence[nn.Module]) -> bool:
    return any(isinstance(module, nn.MaxPool2d | nn.Flatten) for module in modules)


def _rises(module: nn.Module) -> bool:
    factors = module.weight if isinstance(module, NORMS) else None
    return factors is None or bool((factors >= 0).all())


def _lies_side_by_side(pool: Any) -> bool:  # noqa: ANN401  (its types are int or pair)
    steps = _pair(pool.kernel_size) == _pair(pool.stride)
    plain = _pair(pool.padding) == (0, 0) and _pair(pool.dilation) == (1, 1)
    return steps and plain and not pool.ceil_mode and not pool.return_indices


def _pair(value: Any) -> tuple[int, int]:  # noqa: ANN401
    return cast("tuple[int, int]", value) if isinstance(value, tuple) else (value, value)
