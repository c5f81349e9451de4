"""Binary networks with their signs packed, 64 in a word."""

from __future__ import annotations

import copy
import math
from typing import cast

import torch
from torch import Tensor, fx, nn

from labsupport.core.errors import LabError
from labsupport.methods.binary import BinaryLayer, binary_layers
from labsupport.network.tracing import called, shape_of, trace
from labsupport.runtimes.packed.floats import RealInputs, Scaled
from labsupport.runtimes.packed.folding import (
    Chain,
    chain_before,
    chain_from,
    limits,
    limits_before,
)
from labsupport.runtimes.packed.layers import PackedLayer
from labsupport.runtimes.packed.packing import Pack
from labsupport.runtimes.packed.prepared import Prepared
from labsupport.runtimes.packed.sums import BitsFromBits, FloatsFromBits
from labsupport.runtimes.runtime import Runtime, Torch

IDLE = (nn.Identity, nn.Dropout, nn.Dropout2d)  # when nothing is trained


class Packed(Torch):
    """Kernels of packed signs, compiled by numba, among layers of torch."""

    name = "packed"

    def replica(self, network: nn.Module, threads: int) -> nn.Module:
        """A copy whose kernels run on so many threads, as torch's layers do."""
        copied = super().replica(network, threads)
        for layer in copied.modules():
            if isinstance(layer, PackedLayer):
                layer.threads = threads
        return copied

    def resident_bytes(self, network: nn.Module) -> int:
        """Bytes of the file's bits, of the words made of them, and of what stays in floats."""
        made = (m.made_bytes for m in network.modules() if isinstance(m, Prepared))
        return super().resident_bytes(network) + sum(made)


class PackedNetwork(nn.Module):
    """A binary network for inference on the CPU; `pack` makes it, `save` and `load` keep it."""

    runtime: Runtime = Packed()

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """What the binary network gives for a batch of finite numbers, to the last bit."""
        return cast(Tensor, self.body(x))


def pack(network: nn.Module, input_shape: tuple[int, ...]) -> PackedNetwork:
    """A copy of a binary network, for inference, that multiplies signs 64 at a time.

    Between binary layers signs stay packed where only ReLUs, batch norms, a pool and a flatten
    stand, each as a module: these become limits of sums. Elsewhere there are floats, as in layers
    that are not binary, or have real inputs. Raises LabError for a network without binary layers,
    one that cannot be traced, numbers that are not finite, and weights that are not float32.
    """
    network = nn.Sequential(network) if isinstance(network, BinaryLayer) else network
    _check(network)
    body = trace(copy.deepcopy(network).cpu().eval().requires_grad_(False), input_shape)
    calls = [node for node in body.graph.nodes if isinstance(called(body, node), BinaryLayer)]
    packed: dict[fx.Node, int] = {}  # calls that get words, and for how many positions
    for node in calls:
        _replace(body, node, packed)
    return PackedNetwork(_in_a_row(body) or _finished(body)).eval()


def _in_a_row(body: fx.GraphModule) -> nn.Sequential | None:
    """The layers of a graph as what it is if each reads the one before; they are called faster."""
    first, *calls, last = body.graph.nodes
    readers = zip([first, *calls], [*calls, last], strict=True)
    layers = [called(body, node) for node in calls]
    alone = [reader.args == (node,) and not reader.kwargs for node, reader in readers]
    if not all(alone) or None in layers:
        return None
    return nn.Sequential(*(m for m in layers if m and not isinstance(m, IDLE)))


def _finished(body: fx.GraphModule) -> fx.GraphModule:
    for node in body.graph.nodes:
        node.meta = {}
    body.delete_all_unused_submodules()
    body.recompile()
    return body


def _check(network: nn.Module) -> None:
    layers = binary_layers(network)
    if not layers:
        problem = f"no layer of this {type(network).__name__} is binary"
        raise LabError(problem, "binarize it first: binarize(network, scheme)")
    for name, layer in layers.items():
        if layer.weight.dtype != torch.float32:
            raise LabError(f"layer {name} has weights of {layer.weight.dtype}", "pack floats")
    for name, numbers in [*network.named_parameters(), *network.named_buffers()]:
        if not numbers.isfinite().all():  # signs would hide that a training has diverged
            raise LabError(f"{name} holds numbers that are not finite", "train the network again")


def _replace(body: fx.GraphModule, node: fx.Node, packed: dict[fx.Node, int]) -> None:
    """Let a packed layer do what the call of a binary one did, and what follows up to the next."""
    layer = cast(BinaryLayer, called(body, node))
    if layer.scheme.window is None:
        _put(body, node, RealInputs(layer))
    elif layer.scheme.scales_inputs:
        _put(body, node, Scaled(layer))
    else:
        if node not in packed:
            _insert_pack(body, node, layer)
        _put_packed(body, node, layer, packed)


def _put_packed(
    body: fx.GraphModule, node: fx.Node, layer: BinaryLayer, packed: dict[fx.Node, int]
) -> None:
    chain, positions = chain_from(body, node), packed.get(node, 1)
    if chain is None:
        _put(body, node, FloatsFromBits(layer, positions))
        return
    shape = shape_of(node)
    assert shape is not None
    made = BitsFromBits(layer, *limits(layer, chain, shape), chain.pool, positions)
    _put(body, node, made)
    _skip(body, node, chain)
    packed[chain.reader] = _positions(shape, chain)


def _positions(shape: tuple[int, ...], chain: Chain) -> int:
    """How many positions of maps a linear layer reads after a chain."""
    return math.prod(side // of for side, of in zip(shape[2:], chain.pool, strict=False))


def _put(body: fx.GraphModule, node: fx.Node, layer: nn.Module) -> None:
    """Let a call be that of another layer."""
    node.target = _add(body, layer)


def _add(body: fx.GraphModule, layer: nn.Module) -> str:
    """The name of a new layer; the old one's may be called elsewhere too."""
    name = f"packed_{sum(n.startswith('packed_') for n, _ in body.named_children())}"
    body.add_submodule(name, layer)
    return name


def _insert_pack(body: fx.GraphModule, node: fx.Node, layer: BinaryLayer) -> None:
    """Let a layer read words of what the first call of the chain before it reads."""
    before = chain_before(body, node)
    x = before[0].all_input_nodes[0] if before else node.all_input_nodes[0]
    modules, shape = [cast(nn.Module, called(body, of)) for of in before], shape_of(x)
    assert shape is not None
    found = limits_before(modules, shape) if before else ()
    name = _add(body, Pack(layer.name, layer.weight.shape[1], *found))
    with body.graph.inserting_before(node):
        node.replace_input_with(node.all_input_nodes[0], body.graph.call_module(name, (x,)))
    for of in reversed(before):
        body.graph.erase_node(of)


def _skip(body: fx.GraphModule, node: fx.Node, chain: Chain) -> None:
    """Let the reader of a chain read what its first call gives."""
    if chain.nodes:
        chain.reader.replace_input_with(chain.nodes[-1], node)
    for between in reversed(chain.nodes):
        body.graph.erase_node(between)
