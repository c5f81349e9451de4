from labsupport.core.errors import LabError


def test_says_what_is_wrong_and_what_to_do():
    assert str(LabError("the disk is full.", "free some space")) == (
        "the disk is full; free some space."
    )
    assert str(LabError("the disk is full")) == "the disk is full."


def test_a_notebook_shows_one_line_and_no_stack():
    assert LabError("a", "b")._render_traceback_() == ["LabError: a; b."]
