"""What an MLP's training step costs beyond its matrix products, and what bfloat16 saves of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain

import pandas as pd
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.data import Split, Splits
from labsupport.measure.clocking import Clocking
from labsupport.measure.latency import clock_calls
from labsupport.measure.overhead import whole_batches
from labsupport.measure.roofline import layer_calls
from labsupport.training import (
    CrossEntropy,
    InBfloat16,
    Objective,
    Recipe,
    multiplies_bfloat16,
    train_epoch,
)
from labsupport.training.optimizers import one_group

STEPS = "our training steps"
PRODUCTS = "their matrix products"
BFLOAT16 = "our steps in bfloat16"
RATIOS = {PRODUCTS: "gemm_ratio", BFLOAT16: "bf16_speedup"}
COLUMNS = ["ratio", "batch", "value_clocked", "low_clocked", "high_clocked"]
MANY_STEPS = 10**7  # of a schedule, long enough for any number of clocked epochs


def step_ratios(
    model: nn.Module,
    splits: Splits,
    recipe: Recipe,
    batch_sizes: Iterable[int],
    *,
    images: int = 2560,
    rounds: int = 7,
    threads: int = 1,
) -> pd.DataFrame:
    """How many times as long as their products, and as in bfloat16, steps of several batches take.

    Columns: ratio ("gemm_ratio", "bf16_speedup"), batch, and value, low and high, each _clocked.
    """
    rows = []
    for size in batch_sizes:
        sized = replace(recipe, batch_size=size)
        clocking = clock_steps(model, splits, sized, images=images, rounds=rounds, threads=threads)
        ratios = {
            RATIOS[name]: clocking.ratio(STEPS, name) for name in clocking.turns if name in RATIOS
        }
        rows += [(name, size, r.value, r.low, r.high) for name, r in ratios.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def clock_steps(
    model: nn.Module,
    splits: Splits,
    recipe: Recipe,
    *,
    images: int = 2560,
    rounds: int = 7,
    threads: int = 1,
) -> Clocking:
    """Clock an MLP's steps on whole batches, as `fit` does them, against their matrix products.

    Beside them the same steps in bfloat16, where the processor multiplies it. Copies of `model` are
    trained. Raises LabError for fewer images than a batch and for a model without linear layers.
    """
    images = whole_batches(splits, recipe.batch_size, images)
    train, full = splits.train.take(images), CrossEntropy(recipe.label_smoothing)
    products = matrix_products(model, train.x[: recipe.batch_size])
    calls: dict[str, Callable[[], object]] = {
        STEPS: training_steps(copy.deepcopy(model), train, recipe, full),
        PRODUCTS: lambda: [products() for _ in range(images // recipe.batch_size)],
    }
    if multiplies_bfloat16(splits.device):
        calls[BFLOAT16] = training_steps(copy.deepcopy(model), train, recipe, InBfloat16(full))
    return clock_calls(
        calls,
        batch=images,
        rounds=rounds,
        repeats=1,
        warmup=1,  # an epoch warms itself up
        threads=threads,
        device=splits.device,
    )


def training_steps(
    model: nn.Module, train: Split, recipe: Recipe, objective: Objective
) -> Callable[[], object]:
    """An epoch over `train` that trains `model`, as `fit` does but without validation.

    The model itself is trained, in the recipe's layout.
    """
    model.to(memory_format=recipe.memory_format)
    optimizer = recipe.optimizer(one_group(model), recipe.lr, recipe.weight_decay)
    scheduler = recipe.schedule(optimizer, MANY_STEPS)
    generator = torch.Generator().manual_seed(0)

    def epoch() -> None:
        drawn = train.training_batches(recipe.batch_size, generator)
        batches = (recipe.prepare(batch, generator) for batch in drawn)
        train_epoch(model, batches, optimizer, scheduler, objective)

    return epoch


def matrix_products(model: nn.Module, x: Tensor) -> Callable[[], None]:
    """The matrix products of one training step of an MLP on the batch x, and nothing else.

    Of each linear layer the output, the gradient of the weights and that of the input, which the
    first layer does not need; all into memory reserved beforehand. Raises LabError for a model
    without linear layers.
    """
    layers = [
        (call.x, call.layer.weight.detach())
        for call in layer_calls(model, x).values()
        if isinstance(call.layer, nn.Linear)
    ]
    if not layers:
        raise LabError(f"a {type(model).__name__} without linear layers", "give an MLP")
    forward = [(inputs, weight.T) for inputs, weight in layers]
    outputs = [inputs @ weight for inputs, weight in forward]  # as large as their gradients
    backward = [
        ((gradient.T, inputs), (gradient, weight))
        for (inputs, weight), gradient in reversed([*zip(layers, outputs, strict=True)])
    ]
    factors = [*forward, *chain.from_iterable(backward)][:-1]
    products = [(left, right, left @ right) for left, right in factors]

    def call() -> None:
        for left, right, out in products:
            torch.mm(left, right, out=out)

    return call
