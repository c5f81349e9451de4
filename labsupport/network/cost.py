"""What one forward pass of a network costs, by kind of operation.

Torch's operators are counted as they run, in whatever module they stand; `Cost` says what counts as
what. An operator that is in no table is an error that names it, never a silent zero.
"""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.network.calls import example, is_leaf, kind_of
from labsupport.network.counting import HasCost, ModuleCall, count_calls
from labsupport.network.operators import Cost
from labsupport.network.weights import HasWeights, parameter_count

__all__ = [
    "Cost",
    "HasCost",
    "batch_cost",
    "cost",
    "layer_costs",
    "mean_cost",
    "parameter_count",
    "predict_with_cost",
]

KINDS = ["macs", "int8_macs", "binary_ops", "additions", "lookups"]
COLUMNS = ["name", "kind", "output_shape", "parameters", *KINDS, "activations"]


def cost(model: nn.Module, input_shape: tuple[int, ...]) -> Cost:
    """The cost of one example of `input_shape` (no batch dimension), in eval mode.

    Raises LabError for a network whose work depends on the values that it sees, for an operator
    of unknown cost, and for an input that does not fit.
    """
    return batch_cost(model, _static_example(model, input_shape))


def mean_cost(model: nn.Module, split: Batched, batch_size: int = 1000) -> Cost:
    """The mean cost of an image of a split, in eval mode, by counting all of them.

    Work that a network does once per batch is shared by the images of the batch. Raises LabError
    for no images, and as `cost` does, but for networks whose work depends on the images.
    """
    return predict_with_cost(model, split, batch_size)[1]


def predict_with_cost(
    model: nn.Module, split: Batched, batch_size: int = 1000
) -> tuple[Tensor, Cost]:
    """Logits of shape (N, classes) and the mean cost of an image, from one pass over a split."""
    if not len(split):
        raise LabError("there are no images to count over", "give at least one")
    passes = [_pass(model, x) for x, _ in split.batches(batch_size)]
    total = sum((cost for _, cost in passes), Cost())
    return torch.cat([logits for logits, _ in passes]), total / len(split)


def batch_cost(model: nn.Module, x: Tensor) -> Cost:
    """The cost of one batch as a whole, in eval mode."""
    return _pass(model, x)[1]


def layer_costs(model: nn.Module, input_shape: tuple[int, ...]) -> pd.DataFrame:
    """A row per call of a layer, in order, for one example of `input_shape`; sums equal `cost`.

    Columns: name, kind, output_shape, parameters, macs (of floats), the other kinds of `Cost`, and
    activations: elements that products, convolutions, look-ups and pooling write. Element-wise
    functions, normalization, sums of two maps and reshapes change a map where it lies and count
    none, so a ReLU does not matter, be it a module or a function. What computes a layer's weights,
    as masks do, is part of the layer. A layer that is called twice has two rows: its MACs count
    twice, its parameters once. What a module computes outside its layers is a row of the module.
    Parameters that no call uses have a row without shape. Raises LabError as `cost` does.
    """
    rows: list[dict[str, object]] = []
    seen: set[int] = set()

    def record(call: ModuleCall) -> None:
        if _is_layer(call.module) or call.cost != Cost() or call.written:
            rows.append(_row(call) | {"parameters": _unseen(call.module, seen)})

    count_calls(model, _static_example(model, input_shape), record)
    return pd.DataFrame(rows + _uncalled_rows(model, seen), columns=COLUMNS)


def _pass(model: nn.Module, x: Tensor) -> tuple[Tensor, Cost]:
    costs: list[Cost] = []
    logits = count_calls(model, x, lambda call: costs.append(call.cost))
    return logits, sum(costs, Cost())


def _static_example(model: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    for name, module in model.named_modules():
        if getattr(module, "conditional", False):
            problem = f"what {name or 'a ' + type(module).__name__} costs depends on the image"
            raise LabError(problem, "give images: mean_cost(model, split)")
    return example(model, input_shape)


def _is_layer(module: nn.Module) -> bool:
    return is_leaf(module) or isinstance(module, HasCost)


def _row(call: ModuleCall) -> dict[str, object]:
    outputs = [value for value in tree_leaves(call.output) if isinstance(value, Tensor)]
    kinds = dict(zip(KINDS, asdict(call.cost).values(), strict=True))
    return {
        "name": call.name,
        "kind": kind_of(call.module),
        "output_shape": ", ".join("x".join(map(str, output.shape[1:])) for output in outputs),
        **kinds,
        "activations": call.written,
    }


def _uncalled_rows(model: nn.Module, seen: set[int]) -> list[dict[str, object]]:
    """Rows for parameters outside called layers: a container's, or those of unused layers."""
    blank = dict.fromkeys([*KINDS, "activations"], 0)
    return [
        {"name": name or kind_of(module), "kind": kind_of(module)}
        | {"output_shape": "", "parameters": parameters}
        | blank
        for name, module in model.named_modules()
        if (parameters := _unseen(module, seen))
    ]


def _unseen(module: nn.Module, seen: set[int]) -> int:
    """The module's own weights that are not in `seen`, where they are added."""
    if isinstance(module, HasWeights):
        found = 0 if id(module) in seen else module.weight_count
        seen.update(map(id, (module, *module.parameters())))
        return found
    # Inside a leaf are at most the modules that compute its weights.
    new = [p for p in module.parameters(recurse=is_leaf(module)) if id(p) not in seen]
    seen.update(map(id, new))
    return sum(p.numel() for p in new)
