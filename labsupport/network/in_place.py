"""Parts of a network whose input stays as it is, though layers of them work in place."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx, nn

ALIASING = {"view", "reshape", "flatten", "squeeze", "unsqueeze", "transpose", "permute"}


def keep_value(part: fx.GraphModule, start: fx.Node) -> None:
    """Let a part leave its input as it is: others may look at the features, too."""
    users = list(start.users)
    if len(users) == 1 and users[0].op == "call_module":
        keep_input(part.get_submodule(str(users[0].target)))
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


def keep_input(layer: nn.Module) -> None:
    """Let a layer write its output elsewhere than over its input."""
    if getattr(layer, "inplace", False):
        setattr(layer, "inplace", False)  # noqa: B010  (a module's attributes are tensors to mypy)
