import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from made_claims import write_definitions, write_reference

from labsupport.core.errors import LabError
from labsupport.records.claim_table import COLUMNS
from labsupport.records.reference import REFERENCE
from labsupport.records.results import Results
from labsupport.records.tables import counted_tables, read_table, read_tables, write_table

LABS = {
    "01_lab": [
        {
            "id": "a.b",
            "statement": "It is at least two",
            "relation": ">=",
            "aim": {"quick": 2},
            "required": True,
            "source": "a report",
            "figure": 1.5,
        },
        {"id": "a.c", "statement": "It is what it is"},
        {"id": "a.d", "statement": "It takes so long", "clocked": True},
    ],
    "02_lab": [{"id": "b.a", "statement": "Another lab says so"}],
}


@pytest.fixture
def results(tmp_path):
    write_definitions(tmp_path, LABS)
    return Results("01_lab", "quick", "mnist5k", tmp_path, tmp_path)


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


def test_each_variant_that_was_measured_becomes_a_scorecard(results):
    measured = {"float": {"accuracy": 0.9, "base": "float"}, "int8": {"accuracy": 0.8}}
    results.score_each("low precision", measured, 3, "folder:/mine/photos", "cnn")
    kept = results.scorecards()
    assert kept[["variant", "accuracy", "seed", "network", "dataset"]].values.tolist() == [
        ["float", 0.9, 3, "cnn", "folder:photos"], ["int8", 0.8, 3, "cnn", "folder:photos"]
    ]  # fmt: skip


def test_a_scorecard_measured_again_replaces_the_first(results, tmp_path):
    rows = pd.DataFrame({"variant": ["a", "b"], "seed": [0, 0], "accuracy": [0.9, 0.8]})
    for _ in range(2):
        results.score_rows("sweep", rows)
        results.score("base", "a", 0, accuracy=0.5)
    assert list(read_tables(tmp_path, "scorecards")["accuracy"]) == [0.9, 0.8, 0.5]


def test_networks_and_data_sets_have_scorecards_of_their_own(results, tmp_path):
    rows = pd.DataFrame({"variant": "half", "seed": 0, "network": ["mlp", "cnn", None]})
    for _ in range(2):
        results.score("base", "x", 0, network="mlp")
        results.score("base", "x", 0, network="cnn")
        results.score("base", "x", 0, network="mlp", dataset="csv:/home/me/own.csv")
        results.score_rows("pruned", rows)
        results.score_rows("pruned", rows[:2].assign(dataset=["fashion_mnist", "folder:/a/b"]))
    cards = read_tables(tmp_path, "scorecards")
    assert cards[["network", "dataset"]].fillna("none").values.tolist() == [
        *(["mlp", "mnist5k"], ["cnn", "mnist5k"], ["mlp", "csv:own.csv"]),
        *(["mlp", "mnist5k"], ["cnn", "mnist5k"], ["none", "mnist5k"]),
        *(["mlp", "fashion_mnist"], ["cnn", "folder:b"]),
    ]


def test_claims_are_stored_with_their_lab_profile_and_data(results, tmp_path):
    results.claims({"a.b": 3, "a.c": torch.tensor(4.0), "a.d": 1})
    claims = read_tables(tmp_path, "claims").set_index("id")
    assert list(claims.reset_index().columns) == COLUMNS
    assert bool(claims.loc["a.b", "holds"]) is True
    assert pd.isna(claims.loc["a.c", "holds"])
    assert claims.loc["a.b", ["lab", "profile", "dataset"]].tolist() == [
        "01_lab", "quick", "mnist5k",
    ]  # fmt: skip
    assert claims["measured"].to_dict() == {"a.b": 3, "a.c": 4, "a.d": 1}
    assert claims.loc["a.b", ["bound", "seed_value", "source"]].tolist() == [2, 1.5, "a report"]


def test_claims_stand_beside_the_reference(results, tmp_path):
    write_reference(tmp_path, "01_lab", {"a.b": 2.5})
    assert [claim.reference for claim in results.claims({"a.b": 3, "a.c": 4}).claims] == [2.5, None]


def test_on_other_data_a_claim_is_only_reported(tmp_path):
    write_definitions(tmp_path, LABS)
    results = Results("01_lab", "quick", "folder:/home/me/own", tmp_path, tmp_path)
    assert [claim.verdict for claim in results.claims({"a.b": 1}).claims] == ["reported"]


