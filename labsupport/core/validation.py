"""What pydantic finds wrong with data, for the reader."""

from __future__ import annotations

from pydantic import ValidationError

from labsupport.core.errors import summarize


def explain(error: Exception) -> str:
    """What is wrong with a file or with the data in it, in one line."""
    if not isinstance(error, ValidationError):
        return summarize(error)
    return "; ".join(
        ": ".join(filter(None, [".".join(map(str, wrong["loc"])), wrong["msg"]]))
        for wrong in error.errors()
    )
