"""The values that a sweep runs over, as a lab's parameters give them."""

from __future__ import annotations

from labsupport.core.errors import LabError


def whole_numbers(name: str, text: str, *, low: int = 1, min_count: int = 1) -> list[int]:
    """The different whole numbers in a text such as "1 2 4", in their order.

    Raises LabError, naming the parameter, unless there are `min_count` of them, none below `low`.
    """
    try:
        numbers = list(dict.fromkeys(int(word) for word in text.replace(",", " ").split()))
    except ValueError:
        numbers = []
    if len(numbers) < min_count or min(numbers) < low:
        raise LabError(
            f"{name}={text!r}",
            f"give {min_count} or more whole numbers from {low} up, with blanks between them",
        )
    return numbers
