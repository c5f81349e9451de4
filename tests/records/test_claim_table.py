"""Claims as a table: what a reader sees, and what comes back from claims.csv."""

import math

import pytest
from made_claims import write_definitions, write_reference

from labsupport.core.errors import LabError
from labsupport.records.claim_table import ClaimTable, claim_frame, claim_line, read_claims
from labsupport.records.claims import Claim
from labsupport.records.tables import write_table

CLAIMS = [
    Claim("a.exact", "It is exact", 3.0, "==", 3.0, required=True, source="a report", figure=4.0),
    Claim("a.low", "It is low", 0.5, ">=", 2.0, reference=0.97),
    Claim("a.none", "There is nothing to measure", None, ">=", 2.0),
    Claim("a.vain", "It was looked for", math.nan, "<=", 2.0, clocked=True),
    Claim("a.said", "It is said", 1.5, source="a report"),
]

DEFINED = [
    {
        "id": "a.exact",
        "statement": "It is exact",
        **{"relation": "==", "aim": 3, "required": True, "source": "a report", "figure": 4},
    },
    {"id": "a.low", "statement": "It is low", "relation": ">=", "aim": {"quick": 2}},
    {"id": "a.none", "statement": "There is nothing to measure", "relation": ">=", "aim": 2},
    {
        "id": "a.vain",
        "statement": "It was looked for",
        **{"relation": "<=", "aim": "computed", "clocked": True},
    },
    {"id": "a.said", "statement": "It is said", "source": "a report"},
]


@pytest.fixture
def course(tmp_path):
    """A course that makes the claims above."""
    write_definitions(tmp_path, {"01_lab": DEFINED})
    return tmp_path


def write_claims(folder):
    """The claims above, as a run on the quick profile's data leaves them."""
    frame = claim_frame(CLAIMS, "01_lab", "quick", "mnist5k")
    write_table(folder / "tables/01_lab/claims.csv", frame)


def test_the_table_shows_run_reference_aim_source_and_verdict():
    html = ClaimTable(CLAIMS)._repr_html_()
    rows = html.split("<tr>")[2:]
    assert [row.count("<td") for row in rows] == [6] * len(CLAIMS)
    for text in ("It is exact", "a.exact", ">3<", ">== 3<", "4 a report", ">holds<"):
        assert text in rows[0]
    for text in (">0.5<", ">0.97<", ">&gt;= 2<", ">does not hold<"):
        assert text in rows[1]


def test_the_table_escapes_text():
    html = ClaimTable([Claim("a", "x < <script>", 1.0, source="t & u", figure=0.5)])._repr_html_()
    assert "<script>" not in html
    assert "t &amp; u" in html


def test_a_line_of_text_says_the_same():
    assert repr(ClaimTable(CLAIMS)).splitlines() == [claim_line(claim) for claim in CLAIMS]
    expected = "holds         a.exact: 3, aim == 3, a report 4 (required) - It is exact"
    assert claim_line(CLAIMS[0]) == expected
    assert claim_line(CLAIMS[1]).startswith("does not hold a.low: 0.5, aim >= 2, reference 0.97 - ")


def test_claims_come_back_from_disk_beside_the_reference(course):
    write_claims(course)
    write_reference(course, "01_lab", {"a.low": 0.97, "a.other": 1.0})
    (read,) = read_claims(course, course).values()
    assert [repr(claim) for claim in read] == [repr(claim) for claim in CLAIMS]
    assert [claim.verdict for claim in read] == [
        *("holds", "does not hold", "not measured", "does not hold", "reported"),
    ]


def test_an_aim_that_was_changed_since_is_judged_anew(course):
    write_claims(course)
    raised = DEFINED[0] | {"statement": "It is more", "aim": 2}
    lowered = DEFINED[1] | {"aim": {"quick": 0.4}}
    write_definitions(course, {"01_lab": [raised, lowered]})
    (read,) = read_claims(course, course).values()
    assert [(claim.id, claim.bound, claim.verdict) for claim in read] == [
        ("a.exact", 2, "does not hold"),
        ("a.low", 0.4, "holds"),
    ]
    assert read[0].statement == "It is more"


def test_a_run_on_other_data_has_no_aims_of_a_profile(course):
    frame = claim_frame(CLAIMS, "01_lab", "quick", "csv:mine")
    write_table(course / "tables/01_lab/claims.csv", frame)
    (read,) = read_claims(course, course).values()
    assert [claim.bound for claim in read[:2]] == [3, None]


def test_a_run_without_claims_has_none_and_damaged_ones_are_named(course):
    assert read_claims(course, course) == {}
    table = course / "tables/01_lab/claims.csv"
    table.parent.mkdir(parents=True)
    table.write_text("id,lab\na.low,01_lab\n")
    with pytest.raises(LabError, match="damaged claims"):
        read_claims(course, course)


@pytest.mark.parametrize(("row", "column"), [(1, "measured"), (3, "bound")])
def test_a_damaged_cell_is_named(course, row, column):
    table = course / "tables/01_lab/claims.csv"
    frame = claim_frame(CLAIMS, "01_lab", "quick", "mnist5k").astype({column: object})
    frame.loc[row, column] = "x"
    write_table(table, frame)
    with pytest.raises(LabError, match=r"damaged claims in .*01_lab"):
        read_claims(course, course)
