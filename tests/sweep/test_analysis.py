import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.sweep import variance_shares


def grid(figure, seeds=2):
    """A balanced table: figure(size, depth, width, seed) of three by two by two values."""
    rows = itertools.product((0, 1, 2), (0, 1), (0, 1), range(seeds))
    table = pd.DataFrame(rows, columns=["size", "depth", "width", "seed"])
    values = [figure(*row) for row in table.itertuples(index=False)]
    return table.assign(figure=np.array(values, dtype=float))


FACTORS = {"input": ["size"], "network": ["depth", "width"]}


@pytest.mark.parametrize(
    ("figure", "factor"),
    [
        (lambda size, depth, width, seed: size, "input"),
        (lambda size, depth, width, seed: depth - 3 * width, "network"),
        (lambda size, depth, width, seed: depth * width, "network"),
        (lambda size, depth, width, seed: (-1) ** (size + seed) if size < 2 else 0, "residual"),
    ],
)
def test_a_figure_that_one_factor_makes_is_that_factors(figure, factor):
    shares = variance_shares(grid(figure), "figure", FACTORS)
    assert shares[factor] == pytest.approx(1)
    assert shares.drop(factor).abs().max() == pytest.approx(0)


def test_a_pure_interaction_belongs_to_none_alone():
    centered = grid(lambda size, depth, width, seed: (size - 1) * (2 * depth - 1))
    assert variance_shares(centered, "figure", FACTORS)["interaction"] == pytest.approx(1)


def test_shares_of_a_case_worked_out_by_hand():
    # 2 x size has variance 4 * 2/3, 3 x width 9 * 1/4: nothing else moves the figure.
    shares = variance_shares(
        grid(lambda size, depth, width, seed: 2 * size + 3 * width), "figure", FACTORS
    )
    assert shares["input"] == pytest.approx((8 / 3) / (8 / 3 + 9 / 4))
    assert shares["network"] == pytest.approx((9 / 4) / (8 / 3 + 9 / 4))


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(-10, 10))
def test_shares_add_up_and_do_not_depend_on_unit_or_origin(seed, scale, shift):
    noise = np.random.default_rng(seed)
    table = grid(lambda *_: noise.normal())
    shares = variance_shares(table, "figure", FACTORS)
    moved = variance_shares(table.assign(figure=table["figure"] * scale + shift), "figure", FACTORS)
    assert shares.sum() == pytest.approx(1)
    assert shares.min() > -1e-9
    np.testing.assert_allclose(shares, moved, atol=1e-6)


def test_a_grid_with_a_hole_is_refused():
    table = grid(lambda size, depth, width, seed: size)
    with pytest.raises(LabError, match="equally often"):
        variance_shares(table.iloc[1:], "figure", FACTORS)
    with pytest.raises(LabError, match="11 of 12 combinations"):
        variance_shares(table.iloc[2:], "figure", FACTORS)


@pytest.mark.parametrize("value", [1, 0.97, 7.600402334583])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_figure_that_never_changes_has_no_shares(value, seeds):
    assert variance_shares(grid(lambda *_: value, seeds), "figure", FACTORS).isna().all()


def test_a_figure_that_some_rows_lack_is_refused():
    table = grid(lambda size, depth, width, seed: math.nan if size + seed == 0 else size)
    with pytest.raises(LabError, match="4 of 24 rows have no figure"):
        variance_shares(table, "figure", FACTORS)
