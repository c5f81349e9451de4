import matplotlib.pyplot as plt
import pandas as pd
import pytest

from labsupport.core.errors import LabError
from labsupport.records.results import Results, counted_tables, read_table, read_tables


@pytest.fixture
def results(tmp_path):
    return Results("01_lab", "quick", "mnist5k", tmp_path)


def test_a_table_comes_back_to_the_last_digit(results, tmp_path):
    frame = pd.DataFrame({"x": [0.1 + 0.2, 1 / 3], "name": ["a", "b, c"]})
    assert results.table("t", frame) is frame
    pd.testing.assert_frame_equal(read_table(tmp_path / "tables/01_lab/t.csv"), frame)


def test_scorecards_of_all_labs_form_one_table(results, tmp_path):
    results.score("base", "2x1024", 0, accuracy=0.98, parameters=7)
    Results("02_lab", "quick", "mnist5k", tmp_path).score("base", "cnn", 1, macs=5)
    cards = read_tables(tmp_path, "scorecards")
    assert list(cards["lab"]) == ["01_lab", "02_lab"]
    assert cards.loc[0, "accuracy"] == 0.98
    assert pd.isna(cards.loc[1, "accuracy"])


def test_a_scorecard_has_no_unknown_column(results):
    with pytest.raises(LabError, match="speed"):
        results.score("base", "x", 0, speed=3)


def test_the_rows_of_a_table_become_scorecards_at_once(results, tmp_path):
    rows = pd.DataFrame(
        {"variant": ["a", "a"], "seed": [0, 1], "width": [4, 4], "accuracy": [0.9, 0.8]}
    )
    cards = results.score_rows("sweep", rows)
    assert list(cards["accuracy"]) == [0.9, 0.8]
    kept = read_tables(tmp_path, "scorecards")
    assert kept[["lab", "method", "variant", "profile"]].values.tolist() == [
        ["01_lab", "sweep", "a", "quick"]
    ] * 2  # fmt: skip
    assert "width" not in kept


def test_a_scorecard_measured_again_replaces_the_first(results, tmp_path):
    rows = pd.DataFrame({"variant": ["a", "b"], "seed": [0, 0], "accuracy": [0.9, 0.8]})
    for _ in range(2):
        results.score_rows("sweep", rows)
        results.score("base", "a", 0, accuracy=0.5)
    assert list(read_tables(tmp_path, "scorecards")["accuracy"]) == [0.9, 0.8, 0.5]


def test_claims_are_stored_with_their_lab_profile_and_data(results, tmp_path):
    results.claim("a.b", "at least two", 3, ">=", 2, required=True, seed=1.5, source="000")
    results.claim("a.c", "as it is", 4)
    claims = read_tables(tmp_path, "claims").set_index("id")
    assert bool(claims.loc["a.b", "holds"]) is True
    assert pd.isna(claims.loc["a.c", "holds"])
    assert claims.loc["a.b", ["lab", "profile", "dataset"]].tolist() == [
        "01_lab", "quick", "mnist5k",
    ]  # fmt: skip
    assert claims.loc["a.b", "measured"] == 3


def test_a_claim_made_again_replaces_the_first(results, tmp_path):
    results.claim("a.b", "x", 1)
    results.claim("a.b", "x", 2)
    assert read_tables(tmp_path, "claims")["measured"].tolist() == [2]


def test_counted_tables_leave_out_what_was_clocked(results, tmp_path):
    results.table("t", pd.DataFrame({"macs": [1], "median_ms": [0.3], "speedup_clocked": [2.0]}))
    results.claim("a", "counted", 1)
    results.claim("b", "clocked", 1, clocked=True)
    tables = counted_tables(tmp_path)
    assert list(tables["01_lab/t"]) == ["macs"]
    assert tables["01_lab/claims"]["id"].tolist() == ["a"]


def test_a_table_that_is_none_is_explained(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    for name in ("empty.csv", "absent.csv"):
        with pytest.raises(LabError, match=name):
            read_table(tmp_path / name)


def test_a_figure_is_stored_as_png(results, tmp_path):
    figure, axis = plt.subplots()
    axis.plot([1, 2])
    results.figure("line", figure)
    assert (tmp_path / "figures/01_lab/line.png").read_bytes().startswith(b"\x89PNG")


def test_the_folders_of_a_users_data_stay_out_of_the_tables(tmp_path):
    results = Results("01_lab", "quick", "csv:/home/me/digits.csv", tmp_path)
    results.claim("a", "x", 1)
    assert read_tables(tmp_path, "claims")["dataset"].tolist() == ["csv:digits.csv"]
