"""The fingerprint of code changes with a module and what it imports, and with nothing else."""

import importlib
import sys

import pytest

from labsupport.training import sources
from labsupport.training.sources import code_fingerprint


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A reader's modules: one imports another, which imports the course."""
    files = {
        "my_loss.py": "import json, torch\nfrom my_parts import piece\n",
        "my_parts/__init__.py": "from . import piece\n",
        "my_parts/piece.py": "from labsupport.core.errors import LabError\n",
        "my_other.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def test_imports_are_followed_into_the_course_and_not_into_libraries(modules):
    found = sources._with_imports(frozenset({"my_loss"}))
    assert sorted(found) == ["labsupport.core.errors", "my_loss", "my_parts", "my_parts.piece"]


def test_it_changes_with_what_is_imported_and_with_nothing_else(modules):
    before = code_fingerprint(["my_loss"])
    assert code_fingerprint(["my_loss"]) == before
    (modules / "my_other.py").write_text("changed = True\n")
    assert code_fingerprint(["my_loss"]) == before
    assert code_fingerprint(["my_loss", "my_other"]) != before
    (modules / "my_parts" / "piece.py").write_text("changed = True\n")
    assert code_fingerprint(["my_loss"]) != before


def test_training_stands_on_data_and_on_no_method():
    found = sources._with_imports(frozenset({"labsupport.training.loop"}))
    assert {"labsupport.training.loop", "labsupport.data.splits"} <= found.keys()
    assert not [name for name in found if name.startswith("labsupport.methods")]


def test_what_is_no_module_or_has_no_source_adds_nothing():
    assert code_fingerprint(["torch", "math", "no_such_module", "torch.relu"]) == code_fingerprint(
        []
    )
