import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_course import write_lab

from labsupport.core.errors import LabError
from labsupport.runs.parameters import Parameter, parameters_of

WHOLE = Parameter("epochs", int, 2, low=1, high=500)
REAL = Parameter("rate", float, 0.5)
FLAG = Parameter("shuffle", bool, True)
CHOICE = Parameter("schedule", str, "onecycle", choices=("onecycle", "constant"))


def test_reads_names_types_defaults_help_and_limits(course):
    found = parameters_of(course / "00_first.ipynb")
    assert list(found) == ["profile", "seed", "rate", "shuffle", "schedule", "out"]
    assert found["seed"] == Parameter("seed", int, 0, "of everything random", 0, 99)
    assert found["rate"].type is float
    assert found["shuffle"] == Parameter("shuffle", bool, True, "whether to shuffle")
    assert found["schedule"].choices == ("onecycle", "constant")
    assert found["out"].default == "../runs/interactive"


def test_half_open_ranges_and_number_choices(course):
    cell = "a: float = -1.5  # [..0]\nb: int = 3  # up from one [1..]\nc: int = 8  # [4|8]"
    found = parameters_of(write_lab(course, "02_third", parameters=cell))
    assert (found["a"].low, found["a"].high) == (-math.inf, 0)
    assert (found["b"].low, found["b"].high) == (1, math.inf)
    assert found["c"].choices == (4, 8)


def test_signs_in_texts_and_comments_are_only_signs(course):
    cell = 'a: str = "x # y = [1|2]"  # 0 = none\n# a line of its own\nb: int = 1'
    found = parameters_of(write_lab(course, "02_third", parameters=cell))
    assert found["a"] == Parameter("a", str, "x # y = [1|2]", "0 = none")
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
        *((REAL, value) for value in (True, "1e-3", math.nan, math.inf, [1.0])),
        *((FLAG, value) for value in (1, "true")),
        *((CHOICE, value) for value in ("Constant", "", 1)),
    ],
)
def test_wrong_types_and_ranges_are_refused(parameter, value):
    with pytest.raises(LabError, match=f"{parameter.name}=.*is not"):
        parameter.check(value)


@pytest.mark.parametrize(
    ("parameter", "text"), [(WHOLE, "2.0"), (WHOLE, "x"), (FLAG, "1"), (REAL, "nan"), (CHOICE, "")]
)
def test_wrong_text_is_refused(parameter, text):
    with pytest.raises(LabError, match=f"{parameter.name}=.*is not"):
        parameter.parse(text)


@given(st.integers(), st.integers(), st.integers())
def test_a_range_holds_both_its_ends_and_nothing_outside(low, high, value):
    parameter = Parameter("n", int, low, low=low, high=high)
    if low <= value <= high:
        assert parameter.check(value) == value
    else:
        with pytest.raises(LabError):
            parameter.check(value)
