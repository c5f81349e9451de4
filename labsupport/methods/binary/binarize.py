"""Networks whose layers are binary ones."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError
from labsupport.methods.binary.layers import BinaryConv2d, BinaryLayer, BinaryLinear
from labsupport.methods.binary.scales import Held
from labsupport.methods.binary.schemes import Scheme
from labsupport.methods.binary.signs import sign
from labsupport.network.replacing import replaced
from labsupport.network.weights import WEIGHTED, weighted_layers

Layer = nn.Linear | nn.Conv2d


def binarize(network: nn.Module, scheme: Scheme) -> nn.Module:
    """A copy whose linear layers and convolutions are binary, to be trained further.

    Weights become the latent ones that signs are taken of. A batch norm precedes each binary layer
    but one of images, so that signs are those of centered values: Rastegari et al. 2016, figure 3.
    One follows a last layer that is binary. First and last are meant in the order in which the
    network holds its layers. Weights of zero, as those of a pruned layer, count as +1. Train it by
    `fit(..., after_step=after_step)`. Raises LabError for a network without such layers, or binary
    already, and for a layer that cannot be binarized: of another kind with a matrix of weights, in
    groups, padded with other than zeros, with weights that are not finite.
    """
    if binary_layers(network):
        problem = f"this {type(network).__name__} is binary already"
        raise LabError(problem, "binarize the network that it was made from")
    _check_others(network)
    binary = copy.deepcopy(network)
    layers = {name: layer for name, layer, _ in weighted_layers(binary, None)}
    made = {layers[name]: _block(name, layers, scheme) for name in _chosen(layers, scheme)}
    if scheme.drops_relu:
        relus = [m for m in binary.modules() if isinstance(m, nn.ReLU)]
        made |= {relu: nn.Identity().train(relu.training) for relu in relus}
    return replaced(binary, made)


def binary_layers(network: nn.Module) -> dict[str, BinaryLayer]:
    """The binary layers of a network by name."""
    return {n: layer for n, layer in network.named_modules() if isinstance(layer, BinaryLayer)}


def hold_signs(network: nn.Module) -> nn.Module:
    """A copy for inference in torch, in eval mode: signs and factors of weights are made once.

    Signs stay floats, as in most published code; a binary network makes them anew in each call. Its
    bits and its cost are those of floats.
    """
    held = copy.deepcopy(network).eval().requires_grad_(False)
    for layer in binary_layers(held).values():
        layer.memory = layer.alpha.detach().clone()
        layer.weight.copy_(sign(layer.weight))
        layer.scheme = replace(layer.scheme, scale=Held())
    return held


def after_step(network: nn.Module, step: int) -> None:
    """What `fit` does with a binary network after each step: see `BinaryLayer.after_step`."""
    for layer in binary_layers(network).values():
        layer.after_step()


def _check_others(network: nn.Module) -> None:
    """Raises LabError for lazy or sparse weights, and a matrix that is no layer's of torch."""
    for name, module in network.named_modules():
        problem = "" if "parametrizations" in name else _foreign(module)
        if problem:
            which = name or type(module).__name__
            remedy = "give a network of linear layers and convolutions"
            raise LabError(f"layer {which} cannot be binarized: {problem}", remedy)


def _foreign(module: nn.Module) -> str:
    own = list(module.parameters(recurse=False))
    if any(is_lazy(p) or p.layout != torch.strided for p in own):
        return "its weights are lazy or sparse"
    known = isinstance(module, (*WEIGHTED, nn.LayerNorm)) or all(p.dim() < 2 for p in own)
    return "" if known else f"it is a {type(module).__name__}"


def _chosen(layers: dict[str, nn.Module], scheme: Scheme) -> list[str]:
    """The names of layers to be binarized. Raises LabError for none."""
    names = list(layers)[1:-1] if scheme.keeps_ends else list(layers)
    if not names:
        problem = f"{scheme.name} keeps the first and the last layer, and there is none between"
        raise LabError(problem, "give a deeper network, or another scheme")
    return names


def _block(name: str, layers: dict[str, nn.Module], scheme: Scheme) -> nn.Module:
    """A binary layer with the batch norms around it."""
    first, *_, last = list(layers) if len(layers) > 1 else [name, name]
    layer = _checked(name, layers[name])
    own = scheme.of_images if name == first else scheme
    kind = BinaryLinear if isinstance(layer, nn.Linear) else BinaryConv2d
    parts: list[nn.Module] = [kind(layer, own, name)]  # type: ignore[arg-type]
    if name != first or scheme.signs_images:
        parts.insert(0, _norm(layer, layer.weight.shape[1]))
    if name == last:
        parts.append(_norm(layer, len(layer.weight)))
    return (parts[0] if len(parts) == 1 else nn.Sequential(*parts)).train(layer.training)


def _norm(layer: Layer, channels: int) -> nn.Module:
    kind = nn.BatchNorm1d if isinstance(layer, nn.Linear) else nn.BatchNorm2d
    return kind(channels, device=layer.weight.device, dtype=layer.weight.dtype)


def _checked(name: str, layer: nn.Module) -> Layer:
    """The layer as it is. Raises LabError for one that cannot be binarized."""
    if problem := _obstacle(layer):
        raise LabError(f"layer {name} cannot be binarized: {problem}", "give a network without it")
    return cast(Layer, layer)


def _obstacle(layer: nn.Module) -> str:
    kind = parametrize.type_before_parametrizations(layer)
    if kind not in (nn.Linear, nn.Conv2d):
        return f"it is a {kind.__name__}, no linear layer and no 2-D convolution"
    if isinstance(layer, nn.Conv2d) and layer.groups != 1:
        return f"it has {layer.groups} groups"
    if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
        return f"its padding is {layer.padding_mode}"
    numbers = cast("list[Tensor | None]", [layer.weight, layer.bias])
    finite = all(tensor.isfinite().all() for tensor in numbers if tensor is not None)
    return "" if finite else "its weights are not finite"
