import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_rules import rules_by_chance, toy_network

from labsupport.core.errors import LabError
from labsupport.methods.early_exit import NEVER, Calibration, Rules
from labsupport.methods.early_exit.rules import LOWEST_MARGIN, Origin, confidences

ORIGIN = Origin(2, (1, 2, 2), "0123456789abcdef")


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def rules():
    torch.manual_seed(0)
    made = Rules(torch.randn(3, 4), torch.randn(3), ORIGIN)
    return made.with_margins(tensor(LOWEST_MARGIN, 0.8, NEVER))


def identity(*margins):
    """Rules whose scores are the features themselves."""
    n = len(margins)
    made = Rules(torch.eye(n, dtype=torch.float64), tensor(*[0] * n), Origin(0, (n,), ""))
    return made.with_margins(tensor(*margins))


def test_the_scores_are_one_product(rules):
    features = torch.randn(5, 1, 2, 2)
    expected = [
        [float(w @ f.view(-1) + b) for w, b in zip(rules.weight, rules.bias, strict=True)]
        for f in features
    ]
    torch.testing.assert_close(rules(features), torch.tensor(expected))
    assert rules.macs == 12


def test_confidences_tell_nearly_sure_from_sure():
    confidence = confidences(torch.tensor([[0.0, 30.0]]))
    assert confidence.dtype == torch.float64
    assert 0 < 1 - confidence[0, 1] < 1e-12


SCORE = st.one_of(st.floats(-50, 50), st.sampled_from([0.0, 1e-20, 1.0, 2.0, -800.0]))
MARGIN = st.sampled_from([LOWEST_MARGIN, 0.6, 0.9, 1.0, NEVER])


@given(st.lists(SCORE, min_size=3, max_size=3), st.lists(MARGIN, min_size=3, max_size=3))
def test_a_single_image_is_judged_like_a_batch(scores, margins):
    rules, row = identity(*margins), tensor(scores).view(1, -1)
    assert rules.fires(row) == bool(rules.fired(row))


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 1])
def test_no_rule_fires_on_a_score_that_is_no_number(odd, place):
    row = torch.zeros(1, 2, dtype=torch.float64)
    row[0, place] = odd
    assert not identity(LOWEST_MARGIN, LOWEST_MARGIN).fires(row)


@given(st.lists(SCORE, min_size=3, max_size=3), st.lists(MARGIN, min_size=3, max_size=3))
def test_one_rule_at_most_fires_and_it_is_the_highest_scores(scores, margins):
    scores = tensor(scores)
    fired = [bool(identity(*margins).only(c).fired(scores)) for c in range(3)]
    assert sum(fired) <= 1
    assert bool(identity(*margins).fired(scores)) == any(fired)
    for c in range(3):
        sure = bool(scores.softmax(1)[0, c] >= margins[c])
        assert fired[c] == (sure and int(scores.argmax()) == c)


def test_of_two_classes_that_are_equally_sure_none_is_sure_enough():
    scores = tensor([0.0, 0.0], [1e-20, 0.0], [0.0, 1e-15])
    assert confidences(scores)[:2].tolist() == [[0.5, 0.5]] * 2
    assert identity(LOWEST_MARGIN, LOWEST_MARGIN).fired(scores).tolist() == [False, False, True]


def test_a_rule_fires_at_its_margin_and_not_below():
    scores = tensor([1.0, 0.0])
    margin = confidences(scores)[0, 0].item()
    assert identity(margin, NEVER).fired(scores).item()
    assert not identity(margin + 1e-15, NEVER).fired(scores).item()


def test_new_rules_never_fire():
    rules = Rules(torch.eye(2), torch.zeros(2), Origin(0, (2,), ""))
    sure = torch.tensor([[1e30, -1e30], [0.0, 1e4]])
    assert confidences(sure).max() == 1
    assert not rules.fired(sure).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_rule_fires_on_features_that_are_no_numbers(bad):
    rules = identity(LOWEST_MARGIN, LOWEST_MARGIN, LOWEST_MARGIN)
    scores = rules(tensor([9.0, 0.0, 0.0], [9.0, bad, 0.0], [bad, bad, bad]))
    assert rules.fired(scores).tolist() == [True, False, False]


