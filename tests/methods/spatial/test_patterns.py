from math import comb

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.methods.spatial import (
    count_ones,
    decode,
    diagonal,
    encode,
    everything,
    patch_grid,
    patterns,
)

SIZES = (2, 3, 4)


@pytest.mark.parametrize("p", SIZES)
def test_all_patterns_but_all_ones_and_all_zeros(p):
    codes = patterns(p)
    assert len(codes) == 2 ** (p * p) - 2
    maps = {tuple(row) for row in decode(codes[:, None, None], p).flatten(1).int().tolist()}
    assert len(maps) == len(codes)
    assert (0,) * p * p not in maps
    assert (1,) * p * p not in maps


@pytest.mark.parametrize("p", SIZES)
@pytest.mark.parametrize("ones", [(1, 1), (1, 3), (2, 2)])
def test_a_range_of_ones_picks_patterns_by_their_number(p, ones):
    codes = patterns(p, ones)
    assert len(codes) == sum(comb(p * p, n) for n in range(ones[0], ones[1] + 1))
    assert set(count_ones(codes, p).tolist()) == set(range(ones[0], ones[1] + 1))


@pytest.mark.parametrize("p", SIZES)
def test_the_baseline_computes_the_diagonal(p):
    code = torch.tensor([[diagonal(p)]])
    assert torch.equal(decode(code, p), torch.eye(p, dtype=torch.bool))
    assert diagonal(p) in patterns(p)


@given(p=st.sampled_from(SIZES), height=st.integers(1, 9), width=st.integers(1, 9))
def test_patches_tile_a_map_to_its_edges_and_zeros_lie_beyond(p, height, width):
    draw = torch.Generator().manual_seed(height * 10 + width)
    maps = torch.randn(2, 3, height, width, generator=draw).relu()
    codes = encode(maps, p)
    rows, columns = patch_grid(height, width, p)
    assert codes.shape == (2, 3, rows, columns)
    for row in range(rows):
        for column in range(columns):
            for bit in range(p * p):
                y, x = row * p + bit // p, column * p + bit % p
                inside = y < height and x < width
                expected = maps[1, 2, y, x] > 0 if inside else False
                assert bool(codes[1, 2, row, column] >> bit & 1) == expected
    assert torch.equal(decode(codes, p)[..., :height, :width], maps > 0)
    assert torch.equal(encode(decode(codes, p), p), codes)


@pytest.mark.parametrize("ones", [(2, 1), (0, 1), (1, 4), (-1, 0)])
def test_a_range_without_a_pattern_is_refused(ones):
    with pytest.raises(LabError, match=f"no pattern of 2 x 2 has {ones[0]} to {ones[1]} ones"):
        patterns(2, ones)


@pytest.mark.parametrize("p", [0, 1, 5, -2])
@pytest.mark.parametrize("function", [patterns, diagonal, everything])
def test_other_sizes_are_refused(p, function):
    with pytest.raises(LabError, match=f"patches of {p} x {p}"):
        function(p)


def test_an_empty_range_of_ones_is_refused():
    for empty in ((0, 0), (3, 2)):
        with pytest.raises(LabError, match="no pattern of 2 x 2"):
            patterns(2, empty)
