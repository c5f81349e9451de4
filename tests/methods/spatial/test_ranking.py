"""The convex hull of a target's options, against a search through all of them."""

import pytest
import torch

from labsupport.methods.spatial import Effects, everything, patterns
from labsupport.methods.spatial.ranking import Ranking, hull

SHAPE = (3, 2, 1)


def options(seed, zero_harm=False):
    draw = torch.Generator().manual_seed(seed)
    saved, harm = torch.rand(2, *SHAPE, 14, generator=draw)
    saved[0, 0, 0] = 0  # a target that has nothing to save
    return Effects(saved, harm * (harm > 0.2) if zero_harm else harm)


def worth(effects, codes, multiplier):
    """What codes save, less the multiplier times their harm, target by target."""
    none = codes == everything(2)
    index = (codes - 1).clamp(max=13)[..., None]  # pattern number i has the code i + 1
    saved, harm = (table.gather(-1, index)[..., 0] for table in (effects.saved, effects.harm))
    return torch.where(none, 0, saved - multiplier * harm)


@pytest.mark.parametrize("zero_harm", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_at_every_price_each_target_has_its_best_option(seed, zero_harm):
    effects = options(seed, zero_harm)
    found = hull(effects, patterns(2), 2)
    for price in (1e9, 20.0, 3.0, 1.0, 0.5, 0.1, 1e-6):
        best = (effects.saved - price * effects.harm).amax(-1).clamp(min=0)
        torch.testing.assert_close(worth(effects, found.at(price), price), best)
    assert (found.prices[1:] <= found.prices[:-1] * (1 + 1e-4)).all()
    assert (found.codes[:, 0, 0, 0] == everything(2)).all()


def test_what_harms_nothing_comes_first_and_in_full():
    effects = options(0)
    effects.harm[1, 0, 0, :5] = 0
    found = hull(effects, patterns(2), 2)
    assert found.at(float("inf"))[1, 0, 0] == effects.saved[1, 0, 0, :5].argmax() + 1


def test_steps_are_ranked_over_all_layers_and_add_up():
    layers = {"a": options(1), "b": options(2)}
    ranking = Ranking({name: hull(one, patterns(2), 2) for name, one in layers.items()})
    assert (ranking.prices.diff() < 0).all()
    for steps in (0, 1, 5, len(ranking)):
        codes = ranking.codes([range(steps)])
        saved = sum(worth(layers[name], of, 0).sum() for name, of in codes.items())
        assert saved.item() == pytest.approx(float(ranking.saved[steps]), abs=1e-5)
    assert all((of == everything(2)).all() for of in ranking.codes([]).values())


def test_steps_that_are_left_out_keep_what_was_there_before():
    layers = {"a": options(1), "b": options(2)}
    ranking = Ranking({name: hull(one, patterns(2), 2) for name, one in layers.items()})
    first, middle, most = (ranking.codes([range(n)]) for n in (4, 8, 12))
    jumped = ranking.codes([range(4), range(8, 12)])
    for name, codes in jumped.items():
        moved = middle[name] != most[name]
        assert torch.equal(codes, torch.where(moved, most[name], first[name]))
    joined = ranking.codes([range(4), range(4, 12)])
    assert all(torch.equal(joined[name], most[name]) for name in joined)


def test_a_reach_is_the_first_step_that_saves_as_much():
    ranking = Ranking({"a": hull(options(1), patterns(2), 2)})
    total = float(ranking.saved[-1])
    assert ranking.reach(0, total) == ranking.reach(0, 2 * total) == len(ranking)
    assert ranking.reach(3, 0.0) == 4
    half = ranking.reach(0, total / 2)
    assert ranking.saved[half - 1] < total / 2 <= ranking.saved[half]


def test_where_nothing_can_be_saved_there_are_no_steps():
    nothing = Effects(torch.zeros(*SHAPE, 14), torch.ones(*SHAPE, 14))
    ranking = Ranking({"a": hull(nothing, patterns(2), 2)})
    assert len(ranking) == 0
    assert ranking.saved.tolist() == [0]
    assert (ranking.codes([range(0)])["a"] == everything(2)).all()
