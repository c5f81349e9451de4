"""Where a network can be cut: behind which calls all that runs later needs one value alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import fx, nn

from labsupport.core.errors import LabError
from labsupport.network.in_place import keep_value
from labsupport.network.tracing import calls_of

Place = int | str
SHOWN = 20  # places that an error names


class CutGraph:
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
        check_order(positions)
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
        keep_value(module, made[start])
        module.recompile()
        return module


def leading_modules(model: nn.Module, place: Place) -> int | None:
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


def check_order(positions: Sequence[int]) -> None:
    """Raises LabError unless places rise in the order in which a network passes them."""
    if any(before >= after for before, after in pairwise(positions)):
        raise LabError("the places to cut at are out of order", "give each once, the first first")


def _check_place(place: object) -> None:
    if not isinstance(place, int | str):
        problem = f"{place!r} is no place to cut at"
        raise LabError(problem, "give a layer's name, or the number of leading layers")


def _child_before(model: nn.Module, number: int) -> str:
    """The name of the last of an nn.Sequential's leading modules."""
    if leading_modules(model, number) is None:
        problem = f"the layers of a {type(model).__name__} have no numbers to cut at"
        raise LabError(problem, "give a layer's name, or 0 for the input")
    return [*model._modules][number - 1]


def _name(node: fx.Node) -> str:
    return str(node.meta.get("returned_by", [node.name])[-1])


def _listed(places: Mapping[str, fx.Node]) -> str:
    names = [name for name, node in places.items() if "returned_by" in node.meta] or [*places]
    return ", ".join(names[:SHOWN]) + (", ... (see `cut_points`)" if names[SHOWN:] else "")
