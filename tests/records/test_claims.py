import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.records.claims import Claim, html_table, number

numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(numbers, numbers)
def test_a_claim_compares_the_measured_number_with_its_bound(measured, bound):
    def holds(relation):
        return Claim("x", "…", measured, relation, bound).holds

    assert holds(">=") == (measured >= bound)
    assert holds("<=") == (measured <= bound)
    assert holds("==") == (measured == bound)


def test_a_number_that_could_not_be_measured_never_holds():
    for relation in ("==", ">=", "<="):
        assert Claim("x", "…", math.nan, relation, 1.0).holds is False


def test_a_reported_figure_neither_holds_nor_fails():
    assert Claim("x", "…", 3.0).holds is None
    assert Claim("x", "…", 3.0).verdict == "reported"


def test_a_bound_needs_a_relation_and_a_requirement_needs_a_bound():
    with pytest.raises(LabError, match="relation"):
        Claim("x", "…", 1.0, ">=")
    with pytest.raises(LabError, match="relation"):
        Claim("x", "…", 1.0, "reported", 2.0)
    with pytest.raises(LabError, match="required"):
        Claim("x", "…", 1.0, required=True)


def test_the_table_shows_failures_and_escapes_text():
    html = html_table(
        [Claim("a.b", "x < <script>", 1.0, ">=", 2.0, seed_value=0.5, source="t & u")]
    )
    assert "does not hold" in html
    assert "<script>" not in html
    assert "t &amp; u" in html


@pytest.mark.parametrize(
    ("value", "text"),
    [(1863690.0, "1,863,690"), (0.98654, "0.9865"), (None, ""), (math.nan, ""), (0.0, "0")],
)
def test_numbers_read_well(value, text):
    assert number(value) == text
