"""All labs' tables as one: what is there is gathered, what is missing or damaged is named."""

import pandas as pd
import pytest
from made_claims import write_definitions

from labsupport.core.errors import LabError
from labsupport.records.claim_table import claim_frame
from labsupport.records.claims import Claim
from labsupport.records.reference import REFERENCE
from labsupport.records.scoreboard import TIME, reference_scoreboard, run_scoreboard
from labsupport.records.scorecard import COLUMNS, Scorecard, as_frame
from labsupport.records.tables import write_table

CLAIM = {"id": "a.low", "statement": "It is low", "relation": ">=", "aim": 2}


def card(lab, variant, seed=0, dataset="mnist", method="trick", **figures):
    return Scorecard(lab, method, variant, dataset, "lab", seed, **figures)


@pytest.fixture
def course(tmp_path):
    """A course with claims of lab 01, and scorecards of labs 00 and 01 in its reference."""
    write_definitions(tmp_path, {"01_second": [CLAIM]})
    for lab in ("00_first", "01_second"):
        timed = {TIME: 2.0}
        cards = [card(lab, "base", accuracy=0.9, **timed), card(lab, "small", accuracy=0.8)]
        cards = as_frame(cards)
        write_table(tmp_path / REFERENCE / lab / "scorecards.csv", cards)
        claims = [Claim("a.low", "It is low", 1.5)] if lab == "01_second" else []
        frame = claim_frame(claims, lab, "lab", "mnist")
        write_table(tmp_path / REFERENCE / lab / "claims.csv", frame)
    return tmp_path


def scorecards_of(course, lab="00_first"):
    return course / REFERENCE / lab / "scorecards.csv"


def test_all_labs_are_gathered_with_nothing_to_say_about_them(course):
    board = reference_scoreboard(course, 2)
    assert board.scorecards["lab"].tolist() == 2 * ["00_first"] + 2 * ["01_second"]
    assert board.scorecards.columns.tolist() == COLUMNS
    assert repr(board) == "the reference: 4 scorecards and 1 claims of 2 labs"


def test_claims_are_judged_by_the_aims_of_now(course):
    (claim,) = reference_scoreboard(course, 2).claims.to_dict("records")
    assert claim["lab"] == "01_second"
    assert claim["measured"] == 1.5
    assert claim["aim"] == ">= 2"
    assert claim["verdict"] == "does not hold"


def test_missing_labs_are_named_and_later_ones_left_out(course):
    board = reference_scoreboard(course, 4)
    assert repr(board).splitlines()[1:] == ["  missing: labs 02, 03"]
    assert set(reference_scoreboard(course, 1).scorecards["lab"]) == {"00_first"}


def test_what_an_older_table_lacks_stays_empty_and_is_named(course):
    table = pd.read_csv(scorecards_of(course)).drop(columns=["macs", "runtime"]).assign(old_ms=1)
    write_table(scorecards_of(course), table)
    board = reference_scoreboard(course, 2)
    assert board.problems == {
        "00_first": "its scorecards are of another version, 2 columns stay empty"
    }
    assert board.scorecards.columns.tolist() == COLUMNS
    assert len(board.scorecards) == 4


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "no readable scorecards"),
        (lambda path: path.write_bytes(b"\xff\x00"), "no readable scorecards"),
        (
            lambda path: path.write_text("lab,method,variant,dataset,seed\na,b,c,d,0\n"),
            "its scorecards are of another version, without profile, accuracy",
        ),
        (
            lambda path: path.write_text(path.read_text().replace("0.9", "good")),
            "its scorecards have words in place of numbers",
        ),
    ],
)
def test_a_lab_without_readable_scorecards_is_named_and_the_rest_is_gathered(course, spoil, said):
    spoil(scorecards_of(course))
    board = reference_scoreboard(course, 2)
    assert board.problems == {"00_first": said}
    assert set(board.scorecards["lab"]) == {"01_second"}


def test_damaged_claims_are_named_and_the_scorecards_kept(course):
    (course / REFERENCE / "01_second/claims.csv").write_text("id\na.low\n")
    board = reference_scoreboard(course, 2)
    assert board.problems == {"01_second": "no readable claims"}
    assert len(board.scorecards) == 4
    assert board.claims.empty


def test_without_any_table_a_line_says_what_to_do(tmp_path):
    write_definitions(tmp_path, {})
    with pytest.raises(LabError, match="with a time; get data/reference back, or run the labs"):
        reference_scoreboard(tmp_path, 2)


def test_a_reference_in_which_nothing_was_clocked_is_refused(course):
    for lab in ("00_first", "01_second"):
        table = pd.read_csv(scorecards_of(course, lab))
        write_table(scorecards_of(course, lab), table.drop(columns=TIME))
    with pytest.raises(LabError, match="no scorecards with a time"):
        reference_scoreboard(course, 2)


def test_a_run_without_scorecards_is_none(course, tmp_path):
    assert run_scoreboard(tmp_path / "nowhere", course, 2) is None
    (course / "tables/00_first").mkdir(parents=True)
    assert run_scoreboard(course, course, 2) is None


def test_a_run_has_its_own_tables(course):
    cards = as_frame([card("00_first", "mine", accuracy=0.7)])
    write_table(course / "tables/00_first/scorecards.csv", cards)
    board = run_scoreboard(course, course, 2)
    assert board.scorecards["variant"].tolist() == ["mine"]
    assert board.problems == {"00_first": "no readable claims", "missing": "labs 01"}


def test_a_labs_own_table_may_be_missing(course):
    write_table(course / REFERENCE / "00_first/speeds.csv", pd.DataFrame({"a": [1], "b": [2]}))
    board = reference_scoreboard(course, 2)
    assert board.table("00", "speeds", ["b", "c"]).columns.tolist() == ["b", "c"]
    for number, name in (("01", "speeds"), ("07", "speeds")):
        assert board.table(number, name, ["b"]).empty
