"""Where the course lies: its notebooks, its data, its reference results."""

from __future__ import annotations

from pathlib import Path


def course_root() -> Path:
    """The folder of the course: the checkout the package lies in.

    Of an installed package it is the nearest folder, from the current one up, that has notebooks.
    """
    here = Path.cwd()
    folders = (Path(__file__).resolve().parents[2], here, *here.parents)
    return next((folder for folder in folders if (folder / "notebooks").is_dir()), here)
