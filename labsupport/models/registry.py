"""Networks by name: `ModelSpec` says all that determines an untrained network.

A name is one of NAMES or `package.module:function`, for a network of one's own or of a library.
Such a function is called with the knobs and with those of `input_shape` and `classes` that its
signature has; it gets the classes as `num_classes` where it has that name for them, or takes any
(`**kwargs`) as torchvision's do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from torch import nn

from labsupport.core.errors import LabError, summarize
from labsupport.core.names import look_up
from labsupport.models.airbench import airbench
from labsupport.models.cnn import alexnet, lenet5, pooled_cnn, pruning_cnn, rules_cnn
from labsupport.models.compact import compact, compact_cifar, compact_mnist
from labsupport.models.mlp import lenet_300_100, mlp
from labsupport.models.residual import resnet18
from labsupport.models.tensornet import tensornet

Knob = int | float | str
Builder = Callable[..., nn.Module]
BUILDERS: dict[str, Builder] = {
    "mlp": mlp,
    "lenet_300_100": lenet_300_100,
    "lenet5": lenet5,
    "rules_cnn": rules_cnn,
    "pruning_cnn": pruning_cnn,
    "pooled_cnn": pooled_cnn,
    "alexnet": alexnet,
    "resnet18": resnet18,
    "compact": compact,
    "compact_mnist": compact_mnist,
    "compact_cifar": compact_cifar,
    "airbench": airbench,
    "tensornet": tensornet,
}
NAMES = tuple(BUILDERS)
FILLED = ("input_shape", "classes", "num_classes")  # what is not a knob
SMALLEST_SIDE = {
    "lenet5": 16,
    "rules_cnn": 6,
    "pooled_cnn": 4,
    "alexnet": 8,
    "airbench": 9,
    "tensornet": 4,
}


@dataclass(frozen=True)
class ModelSpec:
    """A network by name, shape of one input (C, H, W), number of classes and knobs."""

    name: str
    input_shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10
    knobs: Mapping[str, Knob] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """The untrained network, drawn from torch's current random state."""
        return build(self.name, self.input_shape, self.classes, **self.knobs)

    def describe(self) -> dict[str, Any]:
        """All fields as plain values, to be written down or hashed."""
        return asdict(self)


def build(
    name: str, input_shape: tuple[int, int, int], classes: int = 10, **knobs: Knob
) -> nn.Module:
    """An untrained network by name.

    Raises LabError for a name, knob or input size that does not exist, with the right ones, and
    for a function that does not give a network for such inputs and so many classes.
    """
    if classes < 1:
        raise LabError(f"{name} cannot tell {classes} classes apart", "give at least 1")
    if ":" in name:
        return _from_elsewhere(name, input_shape, classes, knobs)
    if name not in BUILDERS:
        choice = f"choose one of {', '.join(NAMES)} or package.module:function"
        raise LabError(f"there is no model {name!r}", choice)
    allowed = list(inspect.signature(BUILDERS[name]).parameters)[2:]
    _check_knobs(name, knobs, allowed)
    smallest = SMALLEST_SIDE.get(name, 1)
    if min(input_shape) < 1 or min(input_shape[1:]) < smallest:
        shape = "x".join(map(str, input_shape))
        raise LabError(f"{name} cannot take images of {shape}", f"give at least {smallest} pixels")
    try:
        return BUILDERS[name](input_shape, classes, **knobs)
    except (TypeError, ValueError, RuntimeError) as error:  # of a knob of another type
        given = ", ".join(f"{knob}={value!r}" for knob, value in knobs.items())
        raise LabError(f"{name} cannot have {given}: {summarize(error)}", "see its knobs") from None


def _from_elsewhere(
    name: str, input_shape: tuple[int, int, int], classes: int, knobs: Mapping[str, Knob]
) -> nn.Module:
    builder = _imported(name)
    parameters = _signature(name, builder).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    if not takes_any:
        _check_knobs(name, knobs, [one for one in parameters if one not in FILLED])
    known = {"input_shape": input_shape, "classes": classes, "num_classes": classes}
    given = {key: value for key, value in known.items() if key in parameters}
    if takes_any and "classes" not in given:
        given["num_classes"] = classes
    try:
        model = builder(**given, **knobs)
    except Exception as error:  # whatever the function raises
        problem = f"{name} does not build a network: {summarize(error)}"
        raise LabError(problem, "look at its signature for the right knobs") from error
    if not isinstance(model, nn.Module):
        problem = f"{name} gives a {type(model).__name__}"
        raise LabError(problem, "name a function that returns an nn.Module")
    _check_output(name, model, input_shape, classes)
    return model


def _imported(name: str) -> Callable[..., object]:
    builder = look_up(name)
    if not callable(builder):
        raise LabError(f"{name} cannot be called", "name a function that returns an nn.Module")
    return cast(Callable[..., object], builder)


def _signature(name: str, builder: Callable[..., object]) -> inspect.Signature:
    try:
        return inspect.signature(builder)
    except (TypeError, ValueError):  # what is built into Python or torch has none
        problem = f"{name} does not say what it takes"
        raise LabError(problem, "name a function that returns an nn.Module") from None


def _check_knobs(name: str, knobs: Mapping[str, Knob], allowed: Sequence[str]) -> None:
    unknown = sorted(set(knobs) - set(allowed))
    if unknown:
        has = f"it has {', '.join(allowed)}" if allowed else "it has none"
        raise LabError(f"{name} has no knob {', '.join(unknown)}", has)


def _check_output(
    name: str, model: nn.Module, input_shape: tuple[int, int, int], classes: int
) -> None:
    """Raises LabError unless two black images give two rows of logits; modes stay as they were."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.inference_mode():
            output = model.eval()(torch.zeros(2, *input_shape))
    except Exception as error:  # whatever the network raises
        shape = "x".join(map(str, input_shape))
        problem = f"{name} cannot take images of {shape}: {summarize(error)}"
        raise LabError(problem, "give images of the size that it is made for") from error
    finally:
        for module, mode in modes:
            module.training = mode
    if not isinstance(output, torch.Tensor) or output.shape != (2, classes):
        gives = tuple(output.shape[1:]) if isinstance(output, torch.Tensor) else type(output)
        problem = f"{name} gives {gives} for an image, not {classes} logits"
        raise LabError(problem, "name a function that takes `classes` or `num_classes`")
