"""Which names a piece of notebook code reads, gives and sets anew, read from its text alone."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable
from dataclasses import dataclass

from IPython.core.inputtransformer2 import TransformerManager

# Methods that change what they are called on, of lists, dicts, sets, tables and networks.
CHANGING = {
    *("append", "extend", "insert", "add", "update", "setdefault", "pop", "remove", "clear"),
    *("sort", "load_state_dict"),
}
REBINDING = (
    *(ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom),
)
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Statement:
    """Names of the notebook that a statement reads, gives (or changes), and surely sets anew."""

    reads: frozenset[str]
    gives: frozenset[str]
    resets: frozenset[str]


def statements(source: str) -> list[Statement]:
    """The statements of a cell, without IPython's magics; none for code that is no Python."""
    try:
        code = TransformerManager().transform_cell(source)  # type: ignore[no-untyped-call]
        return [_statement(node) for node in ast.parse(code).body]
    except UNREADABLE:
        return []


def reads_before(parts: Iterable[Statement], wanted: Iterable[str] = ()) -> set[str]:
    """The names that must be there before statements, for them and for what is wanted after."""
    before = set(wanted)
    for part in reversed(list(parts)):
        before = (before - part.resets) | part.reads
    return before


def _statement(node: ast.stmt) -> Statement:
    return _block(node) if isinstance(node, ast.For | ast.With) else _single(node)


def _single(node: ast.stmt) -> Statement:
    table = symtable.symtable(ast.unparse(node), "cell", "exec")
    bound = {symbol.get_name() for symbol in table.get_symbols() if _binds(symbol)}
    changed = _changed(node)
    resets = bound - changed if isinstance(node, REBINDING) else set()
    return Statement(*map(frozenset, (_global_reads(table) | changed, bound | changed, resets)))


def _block(node: ast.For | ast.With) -> Statement:
    """A loop or a `with`: what its body reads may have been set in its head, or in the body."""
    heads, targets = _head(node)
    first = _stored(targets)
    body = [_statement(part) for part in [*node.body, *getattr(node, "orelse", [])]]
    changed = set().union(*map(_changed, [*heads, *targets]))
    reads = (reads_before(body) - first) | _reads(heads) | changed
    gives = first.union(changed, *(part.gives for part in body))
    return Statement(frozenset(reads), frozenset(gives), frozenset(first))


def _binds(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def _global_reads(table: symtable.SymbolTable) -> set[str]:
    """Names of the notebook that a block reads, those in functions and comprehensions too."""
    outermost = table.get_type() == "module"
    own = (s for s in table.get_symbols() if s.is_referenced() and (outermost or s.is_global()))
    return {symbol.get_name() for symbol in own}.union(*map(_global_reads, table.get_children()))


def _changed(node: ast.AST) -> set[str]:
    """Names whose content a piece of code changes in place."""
    places: list[ast.expr] = []
    for part in ast.walk(node):
        if isinstance(part, ast.Subscript | ast.Attribute) and not isinstance(part.ctx, ast.Load):
            places.append(part)
        elif isinstance(part, ast.AugAssign):
            places.append(part.target)
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
            places += [part.func.value] if part.func.attr in CHANGING else []
    return {root for place in places if (root := _root(place))}


def _root(place: ast.expr) -> str | None:
    """The name at the left of `name.attribute[index]`."""
    while isinstance(place, ast.Subscript | ast.Attribute):
        place = place.value
    return place.id if isinstance(place, ast.Name) else None


def _head(node: ast.For | ast.With) -> tuple[list[ast.expr], list[ast.expr]]:
    """What a loop or a `with` evaluates before its body, and what it sets by that."""
    if isinstance(node, ast.For):
        return [node.iter], [node.target]
    set_by = [item.optional_vars for item in node.items if item.optional_vars]
    return [item.context_expr for item in node.items], set_by


def _stored(targets: Iterable[ast.expr]) -> set[str]:
    names = (name for target in targets for name in ast.walk(target))
    return {n.id for n in names if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _reads(expressions: Iterable[ast.expr]) -> set[str]:
    tables = (symtable.symtable(ast.unparse(e), "cell", "exec") for e in expressions)
    return set().union(*map(_global_reads, tables))
