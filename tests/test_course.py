"""The course in the quick profile: it runs, it repeats, and a kill in the middle costs nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from labsupport.records.results import counted_tables, read_tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
LABS = Path(sys.executable).parent / "labs"
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
MEMORY_LIMIT = 3e9  # bytes; what the issue of these labs allows on a laptop


def command(runs, *more):
    return [str(LABS), "run", "--runs-dir", str(runs), "--no-report", *more]


def statuses(run):
    """Status by lab, as run.json has it at this moment."""
    path = run / "run.json"
    labs = json.loads(path.read_text())["labs"] if path.exists() else {}
    return {name: lab["status"] for name, lab in labs.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run from start to end."""
    runs = tmp_path_factory.mktemp("runs")
    done = subprocess.run(command(runs, "--name", "whole"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return runs / "whole"


@pytest.fixture(scope="module")
def own_images(tmp_path_factory):
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


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A run of labs 01 and 02, killed with all its processes in the middle of 02, and resumed."""
    runs = tmp_path_factory.mktemp("runs")
    run = runs / "cut"
    process = subprocess.Popen(
        command(runs, "--name", "cut", "--from", "01", "--to", "02"),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not list((run / "tables").glob("02_*/*.csv")):
        assert process.poll() is None, "the run ended before lab 02 wrote a table"
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = statuses(run)
    assert before["01_baseline_mlp"] == "done"
    assert before["02_baseline_cnn"] == "running"
    (run / "killed").write_text(datetime.now().isoformat(timespec="seconds"))
    done = subprocess.run(command(runs, "--resume"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


def test_every_lab_is_done_within_the_memory_of_a_laptop(undisturbed):
    labs = json.loads((undisturbed / "run.json").read_text())["labs"]
    assert list(labs) == sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    assert {lab["status"] for lab in labs.values()} == {"done"}
    assert max(lab["peak_memory_bytes"] for lab in labs.values()) <= MEMORY_LIMIT


def test_no_claim_that_does_not_depend_on_speed_fails(undisturbed):
    claims = read_tables(undisturbed, "claims")
    failed = claims[(claims["holds"].astype(str) == "False") & ~claims["clocked"].astype(bool)]
    assert failed["id"].tolist() == []


def test_a_killed_and_resumed_run_has_the_same_tables(undisturbed, resumed):
    expected, found = counted_tables(undisturbed), counted_tables(resumed)
    assert {name.split("/")[0] for name in found} == {"01_baseline_mlp", "02_baseline_cnn"}
    assert set(found) == {name for name in expected if name[:2] in ("01", "02")}
    for name, table in found.items():
        pd.testing.assert_frame_equal(table, expected[name], check_exact=True, obj=name)


def test_resuming_runs_no_finished_lab_again(resumed):
    labs = json.loads((resumed / "run.json").read_text())["labs"]
    assert set(statuses(resumed).values()) == {"done"}
    killed = (resumed / "killed").read_text()
    assert labs["01_baseline_mlp"]["started"] < killed <= labs["02_baseline_cnn"]["started"]


def test_the_labs_run_on_a_few_images_of_a_users_own(own_images, tmp_path):
    """Small color images, few of them: every lab ends, and its tables hide the user's folders."""
    data = ["--data", f"folder:{own_images}", "--name", "own"]
    done = subprocess.run(command(tmp_path, *data), capture_output=True, text=True)
    assert set(statuses(tmp_path / "own").values()) == {"done"}, done.stdout
    claims = read_tables(tmp_path / "own", "claims")
    assert set(claims["dataset"]) == {f"folder:{own_images.name}"}
