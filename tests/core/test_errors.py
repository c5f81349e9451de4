from labsupport.core.errors import LINE_LENGTH, LabError, summarize


def test_says_what_is_wrong_and_what_to_do():
    assert str(LabError("the disk is full.", "free some space")) == (
        "the disk is full; free some space."
    )
    assert str(LabError("the disk is full")) == "the disk is full."


def test_a_notebook_shows_one_line_and_no_stack():
    assert LabError("a", "b")._render_traceback_() == ["LabError: a; b."]


def test_an_error_is_one_line_of_limited_length():
    assert summarize(OSError("a\n b \n\nc")) == "OSError: a b c"
    assert summarize(AssertionError()) == "AssertionError"
    assert len(summarize(ValueError("x" * 1000))) == LINE_LENGTH
