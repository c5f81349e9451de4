"""Layers whose inputs and weights lie on grids, and a network of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError
from labsupport.data import Batched, Splits
from labsupport.methods.quantization.calibration import input_values
from labsupport.methods.quantization.folding import fold_batch_norm
from labsupport.methods.quantization.grids import Grid, affine, check_bits, narrowed, symmetric
from labsupport.network.cost import Cost
from labsupport.network.replacing import replaced
from labsupport.network.weights import Weights, few_bit_weights, weighted_layers
from labsupport.training import Recipe, fit
from labsupport.training.step_groups import StepGroups

STEP_RATE = 0.1  # the rate at which steps learn, of that of the weights

Bits = int | Mapping[str, int]
GridOf = Callable[[Tensor, int], Grid]


class QuantizedLayer(nn.Module):
    """A linear layer or convolution that takes inputs and weights from grids.

    It computes in floats what integers would give, and learns further: the floats that weights are
    rounded from, the bias, and both grids' steps.
    """

    def __init__(self, layer: nn.Module, inputs: Grid, weights: Grid) -> None:
        super().__init__()
        self.layer, self.inputs = layer, inputs
        self._weight_bits = weights.bits
        for grid in (inputs, weights):  # what was frozen stays so
            grid.requires_grad_(any(p.requires_grad for p in layer.parameters()))
        parametrize.register_parametrization(layer, "weight", weights)

    def forward(self, x: Tensor) -> Tensor:
        """What the layer takes to what it gives."""
        out: Tensor = self.layer(self.inputs(x))
        return out

    @property
    def weight(self) -> Tensor:
        """The weights that it multiplies, values of their grid."""
        return cast(Tensor, self.layer.weight)

    @property
    def bias(self) -> Tensor | None:
        """The layer's, in floats."""
        return cast(Tensor | None, self.layer.bias)

    @property
    def weight_grid(self) -> nn.Module:
        """What the weights are computed by, a `Grid` until `with_integers` replaces it.

        Raises LabError where they have become plain ones.
        """
        if not parametrize.is_parametrized(self.layer, "weight"):
            raise LabError("a quantized layer has lost its weights' grid", "quantize it again")
        return cast(nn.ModuleList, self.layer.get_submodule("parametrizations.weight"))[-1]

    @property
    def weight_count(self) -> int:
        """Weights and biases; steps are not counted."""
        return self._weights.count

    @property
    def weight_bits(self) -> float:
        """Mean bits of weights and biases."""
        return self._weights.bits

    @property
    def _weights(self) -> Weights:
        return few_bit_weights(self.weight.numel(), self._weight_bits, [self.bias])

    @property
    def activation_bits(self) -> float:
        """Bits of what the weights multiply."""
        return float(self.inputs.bits)

    def forward_cost(self, _x: Tensor, output: Tensor) -> Cost:
        """A MAC of integers for each weight that an element of the output sees."""
        additions = 0 if self.bias is None else output.numel()
        return Cost(int8_macs=output.numel() * self.weight[0].numel(), additions=additions)


def quantize(
    network: nn.Module, split: Batched, bits: Bits = 8, activation_bits: Bits | None = None
) -> nn.Module:
    """A copy whose linear layers and convolutions take weights and inputs of few bits.

    Batch norms that follow one are folded into it first. Weights have a step for each output
    channel, inputs one for each layer, fitted to what images of the split, a few hundred of the
    training part, give there. `bits`, 2 to 8, are for all layers or by name for some, and for
    inputs too unless `activation_bits` says otherwise. No training. Raises LabError for other
    bits, bits for inputs alone, no such layer, one that is quantized already, that no image
    reaches, that is empty, or where weights or inputs are not finite.
    """
    quantized = fold_batch_norm(network, split.image_shape)
    widths = _widths(quantized, bits, activation_bits)
    layers = {name: layer for name, (layer, *_) in widths.items()}
    _check(quantized, layers)
    values = input_values(quantized, layers, split)
    made: dict[nn.Module, nn.Module] = {}
    for name, (layer, width, inner) in widths.items():
        inputs = _grid(affine, values[name], inner)
        made[layer] = QuantizedLayer(layer, inputs, _grid(symmetric, _weight(layer), width))
    return replaced(quantized, made)


def quantize_aware(
    network: nn.Module, splits: Splits[Any], recipe: Recipe, bits: Bits, seed: int = 0
) -> nn.Module:
    """A copy quantized as by `quantize`, then trained so.

    Rounding is passed straight through, and steps learn at a tenth of the recipe's rate without
    weight decay. The best epoch on validation images is kept. Raises LabError as `quantize` does.
    """
    rounded = quantize(network, splits.train, bits)
    return fit(rounded, splits, recipe, seed, groups=StepGroups(recipe.lr * STEP_RATE)).model


Widths = dict[str, tuple[nn.Module, int, int]]  # layer, bits of its weights and of its inputs


def _widths(network: nn.Module, bits: Bits, activation_bits: Bits | None) -> Widths:
    """By name, layers with the bits of their weights and inputs. Raises LabError for other bits."""
    given = {} if activation_bits is None else activation_bits
    of_inputs = {name: width for name, _, width in weighted_layers(network, given)}
    widths = {
        name: (layer, width, of_inputs.get(name, width))
        for name, layer, width in weighted_layers(network, bits)
    }
    for name, (_, *both) in widths.items():
        for width in both:
            check_bits(width, f"layer {name}")
    idle = [name for name in of_inputs if name not in widths]
    if idle and isinstance(activation_bits, Mapping):
        problem = f"layer {idle[0]} has bits for its inputs, but none for its weights"
        raise LabError(problem, "give it both, or neither")
    return widths


def _check(network: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Raises LabError for a layer that no grid fits, or that has some."""
    if any(isinstance(module, QuantizedLayer) for module in network.modules()):
        problem = f"this {type(network).__name__} is quantized already"
        raise LabError(problem, "quantize the network that it was made from")
    for name, layer in layers.items():
        weight = _weight(layer)
        if not weight.numel() or not weight.isfinite().all():
            problem = f"layer {name} has no weights, or some that are not finite"
            raise LabError(problem, "look at how it was made")


def _weight(layer: nn.Module) -> Tensor:
    return cast(Tensor, layer.weight).detach()


def _grid(grid_of: GridOf, values: Tensor, bits: int) -> Grid:
    return narrowed(grid_of(values, bits), values)
