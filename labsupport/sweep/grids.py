"""The values that a sweep runs over, as a lab's parameters give them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from labsupport.core.errors import LabError

Number = TypeVar("Number", int, float)


def whole_numbers(name: str, text: str, *, low: int = 1, min_count: int = 1) -> list[int]:
    """The different whole numbers in a text such as "1 2 4", in their order.

    Raises LabError, naming the parameter, unless there are `min_count` of them, none below `low`.
    """
    found = _parsed(text, int)
    if len(found) < min_count or min(found) < low:
        raise LabError(
            f"{name}={text!r}",
            f"give {min_count} or more whole numbers from {low} up, with blanks between them",
        )
    return found


def decimals(name: str, text: str) -> list[float]:
    """The different numbers in a text such as "0.01 1", in their order.

    Raises LabError, naming the parameter, unless there are some, all finite and none below 0.
    """
    found = _parsed(text, float)
    if not found or not all(0 <= number < math.inf for number in found):
        problem = f"{name}={text!r}"
        raise LabError(problem, "give one or more numbers from 0 up, with blanks between them")
    return found


def _parsed(text: str, kind: Callable[[str], Number]) -> list[Number]:
    """The different numbers of a text; none where a word of it is no number."""
    try:
        return list(dict.fromkeys(kind(word) for word in text.replace(",", " ").split()))
    except ValueError:
        return []
