"""Functions and classes by name, "module:qualified.name", as descriptions and files hold them."""

from __future__ import annotations

import importlib
import math
import operator
import re
import sys
import types
from typing import Any

from labsupport.core.errors import LabError

NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
ALIASES = ("torch", "torch.nn.functional")  # where torch shows what is defined inside of it
NOTEBOOK = ("__main__", "__mp_main__")
FUNCTIONS = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType)
# What a file may name of the standard library: nothing that opens, imports, runs or reaches in.
HARMLESS = {
    "builtins": {"abs", "getattr", "int", "float", "bool", "len", "max", "min", "sum", "round"},
    "_operator": set(operator.__all__) - {"attrgetter", "methodcaller", "call"},
    "math": {name for name in dir(math) if not name.startswith("_")},
}
# Functions that a file may call with arguments of its own: they compute tensors or layers.
COMPUTING = re.compile(
    r"torch:|torch\.(nn|functional|special|linalg|fft)[.:]|torch\._C\._(nn|special|linalg|fft):"
    r"|torchvision\.(models|ops)[.:]|labsupport\.(models|methods)[.:]|(builtins|_operator|math):"
)


def reference(thing: Any) -> str:  # noqa: ANN401
    """The name that `look_up` finds a function or class by.

    Raises LabError for one that is not at the top level of a module that can be imported.
    """
    module = getattr(thing, "__module__", None) or ""
    if module in NOTEBOOK:
        problem = f"{thing.__qualname__} is defined in the notebook or script itself"
        raise LabError(problem, "put it into a module of its own and import it")
    name, qualified = thing.__name__, thing.__qualname__
    for text in (f"{module}:{qualified}", *(f"{place}:{name}" for place in (module, *ALIASES))):
        if _found(text) is thing:
            return text
    problem = f"{module}.{qualified} cannot be found by its name"
    raise LabError(problem, "define it with def or class at the top level of a module")


def look_up(name: str) -> Any:  # noqa: ANN401
    """Import the function or class of a name. Raises LabError for one that is not there."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise LabError(f"{name!r} names no function or class", "give module:name")
    module, _, path = name.partition(":")
    root = module.split(".")[0]
    if root in sys.stdlib_module_names and path not in HARMLESS.get(module, ()):
        raise LabError(f"{name} is not for networks to use", "look at where the file comes from")
    try:
        return operator.attrgetter(path)(importlib.import_module(module))
    except Exception as error:  # a module may raise anything when it is imported
        problem = f"{name} cannot be imported ({type(error).__name__})"
        raise LabError(problem, f"install {root}, or start Python where it can be found") from None


def computes(name: str) -> bool:
    """Whether a name stands for a function that computes tensors or layers, and nothing more."""
    function = _found(name) if COMPUTING.match(name) else None
    if not isinstance(function, FUNCTIONS):
        return False
    try:  # torch shows functions of its other modules as well: torch:load, of torch.serialization
        return reference(function) == name
    except LabError:
        return False


def _found(name: str) -> object:
    try:
        found: object = look_up(name)
        return found
    except LabError:
        return None
