"""The code that a result depends on: modules, and what they import of the course."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import labsupport

OTHERS = tuple(sysconfig.get_path(place) for place in ("stdlib", "purelib", "platlib"))


def code_fingerprint(modules: Iterable[str]) -> str:
    """Hexadecimal digits that change with the source of `modules` or of what they import.

    Imports are followed into the course and the reader's own modules, not into libraries.
    """
    sources = _with_imports(frozenset(modules))
    return hashlib.sha256(b"\0".join(sources[name] for name in sorted(sources))).hexdigest()


@cache
def _with_imports(modules: frozenset[str]) -> dict[str, bytes]:
    sources: dict[str, bytes] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = None if name in sources else _file(name)
        if path:
            sources[name] = path.read_bytes()
            waiting += _imports(name, path)
    return sources


@cache
def _imports(name: str, path: Path) -> list[str]:
    """Names that a module imports, and what may be a module among the names from one."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return list(_imported(ast.parse(path.read_bytes()), package))


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            module = importlib.util.resolve_name(relative, package) if node.level else relative
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@cache
def _file(name: str) -> Path | None:
    """The file of a module that is the course's or the reader's own."""
    root = Path(labsupport.__file__).parent
    if name.split(".", maxsplit=1)[0] == root.name:
        stem = root.joinpath(*name.split(".")[1:])
        places = (stem / "__init__.py", stem.with_suffix(".py"))
        return next((place for place in places if place.is_file()), None)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    path = Path(spec.origin) if spec and spec.origin else None
    can_be_read = path and path.suffix == ".py" and not str(path).startswith(OTHERS)
    return path if can_be_read else None
