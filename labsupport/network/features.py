"""What a layer inside a network gives, while the network runs as a whole."""

from __future__ import annotations

from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.network.calls import run


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The module of a name as `named_modules` has it. Raises LabError for one that is not there."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if name not in modules or not name:
        problem = f"a {type(model).__name__} has no layer {name!r}"
        raise LabError(problem, f"choose from {', '.join(list(modules)[1:])}")
    return modules[name]


def features_and_logits(model: nn.Module, layer: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer gives (at its last call) and what the network gives, from one pass of `x`.

    The features are a copy: a ReLU behind the layer may work in place. Raises LabError for a layer
    that is not there, is not called or does not give one tensor, and for an input that does not
    fit.
    """
    seen: list[object] = []
    hook = find_layer(model, layer).register_forward_hook(
        lambda _, __, out: seen.append(_kept(out))
    )
    try:
        logits = run(model, x)
    finally:
        hook.remove()
    if not seen or not isinstance(seen[-1], Tensor):
        problem = f"layer {layer} gives no tensor that could be looked at"
        raise LabError(problem, "choose a layer that the network calls")
    return seen[-1], logits


def _kept(output: object) -> object:
    return output.clone() if isinstance(output, Tensor) else output
