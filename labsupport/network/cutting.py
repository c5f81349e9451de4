"""A network cut into parts: what comes out of the first one, batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, fx, nn

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.network.tracing import calls_of, shape_of, trace

Place = int | str
ALIASING = {"view", "reshape", "flatten", "squeeze", "unsqueeze", "transpose", "permute"}
SHOWN = 20  # places that an error names


def cut(model: nn.Module, *places: Place) -> list[nn.Module]:
    """Copies of a network's parts between some places, in eval mode: stem and rest for one place.

    A place is a layer's name as `named_modules` has it: the network is cut behind what the layer
    gives (where it is called more than once, behind the last call). In an nn.Sequential it may
    also be the number of leading modules. Place 0 is the input, whose stem is empty.

    Any network that can be traced is cut where all that runs later depends on the one value alone:
    in a residual network between its blocks. Raises LabError for another place, with those that
    would do, and for places out of order.
    """
    copied = copy.deepcopy(model).eval()
    numbers = [_number(copied, place) for place in places]
    if isinstance(copied, nn.Sequential) and None not in numbers:
        return _slices(copied, cast("list[int]", numbers))
    return _Graph(copied).parts(places)


def in_order(model: nn.Module, places: Sequence[Place]) -> list[Place]:
    """The places in the order in which the network passes them. Raises LabError as `cut` does."""
    numbers = {place: _number(model, place) for place in places}
    if None in numbers.values():
        graph = _Graph(model)
        numbers = {place: graph.position(place) for place in places}
    return sorted(places, key=lambda place: cast(int, numbers[place]))


def cut_points(model: nn.Module, input_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Where a network can be cut, in order, and the shape of one image's features there.

    A value that several modules give is named by the outermost, one that none gives by the graph.
    """
    graph = _Graph(model, trace(model, input_shape))
    shapes = {name: shape_of(node) for name, node in graph.places().items()}
    return {name: tuple(shape[1:]) for name, shape in shapes.items() if shape is not None}


