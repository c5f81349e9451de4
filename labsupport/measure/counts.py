"""What a network holds and computes, counted three ways: by closed form, by thop, by torch."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from labsupport.core.errors import LabError
from labsupport.network.calls import example, hooked, is_leaf, run
from labsupport.network.modes import evaluating

NUMBERS = ["parameters", "macs", "bias_adds", "activations"]
COLUMNS = ["name", "kind", "output_shape", *NUMBERS]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class Counts:
    """What one network costs for one example; every figure repeats exactly.

    `bias_adds` are additions of biases, which no MAC includes; `activations` the output elements
    of all layers.
    """

    parameters: int
    macs: int
    bias_adds: int
    activations: int
    parameters_thop: int
    macs_thop: int
    macs_torch: int


@singledispatch
def layer_macs(layer: nn.Module, output: Tensor) -> int:
    """MACs of one call of `layer` that gave `output`; zero for what does not multiply weights.

    A method with a layer of its own registers its closed form: `@layer_macs.register(MyLayer)`.
    """
    return 0


@layer_macs.register(nn.Linear)
def _(layer: nn.Linear, output: Tensor) -> int:
    return output.numel() * layer.in_features


@layer_macs.register(nn.Conv1d)
@layer_macs.register(nn.Conv2d)
def _(layer: nn.Conv1d | nn.Conv2d, output: Tensor) -> int:
    # The weight is (filters, channels / groups, *kernel); each output element uses one filter.
    return output.numel() * layer.weight[0].numel()


def layers(model: nn.Module, input_shape: tuple[int, ...]) -> pd.DataFrame:
    """A row per layer call, in order, for one example of `input_shape` (no batch dimension).

    Columns: name, kind, output_shape, parameters, macs, bias_adds, activations. A layer that is
    called twice has two rows: its MACs count twice, its parameters once. Parameters that no call
    uses have a row without shape. The model is left as it was. Raises LabError when the input
    does not fit the model.
    """
    rows: list[dict[str, object]] = []
    seen: set[int] = set()

    def record(name: str, layer: nn.Module, _input: Tensor, output: Tensor) -> None:
        row = {"name": name, "kind": type(layer).__name__, "parameters": _unseen(layer, seen)}
        rows.append(row | _call_row(layer, output))

    with hooked(model, record), evaluating(model), torch.inference_mode():
        run(model, example(model, input_shape))
    return pd.DataFrame(rows + _uncalled_rows(model, seen), columns=COLUMNS)


def _call_row(layer: nn.Module, output: Tensor) -> dict[str, object]:
    macs = layer_macs(layer, output)
    has_bias = macs > 0 and getattr(layer, "bias", None) is not None
    return {
        "output_shape": "x".join(map(str, output.shape[1:])),
        "macs": macs,
        "bias_adds": output.numel() if has_bias else 0,
        "activations": output.numel(),
    }


def _uncalled_rows(model: nn.Module, seen: set[int]) -> list[dict[str, object]]:
    """Rows for parameters outside called layers: a container's own, or those of unused layers."""
    blank = {"output_shape": "", "macs": 0, "bias_adds": 0, "activations": 0}
    return [
        {"name": name, "kind": type(module).__name__, "parameters": parameters} | blank
        for name, module in model.named_modules()
        if (parameters := _unseen(module, seen))
    ]


def _unseen(module: nn.Module, seen: set[int]) -> int:
    """Elements of the module's own parameters that are not in `seen`, where they are added."""
    new = [p for p in module.parameters(recurse=False) if id(p) not in seen]
    seen.update(map(id, new))
    return sum(p.numel() for p in new)


def cross_checked(model: nn.Module, input_shape: tuple[int, ...]) -> Counts:
    """Totals for one example of `input_shape`, equal by closed form, by thop and by torch.

    Raises LabError that names the figures when they differ.
    """
    ours = {name: int(total) for name, total in layers(model, input_shape)[NUMBERS].sum().items()}
    macs_thop, parameters_thop = thop_totals(model, input_shape)
    macs_torch = torch_macs(model, input_shape)
    _agree("MACs", closed_form=ours["macs"], thop=macs_thop, torch=macs_torch)
    _agree("parameters", ours=ours["parameters"], thop=parameters_thop)
    return Counts(
        parameters=ours["parameters"],
        macs=ours["macs"],
        bias_adds=ours["bias_adds"],
        activations=ours["activations"],
        parameters_thop=parameters_thop,
        macs_thop=macs_thop,
        macs_torch=macs_torch,
    )


def _agree(what: str, **counted: int) -> None:
    if len(set(counted.values())) > 1:
        figures = ", ".join(f"{number:,} by {way}" for way, number in counted.items())
        raise LabError(
            f"{what} differ: {figures.replace('_', ' ')}",
            "look at `layers`: a kind of layer without a closed form, a product outside a layer, "
            "or weights that two layers share",
        )


def thop_totals(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """(MACs, parameters) by thop, with normalization and pooling at zero MACs.

    Counted on a copy, since thop leaves attributes on what it profiles, and inside a container,
    since it forgets the parameters of the outermost module.
    """
    with warnings.catch_warnings():
        # Imported late: it needs distutils, which warns on 3.11 and is setuptools' from 3.12 on.
        warnings.simplefilter("ignore", DeprecationWarning)
        import thop
        from thop.vision import basic_hooks

    def rule(kind: type[nn.Module]) -> Any:  # noqa: ANN401  (thop is untyped)
        if issubclass(kind, nn.Linear):
            return basic_hooks.count_linear
        return basic_hooks.count_convNd if issubclass(kind, CONVOLUTIONS) else basic_hooks.zero_ops

    wrapped = nn.Sequential(copy.deepcopy(model))
    rules = {type(module): rule(type(module)) for module in wrapped.modules() if is_leaf(module)}
    x = example(model, input_shape)
    macs, parameters = thop.profile(wrapped, inputs=(x,), custom_ops=rules, verbose=False)
    return int(macs), int(parameters)


def torch_macs(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """MACs by torch's own counter, which prints two operations for each."""
    counter = FlopCounterMode(display=False)
    with evaluating(model), torch.inference_mode(), counter:
        run(model, example(model, input_shape))
    return int(counter.get_total_flops()) // 2
