"""Where the course lies: its notebooks, its data, its reference results."""

from __future__ import annotations

from pathlib import Path


def course_root() -> Path:
    """The folder of the course: the checkout the package lies in, else the current folder."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()
