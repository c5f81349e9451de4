"""What students predicted before a lab computed it, beside the lab's answers."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nbformat import NotebookNode

from labsupport.coursework.exercises import code_cells

OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
SHOWN = r" ([-+.,\de]+) \(no guess yet\)"


@dataclass(frozen=True)
class Guess:
    """A question, a student's guess (None: no number was given), and the answer."""

    question: str
    guess: float | None
    answer: float

    @property
    def nearness(self) -> float:
        """From 0 to 1, the smaller over the larger number; 0 for no guess and the wrong sign."""
        if self.guess is None:
            return 0.0
        if self.guess == self.answer:
            return 1.0
        if self.guess * self.answer <= 0:
            return 0.0
        return min(self.guess / self.answer, self.answer / self.guess)


def guesses_of(lab: NotebookNode, submission: NotebookNode) -> list[Guess]:
    """A student's guesses beside the answers that the committed lab shows, in its order."""
    answers, given = shown_answers(lab), _given(submission)
    asked = [question for cell in code_cells(lab.cells) for question in _asked(cell.source)]
    known = [(name, text) for name, text in asked if text in answers]
    return [Guess(text, given.get(name), answers[text]) for name, text in known]


def shown_answers(lab: NotebookNode) -> dict[str, float]:
    """The answer to each question, as the outputs of a lab without guesses show it."""
    shown = "\n".join(_texts(lab))
    asked = [question for cell in code_cells(lab.cells) for _, question in _asked(cell.source)]
    found = {question: re.search(re.escape(question) + SHOWN, shown) for question in asked}
    return {text: float(match[1].replace(",", "")) for text, match in found.items() if match}


def _texts(lab: NotebookNode) -> Iterator[str]:
    for cell in code_cells(lab.cells):
        for output in cell.outputs:
            yield str(output.get("data", {}).get("text/plain", ""))


def _asked(source: str) -> Iterator[tuple[str, str]]:
    """The name of the guess and the question of each `results.prediction("...", guess_x, ...)`."""
    for node in _nodes(source):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="prediction"),
                args=[ast.Constant(value=str(question)), ast.Name(id=name), _],
            ):
                yield name, question


def _given(submission: NotebookNode) -> dict[str, float]:
    """The numbers that a notebook sets names such as `guess_macs` to; nothing is executed."""
    found = {}
    for cell in code_cells(submission.cells):
        for node in _nodes(cell.source):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                number = _number(node.value)
                if number is not None and node.targets[0].id.startswith("guess_"):
                    found[node.targets[0].id] = number
    return found


def _nodes(source: str) -> Iterator[ast.AST]:
    try:
        return ast.walk(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return iter(())


def _number(node: ast.expr) -> float | None:
    """The finite number that a sum or product of numbers comes to, else None."""
    try:
        number = _value(node)
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return number if math.isfinite(number) else None


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(left), _value(right))
    raise ValueError("no number")
