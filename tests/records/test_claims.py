"""Verdicts: a measured number against the aim that counts in its run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.records.claims import Claim, judge, number
from labsupport.records.definitions import ClaimDefinition

numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(numbers, numbers)
def test_a_claim_compares_the_measured_number_with_its_aim(measured, aim):
    def holds(relation):
        return Claim("x", "…", measured, relation, aim).holds

    assert holds(">") == (measured > aim)
    assert holds(">=") == (measured >= aim)
    assert holds("<=") == (measured <= aim)
    assert holds("==") == (measured == aim)


@pytest.mark.parametrize("relation", ["==", ">", ">=", "<="])
def test_a_number_that_was_looked_for_and_not_found_never_holds(relation):
    claim = Claim("x", "…", math.nan, relation, 1.0, required=True)
    assert claim.holds is False
    assert claim.broken


def test_a_number_without_an_aim_is_reported_and_none_is_not_measured():
    assert Claim("x", "…", 3.0).verdict == "reported"
    assert Claim("x", "…", None).verdict == "not measured"
    assert Claim("x", "…", math.nan).verdict == "not measured"
    assert Claim("x", "…", None, ">=", 1.0).verdict == "not measured"


def test_a_run_breaks_on_a_required_claim_with_an_aim_only():
    def broken(measured, aim, required):
        return Claim("x", "…", measured, ">=", aim, required=required).broken

    assert broken(1.0, 2.0, required=True)
    assert broken(None, 2.0, required=True)
    assert not broken(1.0, 2.0, required=False)
    assert not broken(1.0, None, required=True)
    assert not broken(3.0, 2.0, required=True)


EVERYWHERE = ClaimDefinition(id="a", statement="…", relation="==", aim=5)
TRAINED = ClaimDefinition(id="b", statement="…", relation=">=", aim={"quick": 0.9, "lab": 0.98})
FLOOR = ClaimDefinition(id="c", statement="…", relation="<=", aim="computed")
KNOWN = {claim.id: claim for claim in (EVERYWHERE, TRAINED, FLOOR)}


@pytest.mark.parametrize(
    ("profile", "aim", "verdict"),
    [("quick", 0.9, "holds"), ("lab", 0.98, "does not hold"), ("full", None, "reported")],
)
def test_an_aim_by_profile_counts_in_that_profile_only(profile, aim, verdict):
    claim = judge(KNOWN, profile, {"b": 0.95}, {}, {})["b"]
    assert (claim.bound, claim.verdict) == (aim, verdict)


def test_without_a_profile_exact_and_computed_aims_alone_count():
    values = {"a": 5, "b": 0.1, "c": 2.0}
    claims = judge(KNOWN, None, values, {"c": 1.5}, {"b": 0.97})
    assert [claim.verdict for claim in claims.values()] == ["holds", "reported", "does not hold"]
    assert claims["b"].relation == "reported"
    assert claims["b"].reference == 0.97
    assert claims["c"].bound == 1.5


def test_an_aim_that_a_run_cannot_compute_leaves_the_claim_reported():
    assert judge(KNOWN, "quick", {"c": 2.0}, {"c": None}, {})["c"].verdict == "reported"


def test_computed_aims_are_asked_for_and_no_others_taken():
    with pytest.raises(LabError, match=r"match: c;.*bounds"):
        judge(KNOWN, "quick", {"a": 5, "c": 1.0}, {}, {})
    with pytest.raises(LabError, match="match: a"):
        judge(KNOWN, "quick", {"a": 5}, {"a": 5.0}, {})


@pytest.mark.parametrize(
    ("value", "text"),
    [(1863690.0, "1,863,690"), (0.98654, "0.9865"), (None, ""), (math.nan, ""), (0.0, "0")],
)
def test_numbers_read_well(value, text):
    assert number(value) == text


def test_a_required_claim_needs_the_aim_that_a_run_computes():
    required = FLOOR.model_copy(update={"required": True})
    with pytest.raises(LabError, match="c is required and has the aim None"):
        judge({"c": required}, "quick", {"c": 1.0}, {"c": None}, {})
    claim = judge({"c": required}, "quick", {"c": None}, {"c": None}, {})["c"]
    assert claim.verdict == "not measured"


@pytest.mark.parametrize(("values", "bounds"), [({"c": "abc"}, {"c": 1}), ({"c": 1}, {"c": "abc"})])
def test_what_is_no_number_is_refused(values, bounds):
    with pytest.raises(LabError, match="c is a str, not a number"):
        judge(KNOWN, "quick", values, bounds, {})
