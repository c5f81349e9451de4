import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.training import (
    SGD,
    Constant,
    Cyclic,
    OneCycle,
    Recipe,
    Snapshots,
    Triangular,
    fit,
    predict,
)


def rates(schedule, steps, lrs=(0.1,)):
    """The rates of each parameter group at each step, (steps, groups)."""
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in lrs]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler, seen = schedule(optimizer, steps), []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        if scheduler:
            scheduler.step()
    return torch.tensor(seen, dtype=torch.float64)


@given(st.integers(1, 20), st.integers(1, 6))
def test_cyclic_rates_are_those_of_huang(length, cycles):
    """Equation 2, t from 1: lr / 2 (cos(pi mod(t - 1, ceil(T/M)) / ceil(T/M)) + 1)."""
    steps = length * cycles
    expected = [
        0.1 / 2 * (math.cos(math.pi * ((t - 1) % length) / length) + 1) for t in range(1, steps + 1)
    ]
    assert rates(Cyclic(cycles), steps).flatten().tolist() == pytest.approx(expected)


@given(st.integers(1, 60), st.integers(1, 6))
def test_every_cycle_has_as_many_steps_as_another_or_one_more_and_goes_all_the_way(steps, cycles):
    if steps < cycles:
        for ask in (Cyclic(cycles).ends, partial(rates, Cyclic(cycles))):
            with pytest.raises(LabError, match="train longer"):
                ask(steps)
        return
    used, ends = rates(Cyclic(cycles), steps).flatten().tolist(), Cyclic(cycles).ends(steps)
    lengths = [end - start for start, end in pairwise((0, *ends))]
    assert ends[-1] == steps
    assert min(lengths) >= max(lengths) - 1 >= 0
    for start, end in pairwise((0, *ends)):
        assert used[start] == pytest.approx(0.1)
        last = math.cos(math.pi * (1 - 1 / (end - start)))  # a step before zero
        assert used[end - 1] == pytest.approx(0.1 / 2 * (last + 1))


def test_the_one_cycle_peaks_at_three_tenths_and_ends_near_zero():
    used = rates(OneCycle(), 100).flatten()
    assert used.argmax() == 29
    assert used.max() == pytest.approx(0.1)
    assert used[0] == pytest.approx(0.1 / 25)
    assert used[-1] < 1e-6


def test_the_constant_rate_is_constant():
    assert rates(Constant(), 7).unique().tolist() == [0.1]


@pytest.mark.parametrize("schedule", [OneCycle(), Constant(), Cyclic(3)])
def test_groups_keep_the_ratio_of_their_rates(schedule):
    both = rates(schedule, 30, (0.1, 0.02))
    torch.testing.assert_close(both[:, 1], 0.2 * both[:, 0])


def test_no_cycle_is_refused():
    with pytest.raises(LabError, match="0 cycles"):
        Cyclic(0)


def test_snapshots_are_taken_at_the_ends_of_the_cycles(model, splits):
    schedule = Cyclic(3)
    recipe = Recipe(6, 20, 0.1, optimizer=SGD(), schedule=schedule, keep="last")
    snapshots = Snapshots(schedule.ends(recipe.steps(len(splits.train))))
    result = fit(model, splits, recipe, after_step=snapshots)
    x = [predict(net, splits.test) for net in snapshots.models]
    assert len(x) == 3
    assert not any(net.training for net in snapshots.models)
    assert torch.equal(x[-1], predict(result.model, splits.test))
    assert not torch.equal(x[0], x[1])


def test_a_triangle_goes_from_its_start_to_the_peak_to_its_end_and_leaves_the_momentum():
    found = rates(Triangular(peak=0.25, start=0.2, end=0.1), 8, lrs=(0.1, 0.4))
    expected = [0.2, 0.6, 1.0, 0.85, 0.7, 0.55, 0.4, 0.25]
    assert (found[:, 0] / 0.1).tolist() == pytest.approx(expected)
    assert (found[:, 1] / 0.4).tolist() == pytest.approx(expected)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.85)
    scheduler = Triangular()(optimizer, 10)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["momentum"] == 0.85
