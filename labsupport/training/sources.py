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

    Files are read anew each time, as a notebook may reload a module that was edited. Imports are
    followed into the course and the reader's own modules, not into libraries.
    """
    sources = _with_imports(frozenset(modules))
    return hashlib.sha256(b"\0".join(sources[name] for name in sorted(sources))).hexdigest()


def _with_imports(modules: frozenset[str]) -> dict[str, bytes]:
    sources: dict[str, bytes] = {}
    seen, waiting = set[str](), list(modules)
    while waiting:
        name = waiting.pop()
        path = None if name in seen else _file(name)
        seen.add(name)
        if path and path.is_file():
            sources[name] = path.read_bytes()
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            waiting += _imports(package, sources[name])
    return sources


@cache
def _imports(package: str, source: bytes) -> list[str]:
    """Names that a source imports, and what may be a module among the names from one."""
    return list(dict.fromkeys(_imported(ast.parse(source), package)))


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            module = importlib.util.resolve_name(relative, package) if node.level else relative
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _file(name: str) -> Path | None:
    """The file of a module that is the course's or the reader's own."""
    root = Path(labsupport.__file__).parent
    if name.split(".", maxsplit=1)[0] == root.name:
        stem = root.joinpath(*name.split(".")[1:])
        places = (stem / "__init__.py", stem.with_suffix(".py"))
        return next((place for place in places if place.is_file()), None)
    if _own(name.split(".", maxsplit=1)[0]) is None:  # asked first: for others it imports parents
        return None
    return _own(name)


def _own(name: str) -> Path | None:
    """The place of a module or package, unless it is a library's or has no Python source."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    place = next((Path(place) for place in places if place), None)
    is_source = place and (place.suffix == ".py" or place.is_dir())
    return place if is_source and not str(place).startswith(OTHERS) else None
