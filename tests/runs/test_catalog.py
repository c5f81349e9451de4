import pytest
from made_course import write_lab

from labsupport.core.errors import LabError
from labsupport.runs.catalog import find_lab, read_catalog, select


def test_reads_labs_in_order_with_their_facts(course):
    (course / "notes.ipynb").write_text("not a lab, and not read")
    catalog = read_catalog(course)
    assert list(catalog) == ["00_first", "01_second"]
    assert catalog["01_second"].needs == ("00_first",)
    assert catalog["00_first"].minutes == {"quick": 0.5, "lab": 3}


@pytest.mark.parametrize("text", ["1", "01", "01_second"])
def test_finds_a_lab_by_number_and_by_name(course, text):
    assert find_lab(read_catalog(course), text) == "01_second"


@pytest.mark.parametrize("text", ["7", "second", "", "-1"])
def test_an_unknown_lab_is_refused_with_the_list(course, text):
    with pytest.raises(LabError, match="00_first, 01_second"):
        find_lab(read_catalog(course), text)


def test_selects_only_and_ranges(course):
    write_lab(course, "02_third")
    catalog = list(read_catalog(course))
    assert select(catalog) == ["00_first", "01_second", "02_third"]
    assert select(catalog, first="1") == ["01_second", "02_third"]
    assert select(catalog, last="01") == ["00_first", "01_second"]
    assert select(catalog, only=["2", "0"]) == ["00_first", "02_third"]


@pytest.mark.parametrize("asked", [{"only": ["0"], "first": "0"}, {"first": "1", "last": "0"}])
def test_refuses_selections_that_make_no_sense(course, asked):
    with pytest.raises(LabError):
        select(list(read_catalog(course)), **asked)


def test_refuses_unknown_and_circular_needs(course):
    write_lab(course, "02_third", needs=["09_none"])
    with pytest.raises(LabError, match="02_third needs 09_none"):
        read_catalog(course)
    write_lab(course, "02_third", needs=["03_fourth"])
    write_lab(course, "03_fourth", needs=["02_third"])
    with pytest.raises(LabError, match="circle"):
        read_catalog(course)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": []}'])
def test_a_damaged_notebook_is_named(course, text):
    (course / "02_third.ipynb").write_text(text)
    with pytest.raises(LabError, match=r"02_third\.ipynb is not a lab"):
        read_catalog(course)


def test_a_folder_without_labs_is_refused(tmp_path):
    with pytest.raises(LabError, match="--notebooks"):
        read_catalog(tmp_path)
