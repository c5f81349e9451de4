from pathlib import Path

import pytest
from made_course import write_lab

from labsupport.core.errors import LabError
from labsupport.runs.catalog import read_catalog
from labsupport.runs.profiles import all_parameters, load_profile, read_assignments

COURSE = Path(__file__).parents[2] / "notebooks"


def load(course, name):
    return load_profile(name, course / "profiles", all_parameters(read_catalog(course)))


def assign(course, *texts):
    return read_assignments(texts, all_parameters(read_catalog(course)))


def test_a_profile_changes_common_and_own_values(course):
    parameters = all_parameters(read_catalog(course))
    profile = load(course, "lab")
    first, second = (profile.values(lab, known) for lab, known in parameters.items())
    assert (first["rate"], first["seed"], first["shuffle"]) == (1.0, 0, True)
    assert (second["rate"], second["seed"], second["shuffle"]) == (1.0, 7, True)
    assert type(first["rate"]) is float
    assert (first["profile"], first["out"]) == ("lab", ".")


def test_a_profile_may_be_a_file(course, tmp_path):
    (tmp_path / "mine.yaml").write_text("labs: {00_first: {seed: 3}}")
    profile = load(course, str(tmp_path / "mine.yaml"))
    assert (profile.name, profile.labs) == ("mine", {"00_first": {"seed": 3}})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("al: {}", "al: Extra inputs are not permitted; a profile holds"),
        ("labs: {09_none: {}}", "unknown lab 09_none"),
        ("labs: {00_first: {sed: 1}}", "no parameter sed"),
        ("all: {sed: 1}", "no lab has a parameter sed"),
        ("all: {seed: 100}", "seed=100: Input should be less than or equal to 99"),
        ("all: {seed: true}", "seed=True: Input should be a valid integer"),
        ("all: {rate: fast}", "rate=fast: Input should be a valid number"),
        ("all: {shuffle: 1}", "shuffle=1: Input should be a valid boolean"),
        ("all: {out: x}", "`labs run` sets the parameter out itself; give --name"),
        ("all: [1]", "not a profile: all: Input should be a valid dictionary; a profile holds"),
        ("- 1", "not a profile: Input should be a valid dictionary.*; a profile holds"),
        ("labs: [1]", "not a profile: labs: Input should be a valid dictionary; a profile holds"),
        ("labs: {00_first: 1}", "not a profile: labs.00_first: Input should be a valid dict"),
        ("labs: {00_first: {1: 2}}", "no parameter 1"),
        ("{1: {}, al: {}}", "1: Keys should be strings; al: Extra inputs"),
        ("all: {", "not a profile.*a profile holds"),
    ],
)
def test_a_wrong_profile_is_refused_naming_its_file(course, text, problem):
    (course / "profiles" / "wrong.yaml").write_text(text)
    with pytest.raises(LabError, match=problem) as caught:
        load(course, "wrong")
    assert "wrong.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_that_yaml_reads_as_text_is_a_number(course):
    (course / "profiles" / "mine.yaml").write_text("all: {rate: 1e-3}")
    parameters = all_parameters(read_catalog(course))["00_first"]
    assert load(course, "mine").values("00_first", parameters)["rate"] == 1e-3


@pytest.mark.parametrize("name", ["lab.yaml", "lab.yml"])
def test_a_file_that_passes_for_a_profile_of_the_course_is_refused(course, tmp_path, name):
    (tmp_path / name).write_text("all: {}")
    with pytest.raises(LabError, match="is not the course's profile lab"):
        load(course, str(tmp_path / name))
    assert load(course, str(course / "profiles" / "lab.yaml")).name == "lab"


def test_an_unknown_profile_is_refused_with_the_list(course):
    with pytest.raises(LabError, match="lab, quick"):
        load(course, "fast")


def test_assignments_by_number_by_name_and_for_all(course):
    values = assign(course, "1.seed=5", "seed=3", "00_first.rate=0.25")
    assert values == {"00_first": {"seed": 3, "rate": 0.25}, "01_second": {"seed": 5}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed", "no value"),
        ("=3", "no parameter name"),
        ("0.=3", "no parameter name"),
        ("sed=1", "no lab has a parameter sed"),
        ("7.seed=1", "no lab has the name or number '7'"),
        ("0.sed=1", "00_first has no parameter sed.*profile, seed, rate"),
        ("0.seed=1.5", "seed=1.5: Input should be a valid integer"),
        ("0.schedule=cosine", "Input should be 'onecycle' or 'constant'"),
        ("profile=lab", "--profile"),
        ("0.out=x", "--name"),
    ],
)
def test_wrong_assignments_are_refused(course, text, problem):
    with pytest.raises(LabError, match=problem):
        assign(course, text)


def test_data_sets_are_checked_by_name(course):
    write_lab(course, "02_third", parameters='data: str = "mnist5k"  # data set')
    with pytest.raises(LabError, match="mnist5k"):
        assign(course, "data=mnits")
    assert assign(course, "data=csv:mine.csv")["02_third"] == {"data": "csv:mine.csv"}


@pytest.mark.skipif(not list(COURSE.glob("[0-9]*.ipynb")), reason="no labs in this checkout")
@pytest.mark.parametrize("name", ["quick", "lab", "full"])
def test_the_profiles_of_the_course_fit_its_labs(name):
    catalog = read_catalog(COURSE)
    parameters = all_parameters(catalog)
    profile = load_profile(name, COURSE / "profiles", parameters)
    for lab in catalog:
        assert profile.values(lab, parameters[lab])["profile"] == name
