"""The course on images that a user brings: small, in color, and few."""

import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labsupport.core.course import course_root
from labsupport.records.definitions import CLAIMS, read_definitions
from labsupport.records.tables import read_tables
from labsupport.runs.record import read_record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
LABS = Path(sys.executable).parent / "labs"
SHORT = (  # what is trained and clocked is not the point here
    *("epochs=2", "mlp_epochs=1", "lenet_epochs=1", "rules_epochs=1", "pruning_epochs=1"),
    *("fit_epochs=1", "branch_epochs=1", "way_epochs=1", "tune_epochs=1", "photo_epochs=1"),
    "rounds=6",
)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of a few color images in three classes, as a user might bring."""
    folder = tmp_path_factory.mktemp("own")
    generator = np.random.default_rng(0)
    for part, number in (("train", 60), ("test", 20)):
        for label, name in enumerate(("red", "green", "blue")):
            place = folder / part / name
            place.mkdir(parents=True)
            for index in range(number):
                pixels = generator.integers(0, 150, (20, 20, 3), dtype=np.uint8)
                pixels[..., label] += 60
                Image.fromarray(pixels).save(place / f"{index}.png")
    return folder


def test_every_lab_ends_and_its_tables_hide_the_users_folders(images, tmp_path):
    data = ["--data", f"folder:{images}", "--name", "own"]
    short = chain.from_iterable(("-p", setting) for setting in SHORT)
    command = [LABS, "run", "--runs-dir", tmp_path, "--no-report", *data, *short]
    done = subprocess.run(command, capture_output=True, text=True)
    labs = read_record(tmp_path / "own").labs
    assert {lab.status for lab in labs.values()} == {"done"}, done.stdout
    claims = read_tables(tmp_path / "own", "claims")
    assert set(claims["dataset"]) == {f"folder:{images.name}"}
    for_profiles = {
        claim.id
        for _, claim in read_definitions(course_root() / CLAIMS).each()
        if isinstance(claim.aim, dict)
    }
    assert not for_profiles & set(claims.loc[claims["holds"].notna(), "id"])
