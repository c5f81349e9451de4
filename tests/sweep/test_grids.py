import pytest

from labsupport.core.errors import LabError
from labsupport.sweep import decimals, whole_numbers


@pytest.mark.parametrize("text", ["4 1 2", "4, 1, 2", " 4,1 2 4 "])
def test_numbers_with_blanks_or_commas_between_each_once(text):
    assert whole_numbers("depths", text) == [4, 1, 2]


@pytest.mark.parametrize("text", ["", "a b", "1 2.5", "0 1", "-3"])
def test_anything_else_is_refused_with_the_name_of_the_parameter(text):
    with pytest.raises(LabError, match=f"depths={text!r}.*whole numbers from 1"):
        whole_numbers("depths", text)


def test_a_sweep_may_need_more_than_one_value():
    with pytest.raises(LabError, match="2 or more whole numbers from 4"):
        whole_numbers("sides", "7", low=4, min_count=2)


def test_decimals_keep_their_order_each_once():
    assert decimals("decays", "0.5, 0 1e-3 0.50") == [0.5, 0.0, 1e-3]


@pytest.mark.parametrize("text", ["", "a", "1 -0.1", "nan", "inf 1"])
def test_other_decimals_are_refused_with_the_name_of_the_parameter(text):
    with pytest.raises(LabError, match=f"decays={text!r}.*numbers from 0"):
        decimals("decays", text)
