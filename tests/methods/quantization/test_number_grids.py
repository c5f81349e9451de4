import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labsupport.core.errors import LabError
from labsupport.methods.quantization import affine, narrowed, symmetric

BITS = st.integers(2, 8)
NUMBERS = st.floats(-100, 100, width=32)
ROWS = arrays("float32", st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=NUMBERS)
TINY = torch.finfo(torch.float32).tiny  # below it floats have fewer digits
MADE = {"symmetric": symmetric, "affine": affine}


def tensor(values):
    return torch.from_numpy(values.copy())


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
@given(values=ROWS, bits=BITS)
def test_numbers_move_by_half_a_step_at_most_and_only_once(make, values, bits):
    x = tensor(values)
    grid = make(x, bits)
    rounded = grid(x)
    # Zero is a value of the grid, which moves each end by up to half a step.
    most = grid.step * (0.5 if make is symmetric else 1) + 1e-4
    assert ((rounded - x).abs() <= most).all()
    torch.testing.assert_close(grid(rounded), rounded, rtol=1e-6, atol=0)
    assert grid.bits == bits
    assert len(grid.codes(x).unique()) <= 2**bits


@given(values=ROWS, bits=BITS)
def test_a_symmetric_grid_is_as_wide_as_the_largest_of_each_channel(values, bits):
    weight = tensor(values)
    grid = symmetric(weight, bits)
    largest, codes = weight.abs().amax(1), grid.codes(weight)
    high = 2 ** (bits - 1) - 1
    enough = largest / high >= TINY
    torch.testing.assert_close(grid.step.flatten()[enough], (largest / high)[enough])
    assert (codes.abs().amax(1)[enough] == high).all()
    assert (codes[~enough] == 0).all()
    assert (codes[weight == 0] == 0).all()
    torch.testing.assert_close(symmetric(-weight, bits)(-weight), -grid(weight))


@given(values=ROWS, bits=BITS)
def test_an_affine_grid_holds_zero_and_both_ends_within_half_a_step(values, bits):
    x = tensor(values)
    grid = affine(x, bits)
    assert grid(torch.zeros(1)) == 0
    ends = torch.stack([x.min().clamp(max=0), x.max().clamp(min=0)])
    if (ends[1] - ends[0]) / (2**bits - 1) >= TINY:
        assert ((grid(ends) - ends).abs() <= 0.5001 * grid.step).all()
        low, high = grid.codes(ends).tolist()
        assert low in {0, 1}
        assert high in {2**bits - 2, 2**bits - 1}


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_values_are_those_of_torch(bits):
    x = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))
    weights, inputs = symmetric(x, bits), affine(x, bits)
    by_channel = torch.fake_quantize_per_channel_affine(
        2 * x, weights.step.detach().flatten(), torch.zeros(5).int(), 0, weights.low, weights.high
    )
    whole = torch.fake_quantize_per_tensor_affine(
        2 * x, inputs.step.item(), int(inputs.zero), inputs.low, inputs.high
    )
    torch.testing.assert_close(weights(2 * x), by_channel)
    torch.testing.assert_close(inputs(2 * x), whole)


def test_gradients_go_straight_through_inside_the_range_and_to_the_step():
    grid = symmetric(torch.tensor([[-3.0, 3.0]]), 3)  # a step of 1
    x = torch.tensor([[-7.0, -1.6, 0.2, 2.9, 4.0]], requires_grad=True)
    grid(x).sum().backward()
    assert x.grad.tolist() == [[0, 1, 1, 1, 0]]
    # Esser et al. 2020, equation 3: the code less what it was before rounding, or the last code.
    of_step = torch.tensor([-3, -2 + 1.6, 0 - 0.2, 3 - 2.9, 3]).sum()
    torch.testing.assert_close(grid.log_step.grad.squeeze(), of_step)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_narrowed_grid_loses_least_of_all_shares(bits):
    chance = torch.Generator().manual_seed(bits)
    x = torch.randn(3, 400, generator=chance) * torch.tensor([[1.0], [5.0], [0.1]])
    full = symmetric(x, bits)
    best = narrowed(full, x)

    def errors(step):
        codes = (x / step).round().clamp(full.low, full.high)
        return (codes * step - x).square().sum(1)

    tried = torch.stack([errors(full.step * share) for share in torch.linspace(0.05, 1, 96)])
    torch.testing.assert_close(errors(best.step), tried.min(0).values, rtol=1e-4, atol=1e-6)
    assert (best.step <= full.step * (1 + 1e-6)).all()


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_numbers_too_small_for_a_step_are_zero(make):
    for smallest in (1e-45, 1e-41, 1e-38):
        assert make(torch.tensor([[smallest, -smallest]]), 3)(torch.tensor([[smallest]])) == 0


def test_numbers_that_are_all_zero_stay_so():
    x = torch.zeros(2, 3)
    for make in MADE.values():
        grid = narrowed(make(x, 4), x)
        assert torch.equal(grid(x), x)
        assert grid.step.isfinite().all()


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
@pytest.mark.parametrize("bits", [0, 1, 9, 70, 2.0, True, "4", None])
def test_bits_that_have_no_grid_are_refused(make, bits):
    with pytest.raises(LabError, match=f"{bits!r} bits for a grid; give a whole number, 2 to 8"):
        make(torch.ones(2, 3), bits)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
@pytest.mark.parametrize("x", [torch.ones(0, 3), torch.ones(3, 0), torch.tensor([[1, torch.nan]])])
def test_numbers_that_have_no_grid_are_refused(make, x):
    with pytest.raises(LabError, match="numbers that are none, or not finite"):
        make(x, 4)


def test_a_row_of_numbers_has_a_step_for_each_and_a_lone_number_no_channel():
    x = torch.tensor([3.0, -0.5, 0.0])
    torch.testing.assert_close(narrowed(symmetric(x, 3), x)(x), x)
    with pytest.raises(LabError, match="without axes has no channels"):
        symmetric(torch.tensor(3.0), 3)
