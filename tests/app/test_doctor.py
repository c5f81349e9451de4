import errno
from collections import namedtuple
from importlib.metadata import requires, version
from pathlib import Path

import pytest

from labsupport.app import doctor

ROOT = Path(__file__).parents[2]


def levels(findings):
    return {finding.subject: finding.level for finding in findings}


def test_a_finding_reads_as_one_line_with_its_way_out():
    line = str(doctor.Finding("warning", "disk", "2 GB free", "free some space"))
    assert line == "warning  disk: 2 GB free -> free some space"


def test_pins_are_read_for_this_python_and_system_only():
    old, new = "old==1 ; python_full_version < '3'", "new==3 ; python_version > '3'"
    found = doctor.requirements(["# pins", "numpy==2.0", old, "", new])
    assert {name: str(pin) for name, pin in found.items()} == {"numpy": "==2.0", "new": "==3"}


def test_other_versions_are_warnings_and_missing_packages_problems(tmp_path, monkeypatch):
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("numpy==0.1\npandas==" + version("pandas"))
    packages = ["numpy", "pandas", "no-such-package", "old; python_version < '3'"]
    monkeypatch.setattr(doctor, "requires", lambda name: packages)
    found = levels(doctor.packages(constraints))
    assert found == {"numpy": "warning", "no-such-package": "problem"}
    assert levels(doctor.packages(tmp_path / "none.txt"))["versions"] == "warning"


def test_the_packages_of_the_course_are_known():
    needed = set(doctor.requirements(requires(doctor.DISTRIBUTION)))
    assert {"torch", "nbclient", "pandas"} <= needed
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert needed <= set(doctor.requirements(pins))


@pytest.mark.parametrize(("gigabytes", "level"), [(0.5, "problem"), (2, "warning"), (50, "ok")])
def test_disk_space_is_judged(monkeypatch, tmp_path, gigabytes, level):
    usage = namedtuple("usage", "free")(gigabytes * doctor.GB)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    assert levels([doctor.runs_folder(tmp_path / "not" / "yet")]) == {"runs": level}


def test_a_folder_that_cannot_be_written_to_is_a_problem(monkeypatch, tmp_path):
    def refuse(dir):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    assert levels([doctor.runs_folder(tmp_path / "runs")]) == {"runs": "problem"}
    (tmp_path / "file").touch()
    assert levels([doctor.runs_folder(tmp_path / "file" / "runs")]) == {"runs": "problem"}


def test_a_check_that_breaks_is_a_problem_in_one_line():
    def broken():
        raise ImportError("libcudart.so:\nno such file")

    found = doctor.examined("torch", broken)
    assert (found.level, found.detail) == ("problem", "ImportError: libcudart.so: no such file")


def test_this_machine_has_no_problem(tmp_path):
    findings = doctor.examine(ROOT, tmp_path)
    assert not [str(finding) for finding in findings if finding.level == "problem"]
    assert {"torch", "kernel", "memory", "runs"} <= set(levels(findings))