def test_only_some_classes(rules):
    assert rules.only(1).margins.tolist() == [NEVER, 0.8, NEVER]
    assert rules.only(0, 2).margins.tolist() == [LOWEST_MARGIN, NEVER, NEVER]
    assert rules.margins.tolist() == [LOWEST_MARGIN, 0.8, NEVER]
    for classes in [(), (3,), (-1,), (0, 7)]:
        with pytest.raises(LabError, match="choose from 0 to 2"):
            rules.only(*classes)


@pytest.mark.parametrize(
    "margins",
    [
        (0.5, 0.9, 0.9),
        (0.1, 0.9, 0.9),
        (0.9, float("nan"), 0.9),
        (0.9, 0.9),
        (0.9,) * 4,
        (-NEVER, 0.9, 0.9),
    ],
)
def test_margins_that_cannot_be_are_refused(rules, margins):
    with pytest.raises(LabError, match="one per class, each above"):
        rules.with_margins(tensor(*margins))


def test_other_margins_are_other_rules_and_belong_to_them_alone(rules):
    margins = tensor(0.6, 0.7, 0.9)
    other = rules.with_margins(margins)
    margins.zero_()
    assert rules.margins.tolist() == [LOWEST_MARGIN, 0.8, NEVER]
    assert other.margins.tolist() == [0.6, 0.7, 0.9]
    assert torch.equal(other.weight, rules.weight)
    assert other.origin == rules.origin


@pytest.mark.parametrize("shape", [(1, 2, 3), (4,), (2, 2), ()])
def test_features_of_another_shape_are_refused(rules, shape):
    with pytest.raises(LabError, match="image"):
        rules(torch.zeros(5, *shape))


def test_rules_on_the_first_maps_do_not_see_the_others():
    origin = Origin(2, (4, 3, 2), "0123456789abcdef")
    weight, bias, maps = torch.randn(3, 12), torch.randn(3), torch.randn(5, 4, 3, 2)
    padded = Rules(torch.cat([weight, torch.zeros(3, 12)], 1), bias, origin)
    half = Rules(weight, bias, origin)
    for features in (maps, maps[:1], maps.to(memory_format=torch.channels_last)):
        torch.testing.assert_close(half(features), padded(features))
    assert half.macs == 36


def test_weights_that_do_not_fit_are_refused():
    for weight in (torch.zeros(2, 4), torch.zeros(3, 5), torch.zeros(4, 3), torch.zeros(12)):
        with pytest.raises(LabError, match="one row of weights per class"):
            Rules(weight, torch.zeros(3), ORIGIN)


def test_the_network_they_belong_to():
    model = toy_network()
    rules = rules_by_chance(model, 2)
    rules.check_network(copy.deepcopy(model).train())
    model[0].bias.data[0] += 1e-3
    with pytest.raises(LabError, match="another network"):
        rules.check_network(model)


CALIBRATION = Calibration(0.999, 500, 9)


def test_rules_remember_how_their_margins_came_about(rules):
    sure = rules.with_margins(tensor(0.6, 0.7, NEVER), CALIBRATION)
    assert sure.only(1).calibration == CALIBRATION
    assert sure.with_margins(tensor(0.6, 0.7, 0.8)).calibration is None  # set by hand since
    assert rules.calibration is None


def test_rules_print_where_they_belong_and_how_sure_they_are(rules):
    assert "layer=2" in repr(rules)
    assert "not calibrated" in repr(rules)
    sure = rules.with_margins(rules.margins, CALIBRATION)
    assert "required=0.999, images=500, copies=9" in repr(sure)


@pytest.mark.parametrize(
    "wrong", [{"required": 0.0}, {"required": 1.1}, {"images": 0}, {"copies": 0}]
)
def test_calibrations_that_cannot_be_are_refused(wrong):
    with pytest.raises(LabError, match="cannot be"):
        Calibration(**{"required": 0.9, "images": 5, **wrong})