def test_claims_keep_the_order_of_their_file_and_the_last_value(results, tmp_path):
    results.claims({"a.c": 1})
    assert [claim.id for claim in results.claims({"a.b": 3, "a.c": 2}).claims] == ["a.b", "a.c"]
    assert read_tables(tmp_path, "claims")["measured"].tolist() == [3, 2]
    assert [claim.id for claim in results.claims({"a.d": None}).claims] == ["a.b", "a.c", "a.d"]


def test_a_claim_of_another_lab_is_refused_and_nothing_stored(results, tmp_path):
    for values, bounds in (({"b.a": 1}, {}), ({"a.b": 1}, {"b.a": 1})):
        with pytest.raises(LabError, match=r"01_lab has no claim b\.a; its claims .* a\.b, a\.c"):
            results.claims(values, bounds)
    assert read_tables(tmp_path, "claims").empty


@pytest.mark.parametrize("value", ["abc", [1], torch.ones(2)])
def test_a_value_that_is_no_number_is_refused_and_nothing_stored(results, tmp_path, value):
    with pytest.raises(LabError, match=rf"a\.b is a {type(value).__name__}, not a number"):
        results.claims({"a.b": value})
    assert read_tables(tmp_path, "claims").empty


def test_a_table_of_the_reference_is_read_and_a_wrong_name_explained(results, tmp_path):
    frame = pd.DataFrame({"width": [4], "accuracy": [0.9]})
    write_table(tmp_path / REFERENCE / "01_lab" / "sweep.csv", frame)
    pd.testing.assert_frame_equal(results.reference("sweep"), frame)
    with pytest.raises(LabError, match="01_lab has no table swept; it has: sweep"):
        results.reference("swept")


def test_the_course_itself_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Results("01_baseline_mlp", "quick", "mnist5k", tmp_path)
    assert "test_accuracy" in results.reference("seeds")
    (claim,) = results.claims({"mlp.parameters": 1}).claims
    assert claim.id == "mlp.parameters"


def test_a_run_stands_beside_the_reference_by_key(results, tmp_path):
    reference = pd.DataFrame(
        {"width": [4, 4, 8], "seed": [0, 1, 0], "accuracy": [0.8, 0.9, 1.0], "macs": [1, 1, 2]}
    )
    write_table(tmp_path / REFERENCE / "01_lab" / "sweep.csv", reference)
    run = pd.DataFrame({"width": [16, 4], "accuracy": [0.5, 0.6], "macs": [3, 1]})
    sides = results.beside_reference(run, "sweep", on=["width"], columns=["macs", "accuracy"])
    assert list(sides.columns) == [
        (column, side) for column in ("macs", "accuracy") for side in ("this run", "reference")
    ]
    assert sides.loc[4].tolist() == pytest.approx([1, 1, 0.6, 0.85])
    assert sides.loc[16].isna().tolist() == [False, True, False, True]
    assert sides.loc[8].isna().tolist() == [True, False, True, False]


def test_rows_of_the_run_and_of_the_reference_say_whose_they_are(results, tmp_path):
    write_table(tmp_path / REFERENCE / "01_lab" / "sweep.csv", pd.DataFrame({"width": [4, 8]}))
    both = results.with_reference(pd.DataFrame({"width": [16]}, index=[7]), "sweep")
    assert both.to_dict("list") == {"run": ["this run", *["reference"] * 2], "width": [16, 4, 8]}
    assert both.index.tolist() == [0, 1, 2]


def test_counted_tables_leave_out_what_was_clocked(results, tmp_path):
    results.table("t", pd.DataFrame({"macs": [1], "median_ms": [0.3], "speedup_clocked": [2.0]}))
    results.claims({"a.b": 1, "a.d": 1})
    tables = counted_tables(tmp_path)
    assert list(tables["01_lab/t"]) == ["macs"]
    assert tables["01_lab/claims"]["id"].tolist() == ["a.b"]


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
    write_definitions(tmp_path, LABS)
    results = Results("01_lab", "quick", "csv:/home/me/digits.csv", tmp_path, tmp_path)
    results.claims({"a.b": 1})
    assert read_tables(tmp_path, "claims")["dataset"].tolist() == ["csv:digits.csv"]
