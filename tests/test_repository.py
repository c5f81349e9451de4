"""The files beside the code agree: pins, environments, and what the README says."""

import ast
import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from labsupport.records.claims import number
from labsupport.records.definitions import read_definitions
from labsupport.runs.catalog import read_catalog
from labsupport.runs.profiles import all_parameters, load_profile

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GROUPS = {"runtime": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
INSTALL = f".[{','.join(PROJECT['optional-dependencies'])}]"
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())
DEFINITIONS = read_definitions(ROOT / "notebooks" / "claims.yaml")
CLAIMS = {claim.id: claim for _, claim in DEFINITIONS.each()}


def test_no_two_modules_of_tests_share_a_name():
    """pytest imports them by their names alone, and leaves out the second."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins():
    """Pinned version by name, for this machine's markers."""
    requirements = [Requirement(r) for r in (ROOT / "constraints.txt").read_text().splitlines()]
    here = default_environment()
    return {
        canonical(r.name): str(r.specifier).removeprefix("==")
        for r in requirements
        if r.marker is None or r.marker.evaluate(here)
    }


@pytest.mark.parametrize("group", GROUPS)
def test_every_dependency_is_pinned_within_its_bounds(group):
    pinned = pins()
    for line in GROUPS[group]:
        wanted = Requirement(line)
        assert canonical(wanted.name) in pinned, f"{wanted.name} has no pin"
        assert wanted.specifier.contains(pinned[canonical(wanted.name)], prereleases=True)


def test_what_is_installed_is_what_is_pinned():
    pinned = pins()
    direct = [Requirement(line).name for lines in GROUPS.values() for line in lines]
    assert not {
        n: version(n) for n in direct if Version(version(n)) != Version(pinned[canonical(n)])
    }


def test_conda_installs_the_same_through_the_same_constraints():
    (pip_lines,) = [entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict)]
    assert CONDA["name"] == PROJECT["name"]
    assert pip_lines == ["-c constraints.txt", f"-e {INSTALL}"]


def test_the_makefile_installs_the_same_groups():
    assert f'-c constraints.txt -e "{INSTALL}"' in (ROOT / "Makefile").read_text()


def test_conda_brings_a_python_that_the_project_allows():
    (python,) = [e for e in CONDA["dependencies"] if str(e).startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python="))


def test_no_pin_holds_an_address():
    for name in ("constraints.txt", "environment.yml", "pyproject.toml"):
        assert "://" not in (ROOT / name).read_text(), name


def test_the_readme_lists_every_lab_with_its_question_and_minutes():
    readme = (ROOT / "README.md").read_text()
    block = readme.split("<!-- labs -->")[1].split("<!-- /labs -->")[0]
    rows = [f"| {row} |" for row in map(lab_row, sorted((ROOT / "notebooks").glob("*.ipynb")))]
    assert block.split("\n")[1:-1] == rows


def lab_row(path):
    about = json.loads(path.read_text())["metadata"]["labs"]
    minutes = about["minutes"]
    link = f"[{path.stem}](notebooks/{path.name})"
    times = (f"{minutes[name]:g}" if name in minutes else "-" for name in ("quick", "lab"))
    return f"{link} | {about['question']} | {' / '.join(times)}"


def test_the_readme_quotes_the_reference_results():
    readme = (ROOT / "README.md").read_text()
    block = readme.split("<!-- reference -->")[1].split("<!-- /reference -->")[0]
    ids = re.findall(r"`([\w.]+)` \|", block)
    assert 5 <= len(ids) <= 12
    assert block.split("\n")[1:-1] == reference_rows(ids)


def reference_rows(ids):
    """The README's rows for these claims: statement and aim as defined, and what was measured."""
    reference = read_reference(ROOT / "data/reference/lab")
    return [reference_row(CLAIMS[id], reference.loc[id]) for id in ids]


def reference_row(claim, row):
    bound = row["bound"] if claim.aim == "computed" else claim.aim_in("lab")
    aim = "" if bound is None else f"{claim.relation} {number(bound)}"
    return f"| {claim.statement} `{claim.id}` | {number(row['measured'])} | {aim} |"


def read_reference(folder):
    frames = [pd.read_csv(path) for path in sorted(folder.glob("*/claims.csv"))]
    return pd.concat(frames).set_index("id")


def test_every_claim_of_the_reference_is_defined_with_the_same_figure_of_its_source():
    for id, row in read_reference(ROOT / "data/reference/lab").iterrows():
        assert id in DEFINITIONS.of(row["lab"])
        figure = float("nan") if CLAIMS[id].figure is None else CLAIMS[id].figure
        assert figure == pytest.approx(row["seed_value"], rel=5e-4, nan_ok=True), id


def test_aims_are_for_the_data_sets_of_their_profiles():
    catalog = read_catalog(ROOT / "notebooks")
    parameters = all_parameters(catalog)
    assert set(DEFINITIONS.other_datasets) <= set(catalog)
    for profile in DEFINITIONS.datasets:
        loaded = load_profile(profile, ROOT / "notebooks" / "profiles", parameters)
        for lab in catalog:
            chosen = loaded.values(lab, parameters[lab])["data"]
            assert chosen == DEFINITIONS.datasets_of(lab)[profile], lab


def rooms():
    """Each room of the package with its place in the line of CONTRIBUTING.md, from the left."""
    (line,) = [x for x in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if " -> " in x]
    places = enumerate(line.split(" -> "))
    return {name.strip(): place for place, part in places for name in part.split(",")}


def imported(path):
    """The rooms that a module imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "labsupport":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("labsupport."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            names = (name.name.split(".") for name in node.names)
            yield from (name[1] for name in names if name[0] == "labsupport" and len(name) > 1)


@pytest.mark.parametrize("room", sorted(rooms()))
def test_a_room_imports_from_itself_and_its_left_only(room):
    place, package = rooms(), ROOT / "labsupport"
    files = [*package.glob(f"{room}.py"), *package.glob(f"{room}/**/*.py")]
    assert files
    for path in files:
        wrong = [name for name in imported(path) if place[name] > place[room]]
        assert not wrong, f"{path.name} imports {wrong}"


def methods_imported(path):
    """The methods (their folders or modules) that a module imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "labsupport.methods":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("labsupport.methods."):
            yield node.module.split(".")[2]
        elif isinstance(node, ast.Import):
            names = (name.name.split(".") for name in node.names)
            yield from (name[2] for name in names if name[:2] == ["labsupport", "methods"])


METHODS = sorted(
    path for path in (ROOT / "labsupport" / "methods").iterdir() if not path.name.startswith("__")
)


@pytest.mark.parametrize("method", METHODS, ids=lambda path: path.stem)
def test_methods_do_not_import_each_other(method):
    """But pruning, built on surgery, and Deep Compression, which is two of them in turn."""
    built_on = {"pruning": {"surgery"}, "deep_compression": {"pruning", "sharing"}}
    allowed = {method.stem} | built_on.get(method.stem, set())
    for path in [method] if method.is_file() else method.rglob("*.py"):
        wrong = set(methods_imported(path)) - allowed
        assert not wrong, f"{path.name} imports {wrong}"


def test_every_module_stands_in_a_room():
    found = {path.stem for path in (ROOT / "labsupport").iterdir() if path.suffix in ("", ".py")}
    assert found - {"__init__", "__pycache__"} == set(rooms())
