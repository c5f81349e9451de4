"""The file of claims: what it may hold, and what is refused with lab and id."""

import pytest
from made_claims import DATASETS, write_definitions

from labsupport.core.course import course_root
from labsupport.core.errors import LabError
from labsupport.records.definitions import CLAIMS, read_definitions

FINE = {"id": "a.b", "statement": "It is two", "relation": ">=", "aim": 2, "required": True}


def read(tmp_path, **changes):
    claim = {key: value for key, value in (FINE | changes).items() if value != "absent"}
    return read_definitions(write_definitions(tmp_path, {"01_lab": [claim]}))


def test_a_claim_is_read_with_its_fields(tmp_path):
    claim = read(tmp_path, source="a report", figure=1.5, clocked=True).of("01_lab")["a.b"]
    assert (claim.statement, claim.relation, claim.aim) == ("It is two", ">=", 2.0)
    assert (claim.required, claim.clocked, claim.source, claim.figure) == (
        True,
        True,
        "a report",
        1.5,
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bound": 3}, "bound: Extra inputs"),
        ({"relation": "~"}, "relation: Input should be"),
        ({"aim": "0.98"}, "aim"),
        ({"aim": "2e-3"}, "aim"),
        ({"required": "yes"}, "required: Input should be a valid boolean"),
        ({"statement": "absent"}, "statement: Field required"),
        ({"aim": "absent"}, "a required claim needs an aim"),
        ({"aim": "absent", "required": False}, "a relation needs an aim"),
        ({"relation": "absent"}, "a relation needs an aim"),
        ({"figure": 3.0}, "a figure needs its source"),
        ({"aim": {"quick": 2, "slow": 3}}, "unknown profile slow"),
        ({"aim": {}}, "an aim by profile needs a profile"),
        ({"aim": float("nan")}, "aim.*finite number"),
        ({"aim": {"quick": float("inf")}}, "aim.*finite number"),
        ({"source": "a report", "figure": float("nan")}, "figure: Input should be a finite number"),
    ],
)
def test_a_mistake_is_named_with_its_lab_and_its_claim(tmp_path, changes, problem):
    with pytest.raises(LabError, match=rf"lab 01_lab claim a\.b.*{problem}"):
        read(tmp_path, **changes)


@pytest.mark.parametrize("second", ["01_lab", "02_lab"])
def test_an_id_stands_once_in_the_course(tmp_path, second):
    labs = {"01_lab": [FINE], "02_lab": []}
    labs[second] = [*labs[second], FINE]
    path = write_definitions(tmp_path, labs)
    with pytest.raises(LabError, match=rf"lab {second} claim a\.b stands in 01_lab"):
        read_definitions(path)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("  aim: 2", "  aim: 2\n    aim: 3", r"lab 01_lab claim a\.b aim"),
        ("  02_lab:", "  01_lab:", "labs 01_lab"),
        ("quick:", "lab: x\n  quick:", "datasets lab"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, old, new, named):
    path = write_definitions(tmp_path, {"01_lab": [FINE], "02_lab": []})
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(LabError, match=f"{named} is there twice"):
        read_definitions(path)


def test_an_empty_file_is_called_empty(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("# nothing yet\n")
    with pytest.raises(LabError, match=r"claims\.yaml: the file is empty"):
        read_definitions(path)


@pytest.mark.parametrize("text", ["", "- 1", "labs: {", "labs: {01_lab: [1]}\ndatasets: {}"])
def test_a_file_of_another_kind_is_refused(tmp_path, text):
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    with pytest.raises(LabError, match=r"claims\.yaml"):
        read_definitions(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(LabError, match=r"absent\.yaml"):
        read_definitions(tmp_path / "absent.yaml")


def test_aims_count_on_the_data_set_of_their_profile_only(tmp_path):
    definitions = read(tmp_path)
    for profile, dataset in DATASETS.items():
        assert definitions.profile_with_aims("01_lab", profile, dataset) == profile
    assert definitions.profile_with_aims("01_lab", "quick", "folder:own") is None
    assert definitions.profile_with_aims("01_lab", "my own", "mnist5k") is None


def test_a_lab_may_have_its_aims_for_another_data_set(tmp_path):
    other = {"02_lab": {"lab": "cifar10"}}
    definitions = read(tmp_path).model_copy(update={"other_datasets": other})
    assert definitions.profile_with_aims("02_lab", "lab", "cifar10") == "lab"
    assert definitions.profile_with_aims("02_lab", "lab", "mnist") is None
    assert definitions.profile_with_aims("02_lab", "quick", "mnist5k") == "quick"
    assert definitions.profile_with_aims("01_lab", "lab", "cifar10") is None


def test_claims_are_selected_from_one_lab(tmp_path):
    definitions = read(tmp_path)
    assert list(definitions.select("01_lab", ["a.b"])) == ["a.b"]
    with pytest.raises(LabError, match=r"02_lab has no claim a\.b"):
        definitions.select("02_lab", ["a.b"])


def test_the_course_has_claims_for_every_lab():
    labs = sorted(path.stem for path in (course_root() / "notebooks").glob("[0-9]*.ipynb"))
    assert list(read_definitions(course_root() / CLAIMS).labs) == labs
