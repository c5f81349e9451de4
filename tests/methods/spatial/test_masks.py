import pytest
import torch

from labsupport.core.errors import LabError
from labsupport.methods.spatial import Granularity, Mask, diagonal, everything, patterns

OFMAP = (3, 5, 4)  # ragged below: 3 x 2 patches of 2 x 2


def drawn(granularity, p=2, ofmap=OFMAP, seed=0):
    codes = patterns(p)
    draw = torch.Generator().manual_seed(seed)
    return Mask(p, codes[torch.randint(len(codes), granularity.shape(ofmap, p), generator=draw)])


@pytest.mark.parametrize(
    ("granularity", "shape"),
    [
        (Granularity.LAYER, (1, 1, 1)),
        (Granularity.FILTER, (3, 1, 1)),
        (Granularity.POSITION, (1, 3, 2)),
        (Granularity.PATCH, (3, 3, 2)),
    ],
)
def test_a_granularity_says_what_has_a_pattern_of_its_own(granularity, shape):
    mask = drawn(granularity)
    assert tuple(mask.codes.shape) == shape
    assert mask.granularity(OFMAP) is granularity
    full = mask.full(OFMAP)
    assert full.shape == (3, 6, 4)
    for c in range(3):
        for y in range(6):
            for x in range(4):
                place = zip((c, y // 2, x // 2), shape, strict=True)
                code = int(mask.codes[tuple(i if n > 1 else 0 for i, n in place)])
                assert bool(full[c, y, x]) == bool(code >> (y % 2 * 2 + x % 2) & 1)


@pytest.mark.parametrize("p", [2, 3, 4])
def test_a_full_mask_goes_there_and_back(p):
    mask = drawn(Granularity.PATCH, p)
    again = Mask.from_full(mask.full(OFMAP), p)
    assert torch.equal(again.codes, mask.codes.int())


def test_one_pattern_for_a_whole_layer():
    full = Mask.uniform(3, diagonal(3)).full((2, 6, 6))
    assert torch.equal(full, torch.eye(3, dtype=torch.bool).repeat(2, 2, 2))


@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 3, 3), (3, 1, 2), (3, 2, 2)])
def test_a_mask_of_a_wrong_shape_names_the_layer_and_the_right_ones(shape):
    with pytest.raises(LabError, match=r"for conv3; .*\(3, 3, 2\)"):
        Mask(2, torch.ones(shape, dtype=torch.int64)).check(OFMAP, "conv3")


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ([15, 15, 15], "for conv3 is all ones"),
        ([15, 0, 9], "for conv3 has patches of all zeros"),
        ([15, 16, 9], "for conv3 has codes outside 1 to 15"),
        ([15, -1, 9], "for conv3 has codes outside 1 to 15"),
    ],
)
def test_a_mask_that_predicts_nothing_or_looks_at_nothing_is_refused(codes, said):
    with pytest.raises(LabError, match=said):
        Mask(2, torch.tensor(codes).view(3, 1, 1)).check(OFMAP, "conv3")


def test_single_patches_may_be_computed_as_a_whole():
    Mask(2, torch.tensor([everything(2), 1, 9]).view(3, 1, 1)).check(OFMAP, "conv3")


def test_what_is_no_mask_is_refused():
    with pytest.raises(LabError, match="patches of 5 x 5"):
        Mask.uniform(5, 1)
    for codes in (torch.ones(3), torch.ones(1, 1, 1)):
        with pytest.raises(LabError, match="whole numbers"):
            Mask(2, codes)
    with pytest.raises(LabError, match=r"shape \(3, 5, 4\) for patches of 2 x 2"):
        Mask.from_full(torch.ones(OFMAP), 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_codes_of_a_narrow_type_are_compared_as_numbers(dtype):
    Mask(3, torch.full((1, 1, 1), 100, dtype=dtype)).check((2, 6, 6), "0")


def test_codes_that_are_true_or_false_are_an_error():
    with pytest.raises(LabError, match="type torch"):
        Mask(2, torch.ones(1, 1, 1, dtype=torch.bool))
