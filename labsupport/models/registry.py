"""Networks by name: `ModelSpec` says all that determines an untrained network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from labsupport.core.errors import LabError
from labsupport.models.cnn import lenet5, pooled_cnn, pruning_cnn, rules_cnn
from labsupport.models.mlp import lenet_300_100, mlp

Knob = int | float | str
Builder = Callable[..., nn.Sequential]
BUILDERS: dict[str, Builder] = {
    "mlp": mlp,
    "lenet_300_100": lenet_300_100,
    "lenet5": lenet5,
    "rules_cnn": rules_cnn,
    "pruning_cnn": pruning_cnn,
    "pooled_cnn": pooled_cnn,
}
NAMES = tuple(BUILDERS)
SMALLEST_SIDE = {"lenet5": 16, "rules_cnn": 6, "pooled_cnn": 4}


@dataclass(frozen=True)
class ModelSpec:
    """A network by name, shape of one input (C, H, W), number of classes and knobs."""

    name: str
    input_shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10
    knobs: Mapping[str, Knob] = field(default_factory=dict)

    def build(self) -> nn.Sequential:
        """The untrained network, drawn from torch's current random state."""
        return build(self.name, self.input_shape, self.classes, **self.knobs)

    def describe(self) -> dict[str, Any]:
        """All fields as plain values, to be written down or hashed."""
        return asdict(self)


def build(
    name: str, input_shape: tuple[int, int, int], classes: int = 10, **knobs: Knob
) -> nn.Sequential:
    """An untrained network by name.

    Raises LabError for a name, knob or input size that does not exist, with the right ones.
    """
    if name not in BUILDERS:
        raise LabError(f"there is no model {name!r}", f"choose one of {', '.join(NAMES)}")
    allowed = list(inspect.signature(BUILDERS[name]).parameters)[2:]
    unknown = sorted(set(knobs) - set(allowed))
    if unknown:
        has = f"it has {', '.join(allowed)}" if allowed else "it has none"
        raise LabError(f"{name} has no knob {', '.join(unknown)}", has)
    smallest = SMALLEST_SIDE.get(name, 1)
    if min(input_shape) < 1 or min(input_shape[1:]) < smallest:
        shape = "x".join(map(str, input_shape))
        raise LabError(f"{name} cannot take images of {shape}", f"give at least {smallest} pixels")
    return BUILDERS[name](input_shape, classes, **knobs)
