from __future__ import annotations

from pathlib import Path

import pytest
from made_course import make_course


@pytest.fixture
def course(tmp_path) -> Path:
    return make_course(tmp_path / "notebooks")
