import math
from contextlib import suppress
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_course import write_lab
from pydantic import Field

from labsupport.core.errors import LabError
from labsupport.runs.parameters import Parameter, parameters_of

WHOLE = Parameter("epochs", Annotated[int, Field(ge=1, le=500)], 2)
REAL = Parameter("rate", float, 0.5)
FLAG = Parameter("shuffle", bool, True)
CHOICE = Parameter("schedule", Literal["onecycle", "constant"], "onecycle")


def allowed(parameter, *values):
    """Those of the values that a parameter takes."""
    found = []
    for value in values:
        with suppress(LabError):
            found.append(parameter.check(value))
    return found


def test_reads_names_types_defaults_and_limits(course):
    found = parameters_of(course / "00_first.ipynb")
    assert list(found) == ["profile", "seed", "rate", "shuffle", "schedule", "out"]
    assert found["out"] == Parameter("out", str, "../runs/interactive")
    assert found["shuffle"] == Parameter("shuffle", bool, True)
    assert allowed(found["seed"], -1, 0, 99, 100, 1.0) == [0, 99]
    assert allowed(found["rate"], -0.1, 0, 1, 1.1) == [0.0, 1.0]
    assert allowed(found["schedule"], "onecycle", "constant", "cosine") == ["onecycle", "constant"]


def test_ranges_may_be_open_at_one_end(course):
    cell = "a: float = -1.5  # [..0]\nb: int = 3  # up from one [1..]"
    found = parameters_of(write_lab(course, "02_third", parameters=cell))
    assert allowed(found["a"], -1e300, 0, 1e-9) == [-1e300, 0]
    assert allowed(found["b"], 0, 1, 10**15) == [1, 10**15]


def test_signs_in_texts_and_comments_are_only_signs(course):
    cell = 'a: str = "x # y = [1|2]"  # 0 = none\n# a line of its own\nb: int = 1'
    found = parameters_of(write_lab(course, "02_third", parameters=cell))
    assert found["a"] == Parameter("a", str, "x # y = [1|2]")
    assert found["b"] == Parameter("b", int, 1)


@pytest.mark.parametrize(
    "cell",
    [
        "a: int = 1; b: int = 2",
        "a: int = (\n    1)",
        "a.b: int = 1",
        "a = 1",
        "a: list = [1]",
        "a: int = 1 + x",
        "a: int = 1.5",
        "a: int = True",
        "a: int = 9  # [1..5]",
        "a: int = 1  # [one..two]",
        "a: str = 'x'  # [0..9]",
        "import os",
        "a: int =",
    ],
)
def test_a_cell_of_another_form_is_refused(course, cell):
    path = write_lab(course, "02_third", parameters=cell)
    with pytest.raises(LabError, match=r"02_third.*one plain `name: type = value"):
        parameters_of(path)


def test_a_notebook_without_a_parameters_cell_is_refused(course):
    path = course / "00_first.ipynb"
    path.write_text(path.read_text().replace('"parameters"', '"other"'))
    with pytest.raises(LabError, match="0 parameters cells"):
        parameters_of(path)


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [(WHOLE, "5", 5), (REAL, "1", 1.0), (REAL, "1e-3", 1e-3), (FLAG, "False", False)],
)
def test_parses_text_by_type(parameter, text, value):
    parsed = parameter.parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *((WHOLE, value) for value in (0, 501, 2.0, True, "2", None)),
        *((REAL, value) for value in (True, "fast", "nan", math.nan, math.inf, [1.0])),
        *((FLAG, value) for value in (1, "true")),
        *((CHOICE, value) for value in ("Constant", "", 1)),
    ],
)
def test_wrong_types_and_ranges_are_refused(parameter, value):
    with pytest.raises(LabError, match=f"{parameter.name}=.*: Input should be"):
        parameter.check(value)


@pytest.mark.parametrize(
    ("parameter", "text"), [(WHOLE, "2.5"), (WHOLE, "x"), (FLAG, "2"), (REAL, "nan"), (CHOICE, "")]
)
def test_wrong_text_is_refused(parameter, text):
    with pytest.raises(LabError, match=f"{parameter.name}=.*: Input should be"):
        parameter.parse(text)


@given(st.integers(), st.integers(), st.integers())
def test_a_range_holds_both_its_ends_and_nothing_outside(low, high, value):
    parameter = Parameter("n", Annotated[int, Field(ge=low, le=high)], low)
    if low <= value <= high:
        assert parameter.check(value) == value
    else:
        with pytest.raises(LabError):
            parameter.check(value)
