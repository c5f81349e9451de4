"""What onnxruntime computes with whole numbers is what the quantized network answers."""

import copy

import onnx
import pytest
import torch
from made_methods import toy_splits
from made_nets import Residual
from made_rules import toy_images, toy_network
from onnxruntime import InferenceSession
from torch import nn

from labsupport.core.errors import LabError
from labsupport.core.randomness import seeded
from labsupport.data import Split
from labsupport.measure.checks import check_network
from labsupport.methods.pruning import magnitude, without_masks
from labsupport.methods.quantization import quantize, with_integers
from labsupport.methods.quantization.grids import affine, symmetric
from labsupport.methods.quantization.layers import QuantizedLayer
from labsupport.network.cost import cost
from labsupport.network.fingerprint import fingerprint
from labsupport.network.weights import weights_of
from labsupport.runtimes.int8 import beside_float, export_int8
from labsupport.runtimes.onnx import OnnxNetwork
from labsupport.training import Recipe, fit, predict

IMAGE = (1, 8, 8)
LONGER = Recipe(epochs=12, batch_size=8, lr=5e-3)


def normalized():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 2, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(),
        nn.Linear(80, 3),
    )  # fmt: skip


MADE = {"plain": toy_network, "normalized": normalized, "residual": Residual}


@pytest.fixture(scope="module")
def splits():
    return toy_splits()


@pytest.fixture(scope="module")
def quantized(splits):
    with seeded(0):
        trained = {name: fit(make(), splits, LONGER).model for name, make in MADE.items()}
    return {name: quantize(network, splits.train, 7, 8) for name, network in trained.items()}


@pytest.mark.parametrize("name", MADE)
def test_both_answer_alike(quantized, name, tmp_path):
    network, many = quantized[name], toy_images(2000, seed=9)
    before = fingerprint(network)
    exported = OnnxNetwork(export_int8(network, IMAGE, tmp_path / "net.onnx"))
    assert fingerprint(network) == before
    one, other = predict(exported, many), predict(network, many)
    assert (one.argmax(1) == other.argmax(1)).double().mean() >= 0.995
    assert (one - other).norm() < 0.02 * other.norm()


def test_both_stand_side_by_side_for_the_clock(quantized, splits, tmp_path):
    with seeded(0):
        network = toy_network()
    both = beside_float(network, quantize(network, splits.train, 7, 8), IMAGE, tmp_path)
    x = splits.test.x
    assert [*both] == ["float32", "int8"]
    torch.testing.assert_close(both["float32"](x), network.eval()(x), atol=1e-4, rtol=1e-4)
    assert both["int8"].weight_bits < 8 < both["float32"].weight_bits


def test_a_single_layer_is_equal(tmp_path):
    with seeded(0):
        layer, x = nn.Linear(12, 5), torch.randn(64, 12)
    network = QuantizedLayer(copy.deepcopy(layer), affine(x, 8), symmetric(layer.weight, 7))
    exported = OnnxNetwork(export_int8(network, (12,), tmp_path / "layer.onnx"))
    inputs, weights = network.inputs, symmetric(layer.weight, 7)
    sums = (inputs.codes(x).long() - inputs.zero.long()) @ weights.codes(layer.weight).long().T
    scale = inputs.step * weights.step.flatten()
    whole = (sums + (layer.bias / scale).round()) * scale  # biases of 32 bits
    torch.testing.assert_close(exported(x), whole.detach(), rtol=1e-5, atol=1e-6)


def test_the_file_multiplies_integers_and_says_what_they_cost(quantized, tmp_path):
    network = quantized["plain"]
    path = export_int8(network, IMAGE, tmp_path / "net.onnx")
    exported = OnnxNetwork(path)
    assert cost(exported, IMAGE) == cost(network, IMAGE)
    assert weights_of(exported) == weights_of(network)
    onnx.checker.check_model(str(path), full_check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    optimized = optimized_operators(path, tmp_path / "optimized.onnx")
    assert "QLinearConv" in optimized
    assert not {"Conv", "Gemm", "MatMul"} & optimized


def optimized_operators(path, target):
    """The operators that onnxruntime really runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return {node.op_type for node in onnx.load(target).graph.node}


def test_it_is_a_network_as_any_other(quantized, splits, tmp_path):
    path = export_int8(quantized["plain"], IMAGE, tmp_path / "net.onnx")
    check_network(OnnxNetwork(path), splits)


def test_networks_of_other_grids_are_refused(quantized, splits, tmp_path):
    network = toy_network().eval()
    path = tmp_path / "net.onnx"
    with pytest.raises(LabError, match="no layer of this Sequential is quantized"):
        export_int8(network, IMAGE, path)
    with pytest.raises(LabError, match="layer 0 takes inputs of 4 bits"):
        export_int8(quantize(network, splits.train, 4), IMAGE, path)
    with pytest.raises(LabError, match="layer 0 computes its weights by a Codes"):
        export_int8(with_integers(quantized["plain"]), IMAGE, path)
    assert not path.exists()


def test_exporting_says_nothing(quantized, tmp_path, capfd):
    export_int8(quantized["plain"], IMAGE, tmp_path / "net.onnx")
    assert capfd.readouterr() == ("", "")


def test_layers_that_are_not_quantized_stay_in_floats(splits, tmp_path):
    with seeded(0):
        trained = fit(toy_network(), splits, LONGER).model
    name = [n for n, m in trained.named_modules() if isinstance(m, nn.Linear)][-1]
    network = quantize(trained, splits.train, {name: 7}, {name: 8})
    path = export_int8(network, IMAGE, tmp_path / "net.onnx")
    many = toy_images(500, seed=9)
    alike = predict(OnnxNetwork(path), many).argmax(1) == predict(network, many).argmax(1)
    assert alike.double().mean() > 0.99


class TwoReaders(nn.Module):
    """Two convolutions that read one map."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return (self.first(x) + self.second(x)).flatten(1)


def test_layers_that_read_one_map_have_one_grid_or_are_refused(tmp_path):
    with seeded(0):
        network, x = TwoReaders(), torch.randn(400, 1, 20, 20) ** 3  # values are drawn: so many
    split = Split(x, torch.zeros(len(x), dtype=torch.long))
    quantized = quantize(network, split, 7, 8)
    assert quantized.first.inputs.step == quantized.second.inputs.step
    exported = OnnxNetwork(export_int8(quantized, (1, 20, 20), tmp_path / "two.onnx"))
    one, other = predict(exported, split), predict(quantized, split)
    assert (one - other).norm() < 0.01 * other.norm()
    with torch.no_grad():
        quantized.second.inputs.log_step += 0.1
    with pytest.raises(LabError, match="on another grid"):
        export_int8(quantized, (1, 20, 20), tmp_path / "two.onnx")


def test_weights_that_something_changes_above_their_grid_are_refused(quantized, tmp_path):
    pruned = magnitude(quantized["plain"], 0.5)
    with pytest.raises(LabError, match="changes weights after they were quantized"):
        with_integers(pruned)
    with pytest.raises(LabError, match="computes its weights by a"):
        export_int8(pruned, IMAGE, tmp_path / "net.onnx")
    plain = without_masks(pruned)
    with pytest.raises(LabError, match="quantize"):
        with_integers(plain)
