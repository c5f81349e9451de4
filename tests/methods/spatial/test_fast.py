"""The fast search against the exact solution and the greedy search."""

import pytest
from made_spatial import SHAPE, Residual, chain, images, made

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.methods.spatial import (
    Granularity,
    disabled,
    exact_search,
    fast_front,
    fast_search,
    greedy_search,
    savings,
    spatialize,
)
from labsupport.network.fingerprint import fingerprint
from labsupport.training import predict

EPSILONS = [0.0, 0.05, 0.2, 1.0]


def own_answers(network, n=40):
    """Images with the answers that the network gives without masks as labels."""
    split = images(n)
    with disabled(network):
        return Split(split.x, predict(network, split).argmax(1))


def measured(network, split):
    wrong = (predict(network, split).argmax(1) != split.y).double().mean().item()
    return savings(network, split).saved_macs, wrong


@pytest.mark.parametrize("make", [chain, Residual])
@pytest.mark.parametrize("granularity", Granularity)
def test_no_more_is_lost_than_eps_and_more_is_saved_with_more_eps(make, granularity):
    network = spatialize(made(make), SHAPE)
    split, before = own_answers(network), fingerprint(network)
    front = fast_front(network, split, EPSILONS, granularity, ones=(1, 2))
    assert fingerprint(network) == before
    for eps, found in front.items():
        assert measured(found.network, split) == pytest.approx(
            (found.trial.saved_macs, found.trial.loss)
        )
        assert found.trial.loss <= eps
    saved = [found.trial.saved_macs for found in front.values()]
    assert list(front) == EPSILONS
    assert saved == sorted(saved)
    assert saved[-1] > 0


def test_a_front_saves_what_single_searches_save_with_fewer_passes():
    network = spatialize(made(Residual), SHAPE)
    split = own_answers(network)
    front = fast_front(network, split, EPSILONS, Granularity.FILTER)
    alone = {eps: fast_search(network, split, eps, Granularity.FILTER) for eps in EPSILONS}
    passes = front[0.0].passes
    assert len(passes) < sum(len(found.passes) for found in alone.values())
    assert all(found.passes.equals(passes) for found in front.values())
    one_round = fast_front(network, split, EPSILONS, Granularity.FILTER, rounds=1)
    for eps in EPSILONS:
        by_itself = fast_search(network, split, eps, Granularity.FILTER, rounds=1)
        assert one_round[eps].trial.saved_macs >= by_itself.trial.saved_macs


def test_passes_are_few_and_say_which_way_they_went():
    network = spatialize(made(chain), SHAPE)
    found = fast_search(network, own_answers(network), 0.1, Granularity.PATCH, tries=6)
    counts = found.passes.value_counts(["stage", "direction"]).to_dict()
    assert counts.pop(("plain", "forward")) == 1
    assert counts.pop(("statistics", "forward")) == counts.pop(("statistics", "backward")) == 2
    assert counts.keys() == {("round 1", "forward"), ("round 2", "forward")}
    assert max(counts.values()) <= 6
    second = found.passes.query("stage == 'statistics'").iloc[-1]
    first_best = found.passes.query("stage == 'round 1' and loss <= 0.1")["saved_macs"].max()
    assert second["saved_macs"] == first_best  # its statistics are those under these masks


def test_a_second_round_never_saves_less():
    network = spatialize(made(Residual), SHAPE)
    split = own_answers(network)
    once, twice = (
        fast_search(network, split, 0.1, Granularity.FILTER, rounds=rounds) for rounds in (1, 2)
    )
    assert twice.trial.saved_macs >= once.trial.saved_macs


def test_the_best_pattern_of_a_single_layer_where_all_may_be_lost():
    network = spatialize(made(chain), SHAPE, convolutions=["0"])
    split = own_answers(network)
    exact, fast = (
        search(network, split, 1.0, Granularity.LAYER) for search in (exact_search, fast_search)
    )
    assert fast.trial.saved_macs == pytest.approx(exact.trial.saved_macs)


@pytest.mark.parametrize("make", [chain, Residual])
@pytest.mark.parametrize("p", [2, 3])
def test_by_layer_no_less_is_saved_than_by_the_greedy_search(make, p):
    network = spatialize(made(make), SHAPE)
    split = own_answers(network)
    front = fast_front(network, split, EPSILONS, Granularity.LAYER, p=p, ones=(1, 2))
    for eps, found in front.items():
        greedy = greedy_search(network, split, eps, Granularity.LAYER, p=p, ones=(1, 2))
        assert found.trial.saved_macs >= greedy.trial.saved_macs


@pytest.mark.parametrize("eps", [0.05, 0.1, 0.3])
def test_never_above_the_exact_solution(eps):
    network = spatialize(made(chain), SHAPE)
    split = own_answers(network)
    exact, fast = (
        search(network, split, eps, Granularity.LAYER, ones=(1, 1))
        for search in (exact_search, fast_search)
    )
    assert fast.trial.saved_macs <= exact.trial.saved_macs + 1e-9


def test_what_cannot_be_is_refused():
    network, split = spatialize(made(chain), SHAPE), images()
    for eps in (-0.01, float("nan")):
        with pytest.raises(LabError, match=f"eps of {eps}"):
            fast_search(network, split, eps, Granularity.LAYER)
    with pytest.raises(LabError, match="no pattern of 2 x 2 has 3 to 2 ones"):
        fast_search(network, split, 0.0, Granularity.LAYER, ones=(3, 2))
    with pytest.raises(LabError, match="patches of 5 x 5"):
        fast_search(network, split, 0.0, Granularity.LAYER, p=5)
    with pytest.raises(LabError, match="no images"):
        fast_search(network, images(0), 0.0, Granularity.LAYER)
    for wrong in ({"rounds": 0}, {"tries": 0}):
        with pytest.raises(LabError, match="give at least 1 of each"):
            fast_search(network, split, 0.0, Granularity.LAYER, **wrong)
    with pytest.raises(LabError, match="for 0 eps"):
        fast_front(network, split, [], Granularity.LAYER)


def test_statistics_come_from_their_own_images():
    network = spatialize(made(Residual), SHAPE)
    split, others = own_answers(network), images(60, 8)
    given = {"ones": (1, 2), "rounds": 1, "tries": 4}
    own, same, other = (
        fast_search(network, split, 0.1, Granularity.PATCH, **given, **statistics)
        for statistics in ({}, {"statistics": split}, {"statistics": others})
    )
    assert own.passes.equals(same.passes)
    assert not own.passes.equals(other.passes)
    shares = other.passes.query("stage == 'statistics'")["share"]
    assert shares.tolist() == [1.5, 1.5]
    assert measured(other.network, split) == pytest.approx(
        (other.trial.saved_macs, other.trial.loss)
    )
    with pytest.raises(LabError, match="no images"):
        fast_search(network, split, 0.1, Granularity.PATCH, statistics=images(0))