def collect(
    model: nn.Module, place: Place, split: Batched, batch_size: int = 100
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features at a place and the network's logits, one batch at a time, in order.

    A batch's features can be let go before the next come: 60,000 of 32 x 26 x 26 would fill 5 GB.
    """
    stem, rest = cut(model, place)
    for x, _ in split.batches(batch_size):
        with torch.inference_mode():
            features = stem(x)
            # The rest gets a copy: it may begin with a call that works in place.
            logits = rest(features.clone())
        yield features, logits
        del features, logits  # before the next are made


def _number(model: nn.Module, place: Place) -> int | None:
    """How many leading modules of an nn.Sequential run before a place; None where it has none."""
    _check_place(place)
    if not isinstance(model, nn.Sequential) or type(model).forward is not nn.Sequential.forward:
        return None
    if isinstance(place, str):
        names = [*model._modules][:-1]
        return names.index(place) + 1 if place in names else None
    if not 0 <= place < len(model):
        raise LabError(f"there is no layer {place} to cut at", f"choose 0 to {len(model) - 1}")
    return place


def _check_place(place: object) -> None:
    if not isinstance(place, int | str):
        problem = f"{place!r} is no place to cut at"
        raise LabError(problem, "give a layer's name, or the number of leading layers")


def _slices(model: nn.Sequential, numbers: Sequence[int]) -> list[nn.Module]:
    _check_order(numbers)
    layers = list(model)
    cuts = pairwise([0, *numbers, len(layers)])
    parts = [nn.Sequential(*layers[start:end]).eval() for start, end in cuts]
    for part in parts[1:]:
        _keep_input(part[0])
    return cast("list[nn.Module]", parts)


class _Graph:
    """The calls of a network, and behind which of them it can be cut."""

    def __init__(self, model: nn.Module, calls: fx.GraphModule | None = None) -> None:
        if hasattr(model, "all_logits"):
            problem = f"a {type(model).__name__} has early exits already"
            raise LabError(problem, "cut the network that it was made of")
        self.model = model
        self.calls = calls or calls_of(model)
        self.nodes = list(self.calls.graph.nodes)
        self.order = {node: i for i, node in enumerate(self.nodes)}
        inputs = [node.name for node in self.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            problem = f"a {type(model).__name__} takes {', '.join(inputs) or 'no input'}"
            raise LabError(problem, "cut a network with one input")
        self.from_input: set[fx.Node] = set()
        for node in self.nodes:
            if node.op == "placeholder" or not self.from_input.isdisjoint(node.all_input_nodes):
                self.from_input.add(node)

    def places(self) -> dict[str, fx.Node]:
        """The values on which all that runs later depends, by name; neither input nor output."""
        values = [node for node in self.nodes if node in self.from_input]
        legal, needed_until = {}, self._last_use(values[0])
        for node in values[1:-1]:
            if needed_until <= self.order[node] and not self._is_answer(node):
                legal[_name(node)] = node
            needed_until = max(needed_until, self._last_use(node))
        return legal

    def parts(self, places: Sequence[Place]) -> list[nn.Module]:
        """A GraphModule for each part between some places."""
        positions = [self.position(place) for place in places]
        _check_order(positions)
        start = next(iter(self.from_input & {n for n in self.nodes if n.op == "placeholder"}))
        ends = [self.nodes[position] for position in positions]
        return [self._part(*pair) for pair in pairwise([start, *ends, self.nodes[-1]])]

    def position(self, place: Place) -> int:
        """The number of the call behind which a place lies. Raises LabError as `cut` does."""
        if place == 0:
            return 0
        legal = self.places()
        node = self._behind(place)
        if node not in legal.values():
            raise LabError(self._problem(place, node), f"choose from {_listed(legal)}")
        return self.order[node]

    def _behind(self, place: Place) -> fx.Node | None:
        """The last call that gives the value of a layer, or that has the name."""
        if isinstance(place, int):
            place = _child_before(self.model, place)
        given = [node for node in self.nodes if place in node.meta.get("returned_by", ())]
        given = given or [node for node in self.nodes if node.name == place]
        return given[-1] if given else None

    def _problem(self, place: Place, node: fx.Node | None) -> str:
        name = type(self.model).__name__
        if node is None:
            return f"a {name} has no layer {place!r} to cut behind"
        if self._is_answer(node):
            return f"{place} gives the answer of the {name}: nothing runs behind it"
        return f"a {name} cannot be cut behind {place}: later layers need earlier values, too"

    def _is_answer(self, node: fx.Node) -> bool:
        return self.nodes[-1] in node.users

    def _last_use(self, node: fx.Node) -> int:
        return max((self.order[user] for user in node.users), default=0)

    def _part(self, start: fx.Node, end: fx.Node) -> nn.Module:
        """What runs behind `start` up to `end`, on the value of `start`."""
        part = fx.Graph()
        made = {start: part.placeholder("x")}

        def copied(node: fx.Node) -> fx.Node:
            if node not in made:
                made[node] = part.node_copy(node, copied)
                made[node].meta = {}
            return made[node]

        for node in self.nodes[self.order[start] + 1 : self.order[end] + 1]:
            if node in self.from_input:
                copied(node)
        if end.op != "output":
            part.output(made[end])
        part.lint()
        module = fx.GraphModule(self.calls, part, "Part").eval()
        _keep_value(module, made[start])
        module.recompile()
        return module


def _child_before(model: nn.Module, number: int) -> str:
    """The name of the last of an nn.Sequential's leading modules."""
    if _number(model, number) is None:
        problem = f"the layers of a {type(model).__name__} have no numbers to cut at"
        raise LabError(problem, "give a layer's name, or 0 for the input")
    return [*model._modules][number - 1]


def _check_order(positions: Sequence[int]) -> None:
    if any(before >= after for before, after in pairwise(positions)):
        raise LabError("the places to cut at are out of order", "give each once, the first first")


def _name(node: fx.Node) -> str:
    return str(node.meta.get("returned_by", [node.name])[-1])


def _listed(places: Mapping[str, fx.Node]) -> str:
    names = [name for name, node in places.items() if "returned_by" in node.meta] or [*places]
    return ", ".join(names[:SHOWN]) + (", ... (see `cut_points`)" if names[SHOWN:] else "")


def _keep_value(part: fx.GraphModule, start: fx.Node) -> None:
    """Let a part leave its input as it is: others may look at the features, too."""
    users = list(start.users)
    if len(users) == 1 and users[0].op == "call_module":
        _keep_input(part.get_submodule(str(users[0].target)))
    elif len(users) == 1 and users[0].kwargs.get("inplace"):
        users[0].kwargs = {**users[0].kwargs, "inplace": False}
    if any(_works_in_place(part, node) for node in _users_of_memory(part, start)):
        with part.graph.inserting_after(start):
            clone = part.graph.call_method("clone", (start,))
        start.replace_all_uses_with(clone, lambda user: user is not clone)


def _users_of_memory(part: fx.GraphModule, start: fx.Node) -> Iterator[fx.Node]:
    """The calls that take a value or another view of it."""
    for user in start.users:
        yield user
        layer = part.get_submodule(str(user.target)) if user.op == "call_module" else None
        is_view = isinstance(layer, nn.Flatten | nn.Identity | nn.Dropout)
        if is_view or getattr(user.target, "__name__", user.target) in ALIASING:
            yield from _users_of_memory(part, user)


def _works_in_place(part: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(part.get_submodule(str(node.target)), "inplace", False))
    if node.kwargs.get("inplace"):
        return True
    name = str(getattr(node.target, "__name__", node.target))
    return node.op != "output" and name.endswith("_") and not name.endswith("__")


def _keep_input(layer: nn.Module) -> None:
    if getattr(layer, "inplace", False):
        setattr(layer, "inplace", False)  # noqa: B010  (a module's attributes are tensors to mypy)
