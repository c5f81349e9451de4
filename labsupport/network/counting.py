"""Torch's operators counted as they run, each charged to the module call in which it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from labsupport.core.errors import LabError
from labsupport.network.calls import is_conditional, kind_of, run
from labsupport.network.modes import evaluating
from labsupport.network.operators import Cost, reads, rule, written
from labsupport.network.origins import Origins

REMEDY = "give the layer a forward_cost(x, output) -> Cost"


@runtime_checkable
class HasCost(Protocol):
    """A module whose work torch's operators do not show, so that it says itself what it costs.

    Sparse layers, networks of another runtime, packed kernels, masks that save work. Nothing
    inside it is counted.
    """

    def forward_cost(self, x: Tensor, output: Tensor) -> Cost:
        """The cost of having computed `output` from `x`, of the whole batch together."""


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module, and what it cost beside the calls of other modules inside it.

    `written` are the elements that it put into new maps (see `operators.written`).
    """

    name: str
    module: nn.Module
    inputs: tuple[Any, ...]
    output: object
    cost: Cost
    written: int


Record = Callable[[ModuleCall], None]


def count_calls(model: nn.Module, x: Tensor, record: Record) -> Tensor:
    """Run a network in eval mode, and give `record` each call of a module at its end.

    Raises LabError for an operator of unknown cost, for a module that computes outside torch, for
    modules of TorchScript, for an input that does not fit, and, but for a network with a module
    marked `conditional`, where numbers computed from the input decide what is computed. One thing
    goes unseen: what a module computes outside torch and then adds to numbers of torch's.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        problem = f"what a {type(model).__name__} computes in TorchScript cannot be counted"
        raise LabError(problem, "count the network that it was made from")
    with _counting(model, record), evaluating(model), torch.no_grad():
        return run(model, x)


@contextmanager
def _counting(model: nn.Module, record: Record) -> Iterator[None]:
    counter = _Counter(record, is_conditional(model))
    hooks = [
        hook
        for name, module in model.named_modules()
        if "parametrizations" not in name.split(".")  # they are part of the layer that has them
        for hook in counter.hooks(name or kind_of(module), module)
    ]
    try:
        with counter, _separate_attention():
            yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _separate_attention() -> Iterator[None]:
    """Have attention computed product by product, not in one operator that hides them."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@dataclass
class _Open:
    """A call that has not ended yet."""

    name: str
    opaque: bool  # it, or one around it, says itself what it costs
    origins: Origins  # of its tensors, so that work outside torch is noticed
    cost: Cost = field(default_factory=Cost)
    written: int = 0


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Charges every operator to the innermost module call in which it runs."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch's way of skipping it imports all of it first, which takes seconds

    def __init__(self, record: Record, conditional: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record, self.conditional = record, conditional
        self.open: list[_Open] = []

    def hooks(self, name: str, module: nn.Module) -> Iterator[Any]:
        """Hooks on a module, called where its calls begin and end: around all other hooks."""

        def begin(module: nn.Module, *inputs: object) -> None:
            self._begin(name, module, inputs)

        yield module.register_forward_pre_hook(begin, with_kwargs=True, prepend=True)
        yield module.register_forward_hook(
            lambda module, args, kwargs, output: self._end(
                name, module, (*args, *kwargs.values()), output
            ),
            with_kwargs=True,
        )

    def _begin(self, name: str, module: nn.Module, inputs: object) -> None:
        inside = bool(self.open) and self.open[-1].opaque
        opaque = inside or isinstance(module, HasCost)
        self.open.append(_Open(name, opaque, Origins(module, inputs)))

    def _end(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        call, around = self.open[-1], self.open[:-1]
        if not call.opaque and call.origins.is_foreign(output):
            raise LabError(f"layer {name} computes outside torch, at a cost unknown", REMEDY)
        if not (around and around[-1].opaque):
            if isinstance(module, HasCost):
                call.cost = module.forward_cost(inputs[0], output)
                leaves = (t for t in tree_leaves(output) if all(t is not i for i in inputs))
                call.written = sum(t.numel() for t in leaves if isinstance(t, Tensor))
                for outer in around:
                    outer.origins.note(name, inputs, output)
            self.record(ModuleCall(name, module, inputs, output, call.cost, call.written))
        self.open.pop()

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        call, kwargs = self.open[-1], kwargs or {}
        if call.opaque:
            return func(*args, **kwargs)
        self._check_decision(func, args)
        counted = rule(func) if _dense(args) else None
        if counted is None:
            return self._in_parts(func, args, kwargs)
        output = func(*args, **kwargs)
        call.cost += counted(args, output)
        call.written += written(func, output)
        for around in self.open:
            around.origins.note(func._schema.name.removeprefix("aten::"), (args, kwargs), output)
        return output

    def _check_decision(self, func: OpOverload, args: tuple[Any, ...]) -> None:
        if self.conditional or not reads(func, args):
            return
        if self.open[0].origins.depends_on_input(args):
            problem = f"what layer {self.open[-1].name} computes depends on the image ({func})"
            raise LabError(problem, "mark it conditional = True, and use mean_cost(model, split)")

    def _in_parts(
        self, func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> object:
        """Run an operator as the smaller ones that it is made of, which are counted."""
        with self:
            output = func.decompose(*args, **kwargs)
        if output is NotImplemented:
            problem = f"layer {self.open[-1].name} computes {func}, whose cost is unknown"
            remedy = f"{REMEDY}, or enter the operator in labsupport/network/operators.py"
            raise LabError(problem, remedy)
        return output


def _dense(args: Sequence[Any]) -> bool:
    """Whether no tensor is sparse, which the operators' shapes would not show."""
    return all(value.layout == torch.strided for value in args if isinstance(value, Tensor))
