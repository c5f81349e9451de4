"""Small made sets in the layouts of the real ones."""

from __future__ import annotations

import pytest
from made_images import noise, save_image


@pytest.fixture(autouse=True)
def _no_sets_of_the_machine(monkeypatch):
    """Each test names its own data folder; the machine's LABS_DATA must not leak in."""
    monkeypatch.delenv("LABS_DATA", raising=False)


@pytest.fixture
def image_folder(tmp_path):
    """A function that writes PART/CLASS/N.png in color or gray, and gives the folder."""

    def write(parts=("train", "test"), each=6, side=8, channels=3, classes=("cat", "dog")):
        for number, (part, name) in enumerate((p, c) for p in parts for c in classes):
            shape = (side, side, channels) if channels > 1 else (side, side)
            pixels = noise(each, *shape, seed=number).numpy()
            for index, image in enumerate(pixels):
                save_image(tmp_path / "set" / part / name / f"{index}.png", image)
        return tmp_path / "set"

    return write
