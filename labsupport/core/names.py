"""Functions and classes by name, "module:qualified.name", as descriptions and files hold them."""

from __future__ import annotations

import importlib
import math
import operator
import re
import sys
import types
from typing import Any

import torch
from torch import nn

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
# Where functions lie that compute tensors from tensors and numbers.
COMPUTING = re.compile(
    r"(torch|torch\.functional|torch\.nn\.functional|torch\._C\._(nn|special|linalg|fft)"
    r"|torchvision\.ops\.\w+|builtins|_operator|math):[A-Za-z]\w*"
)
TOUCHING = {"from_file"}  # operators of torch that reach beyond tensors
SINGLE = {  # what torchvision's own networks keep as one call when they are traced
    f"torchvision.models.swin_transformer:{name}"
    for name in ("shifted_window_attention", "_patch_merging_pad", "_get_relative_position_bias")
}
LAYERS = re.compile(r"(torch\.nn\.modules|torchvision\.ops)\.\w+:[A-Za-z]\w*")


def reference(thing: Any) -> str:  # noqa: ANN401
    """The name that `look_up` finds a function or class by.

    Raises LabError for one that is not at the top level of a module that can be imported.
    """
    if thing.__name__ == "<lambda>":
        problem = "a lambda has no name that it could be found by"
        raise LabError(problem, "define a function with def at the top level of a module")
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
        raise LabError(f"{name} cannot be imported: {_reason(error)}", _way_out(error)) from None


def computes(name: str) -> bool:
    """Whether a name stands for a function that computes tensors, and does nothing else.

    These are torch's operators, what torch.nn.functional and torchvision.ops define, and harmless
    functions of Python: what the graph of a network in a file may call.
    """
    if name in SINGLE:
        return True
    function = _found(name) if COMPUTING.fullmatch(name) else None
    if not isinstance(function, FUNCTIONS) or not _has_name(function, name):
        return False
    module, _, path = name.partition(":")
    if module == "torch":
        return path not in TOUCHING and hasattr(torch._C._VariableFunctions, path)
    if module == "torch.functional" or module.startswith("torchvision."):
        public = importlib.import_module(".".join(module.split(".")[:2])).__all__
        return path in public and not isinstance(function, type)
    return module != "torch.nn.functional" or function.__module__ == module


def makes_layers(name: str) -> bool:
    """Whether a name stands for a class of layers, of torch or of torchvision."""
    kind = _found(name) if LAYERS.fullmatch(name) else None
    return isinstance(kind, type) and issubclass(kind, nn.Module) and _has_name(kind, name)


def _has_name(thing: object, name: str) -> bool:
    """Whether this is the one name of a thing: torch:load, of torch.serialization, is not."""
    try:
        return reference(thing) == name
    except LabError:
        return False


def _found(name: str) -> object:
    try:
        found: object = look_up(name)
        return found
    except LabError:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"there is no module {error.name}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _way_out(error: Exception) -> str:
    """What to do about an import that failed: install the package, or spell the name right."""
    if isinstance(error, ModuleNotFoundError) and "." not in (error.name or "."):
        return f"install {error.name}, or start Python where it can be found"
    return "check its spelling, or the version of the package"
