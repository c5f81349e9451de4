"""Quantized networks for onnxruntime, which multiplies their whole numbers as such."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.core.files import atomic_write
from labsupport.methods.quantization.grids import Grid
from labsupport.methods.quantization.layers import QuantizedLayer
from labsupport.network.calls import example
from labsupport.network.modes import evaluating
from labsupport.network.parametrized import make_plain
from labsupport.network.replacing import replaced
from labsupport.runtimes.onnx import OnnxNetwork, export_onnx, quiet, statements

MULTIPLYING = ["Conv", "Gemm", "MatMul"]  # the operators that layers become
INPUT_BITS = 8
LARGEST_ERROR = 0.05  # of the logits' norm: a number near a border may be rounded otherwise

Overrides = dict[str, list[dict[str, Any]]]


def export_int8(network: nn.Module, input_shape: tuple[int, ...], path: Path) -> Path:
    """Write a quantized network as one ONNX file that multiplies whole numbers of 8 bits.

    The file's grids are the network's own, its biases 32 bits; what lies between layers are
    floats, which onnxruntime fuses away where it can. What was written is run and compared. Raises
    LabError for a network without quantized layers, inputs of other than 8 bits, and a file that
    answers otherwise: without VNNI products of two times 8 bits overflow, of 7 times 8 they do not.
    """
    path, network = Path(path), copy.deepcopy(network).cpu().eval()
    layers = dict(_quantized(network))
    with tempfile.TemporaryDirectory() as folder, quiet():
        plain = export_onnx(_plain(network, layers), input_shape, Path(folder) / "plain.onnx")
        model = _with_integers(plain, layers, example(network, input_shape))
    onnx.helper.set_model_props(model, statements(network, input_shape))
    with atomic_write(path) as temporary:
        onnx.save(model, temporary)
        _check(network, OnnxNetwork(temporary), input_shape)
    return path


def beside_float(
    network: nn.Module, quantized: nn.Module, input_shape: tuple[int, ...], folder: Path
) -> dict[str, OnnxNetwork]:
    """A network in floats and in 8 bits, both in onnxruntime: `float32` and `int8`, for the clock.

    Their files lie in the folder. Raises LabError as `export_onnx` and `export_int8` do.
    """
    plain = export_onnx(network, input_shape, Path(folder) / "float32.onnx")
    integers = export_int8(quantized, input_shape, Path(folder) / "int8.onnx")
    return {"float32": OnnxNetwork(plain), "int8": OnnxNetwork(integers)}


def _quantized(network: nn.Module) -> Iterator[tuple[str, QuantizedLayer]]:
    """Quantized layers by name. Raises LabError where there are none, or some of other grids."""
    layers = {n: m for n, m in network.named_modules() if isinstance(m, QuantizedLayer)}
    if not layers:
        problem = f"no layer of this {type(network).__name__} is quantized"
        raise LabError(problem, "quantize them first: quantize(network, split, 7, 8)")
    for name, layer in layers.items():
        if layer.inputs.bits != INPUT_BITS:
            problem = f"layer {name} takes inputs of {layer.inputs.bits} bits"
            raise LabError(problem, f"quantize it with inputs of {INPUT_BITS} bits")
        if not isinstance(layer.weight_grid, Grid):
            problem = f"layer {name} computes its weights by a {type(layer.weight_grid).__name__}"
            raise LabError(problem, "export a network as `quantize` gives it, without integers")
        yield name, layer


def _plain(network: nn.Module, layers: Mapping[str, QuantizedLayer]) -> nn.Module:
    """The network with plain layers that have the rounded weights."""
    plain = copy.deepcopy(network)
    made: dict[nn.Module, nn.Module] = {}
    for name in layers:
        quantized = cast(QuantizedLayer, plain.get_submodule(name))
        make_plain(quantized.layer, "weight", nn.Parameter(quantized.weight.detach()))
        made[quantized] = quantized.layer
    return replaced(plain, made)


def _with_integers(path: Path, layers: Mapping[str, QuantizedLayer], x: Tensor) -> onnx.ModelProto:
    """The ONNX network of a file with whole numbers in place of the layers' floats."""
    from onnxruntime.quantization import QuantType, quantize_static  # takes seconds

    model, target = onnx.load(path), path.with_name("integers.onnx")
    quantize_static(
        path,
        target,
        _Once({model.graph.input[0].name: x.numpy()}),
        op_types_to_quantize=MULTIPLYING,
        nodes_to_quantize=_names_of(model, layers),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={
            "TensorQuantOverrides": _overrides(model, layers),
            "OpTypesToExcludeOutputQuantization": MULTIPLYING,
        },
    )
    return onnx.load(target)


class _Once:
    """One batch to calibrate by, as onnxruntime asks for it; the grids are there already."""

    def __init__(self, batch: Mapping[str, Any]) -> None:
        self.batches = iter([batch])

    def get_next(self) -> Mapping[str, Any] | None:
        return next(self.batches, None)


def _names_of(model: onnx.ModelProto, layers: Mapping[str, QuantizedLayer]) -> list[str]:
    """The nodes of the quantized layers; others stay in floats."""
    weights = {f"{name}.weight".lstrip(".") for name in layers}
    of_kind = (node for node in model.graph.node if node.op_type in MULTIPLYING)
    return [node.name for node in of_kind if node.input[1] in weights]


def _overrides(model: onnx.ModelProto, layers: Mapping[str, QuantizedLayer]) -> Overrides:
    """The grids of what enters layers and of their weights, by the names that ONNX has for them."""
    readers = {node.input[1]: node for node in model.graph.node if node.op_type in MULTIPLYING}
    found: Overrides = {}
    for name, layer in layers.items():
        weight = f"{name}.weight".lstrip(".")
        if weight not in readers:
            raise LabError(f"layer {name} is no layer in ONNX", "keep it in floats")
        read = [_scale(layer.inputs.step, layer.inputs.zero)]
        if found.setdefault(readers[weight].input[0], read) != read:
            problem = f"layer {name} reads a map that another one reads on another grid"
            raise LabError(problem, "let both have one: other.inputs = layer.inputs")
        found[weight] = [
            {"axis": 0} | _scale(step) for step in cast(Grid, layer.weight_grid).step.flatten()
        ]
    return found


def _scale(step: Tensor, zero: Tensor | int = 0) -> dict[str, Any]:
    return {"scale": step.detach().numpy(), "zero_point": np.array(int(zero), np.uint8)}


def _check(network: nn.Module, exported: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Raises LabError unless both say nearly the same of some images."""
    x = torch.randn(16, *input_shape, generator=torch.Generator().manual_seed(0))
    with evaluating(network), torch.no_grad():
        logits = network(x)
        error = (exported(x) - logits).norm() / logits.norm()
    if not error < LARGEST_ERROR:
        problem = f"{type(network).__name__} answers otherwise as whole numbers, by {error:.0%}"
        raise LabError(problem, "give its weights 7 bits, so that products do not overflow")
