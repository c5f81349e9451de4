"""Spatial networks run by masked convolutions."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.methods.spatial import SpatialLayer, SpatialNetwork, savings, spatialize
from labsupport.methods.spatial.folding import Source, folded, source_of
from labsupport.network.replacing import replaced
from labsupport.network.tracing import called, shape_of, trace
from labsupport.runtimes.masked import MaskedConvolution
from labsupport.runtimes.runtime import Runtime, Torch


class Numba(Torch):
    """Kernels that numba compiles, among layers of torch: those compute on one thread."""

    name = "numba"


class KernelNetwork(nn.Module):
    """A network some of whose convolutions are masked ones; `as_kernels` makes it."""

    runtime: Runtime = Numba()

    def __init__(self, body: fx.GraphModule) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """What the spatial network gives for images (N, C, H, W), but for rounding."""
        return cast(Tensor, self.body(x))


def as_kernels(network: SpatialNetwork, input_shape: tuple[int, ...]) -> KernelNetwork:
    """A copy, for inference, in which enabled spatial layers save time, not only MACs.

    Each convolution with its batch norms, its ReLU and its mask becomes one `MaskedConvolution`. Of
    coupled ones the first does, the others are computed in full. Layers that are disabled stay
    torch's, and so are those worth disabling where the kernel does not win. Raises LabError if none
    is enabled, and for a convolution that the kernel does not know: with groups or dilation, padded
    with other than zeros, or followed by more than batch norms and one addition.
    """
    network.check_convolutions()
    body = trace(copy.deepcopy(network.body).cpu().eval(), input_shape)
    calls = [node for node in body.graph.nodes if _is_enabled(called(body, node))]
    if not calls:
        raise LabError("no spatial layer is enabled", "enable those that shall run as kernels")
    for call in calls:
        _replace(body, call)
    for node in body.graph.nodes:
        node.meta = {}
    body.delete_all_unused_submodules()
    body.recompile()
    return KernelNetwork(body).eval()


@dataclass(frozen=True)
class KernelPair:
    """A layer by itself, its batch norms folded in, or a network: by torch, and as kernels.

    `x` is what it gets, and `saved` the share of its convolutions' MACs that masks save there.
    """

    name: str
    torch: nn.Module
    kernel: KernelNetwork
    x: Tensor
    saved: float

    @property
    def both(self) -> dict[str, nn.Module]:
        """Both ways by their names, to be clocked."""
        return {"torch": self.torch, "kernel": self.kernel}

    @property
    def about(self) -> dict[str, str | float]:
        """What to write down of it."""
        return {"layer": self.name, "saved": self.saved}


def kernel_pairs(network: SpatialNetwork, x: Tensor) -> Iterator[KernelPair]:
    """The enabled layers on what they get for some images, then all of the network, as `all`.

    They are to be clocked: batch norms behind convolutions are folded in on both sides. Layers
    whose map has another one added are left out; without an enabled layer there is nothing. Raises
    LabError as `as_kernels` does.
    """
    network.check_convolutions()
    body = trace(copy.deepcopy(network.body).cpu().eval(), tuple(x.shape[1:]))
    calls = [node for node in body.graph.nodes if _is_enabled(called(body, node))]
    for call in calls:
        layer = cast(SpatialLayer, called(body, call))
        source = source_of(body, call.all_input_nodes[0], layer.name)
        if source is not None and source.added is None:
            plain = nn.Sequential(_with_norms(layer.convolutions[0], source), nn.ReLU()).eval()
            given = _given_to(body, layer.convolutions[0], x)
            masked = spatialize(plain, tuple(given.shape[1:]), layer.mask)
            saved = savings(masked, Split(given, torch.zeros(len(x)))).of_convolutions
            kernel = as_kernels(masked, tuple(given.shape[1:]))
            yield KernelPair(layer.name, plain, kernel, given, saved)
    if calls:
        saved = savings(network, Split(x, torch.zeros(len(x)))).of_convolutions
        kernels = as_kernels(network, tuple(x.shape[1:]))
        kernels.body = _fused(kernels.body)
        yield KernelPair("all", _fused(_plain(body)), kernels, x, saved)


def _plain(body: fx.GraphModule) -> fx.GraphModule:
    """The network that a spatial one was made of."""
    layers = [module for module in body.modules() if isinstance(module, SpatialLayer)]
    return cast(fx.GraphModule, replaced(body, {layer: nn.Identity() for layer in layers}))


def _fused(body: fx.GraphModule) -> fx.GraphModule:
    """A copy whose convolutions do the work of the batch norms right behind them."""
    return cast(fx.GraphModule, fuse(body, no_trace=True))


def _with_norms(convolution: nn.Conv2d, source: Source) -> nn.Conv2d:
    """A copy of a convolution that does the work of its batch norms."""
    weight, bias = folded(convolution, source.norms)
    copied = copy.deepcopy(convolution)
    copied.weight, copied.bias = nn.Parameter(weight), nn.Parameter(bias)
    return copied


@torch.no_grad()
def _given_to(body: nn.Module, layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer gets while a network runs."""
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    body(x)
    hook.remove()
    return seen[0]


def _is_enabled(layer: nn.Module | None) -> bool:
    return isinstance(layer, SpatialLayer) and layer.enabled


def _replace(body: fx.GraphModule, call: fx.Node) -> None:
    """Let one kernel do what the calls up to a spatial layer did."""
    layer, relu = cast(SpatialLayer, called(body, call)), call.all_input_nodes[0]
    source = source_of(body, relu, layer.name)
    if source is None:
        problem = f"more than fixed batch norms and one addition follow {layer.name}"
        raise LabError(problem, "disable its spatial layer")
    x = source.call.all_input_nodes[0]
    kernel = _kernel(layer, source, x)
    kernel.adds = source.added is not None
    path = str(call.target)
    body.set_submodule(path, kernel)
    inputs = (x,) if source.added is None else (x, source.added)
    with body.graph.inserting_after(call):
        new = body.graph.call_module(path, inputs)
    new.meta = call.meta  # its shape, which the next kernel is made for
    call.replace_all_uses_with(new)
    for node in (call, relu, *source.nodes):
        body.graph.erase_node(node)


def _kernel(layer: SpatialLayer, source: Source, x: fx.Node) -> MaskedConvolution:
    convolution, shape = layer.convolutions[0], shape_of(x)
    plain = convolution.groups == 1 and convolution.padding_mode == "zeros"
    if not plain or set(convolution.dilation) != {1} or isinstance(convolution.padding, str):
        problem = f"no kernel for {layer.name}: {convolution}"
        raise LabError(problem, "disable its spatial layer")
    assert shape is not None
    _, channels, height, width = shape
    weight, bias = folded(convolution, source.norms)
    stride, padding = cast("tuple[int, int]", convolution.stride), convolution.padding
    image = channels, height, width
    added = convolution.bias if not source.norms else bias
    return MaskedConvolution(
        weight,
        None if added is None else bias,
        stride,
        cast("tuple[int, int]", padding),
        layer.mask,
        image,
        layer.name,
    )
