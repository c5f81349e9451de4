import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell

from labsupport.coursework.needed import needed_cells


def kept(*sources, check="assert answer"):
    """Which of the cells above a check it needs."""
    cells = [new_code_cell(source) for source in sources]
    about = {"grade": True, "grade_id": "t", "points": 1}
    last = new_code_cell(check, metadata={"nbgrader": about})
    return [cell.source for cell in needed_cells([*cells, last])][:-1]


def test_definitions_are_followed_backwards_and_the_rest_is_left_out():
    used = ["import math", "base = math.pi", "def answer():\n    return base"]
    assert kept(used[0], "other = base2 = 1", used[1], "print(base)", used[2]) == used


def test_of_two_definitions_the_last_before_counts():
    assert kept("answer = slow()", "answer = 1") == ["answer = 1"]
    assert kept("answer = 1", "answer = answer + 1") == ["answer = 1", "answer = answer + 1"]


@pytest.mark.parametrize(
    "change",
    [
        "answer['x'] = 1",
        "answer.x = 1",
        "answer += [1]",
        "answer.append(1)",
        "for i in range(3):\n    answer[i] = i",
        "if True:\n    answer = 2",
        "del answer[0]",
        "with open('x') as answer.file:\n    pass",
    ],
)
def test_a_cell_that_changes_a_name_is_kept_with_the_one_that_made_it(change):
    assert kept("answer = []", change) == ["answer = []", change]


def test_names_that_a_loop_or_a_function_has_for_itself_are_not_looked_for():
    assert kept("net = 1", check="for net in []:\n    size = net\n    size + 1") == []
    assert kept("x = 1", check="[x for x in ()]") == []
    assert kept("x = 1", check="def f(x):\n    return x") == []
    assert kept("with_ = 1", check="with open('a') as with_:\n    with_.read()") == []


def test_names_read_inside_of_functions_and_comprehensions_are():
    assert kept("x = 1", check="f = lambda: [x for _ in ()]") == ["x = 1"]
    assert kept("x = 1", check="for x in x:\n    pass") == ["x = 1"]


def test_magics_are_read_over_and_code_that_is_no_python_gives_nothing():
    assert kept("%matplotlib inline\nanswer = 1") == ["%matplotlib inline\nanswer = 1"]
    assert kept("answer = = 1", "((((" * 500, "\0") == []


@given(st.lists(st.integers(0, 8), min_size=1, max_size=8), st.integers(1, 8))
def test_what_is_kept_of_a_chain_of_assignments_gives_the_same_answer(reads, asked):
    """Names n0...n8, each statement adding an earlier name to another."""
    sources = [f"n{i} = {i}" for i in range(9)]
    sources += [f"n{(7 * i + 3) % 9} = n{r} + n{(r + i) % 9}" for i, r in enumerate(reads)]
    whole, part = {}, {}
    exec("\n".join(sources), whole)
    exec("\n".join(kept(*sources, check=f"n{asked}")), part)
    assert part[f"n{asked}"] == whole[f"n{asked}"]
