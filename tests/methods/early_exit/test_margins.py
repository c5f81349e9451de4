import math
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_rules import rules_by_chance, same, snapshot, toy_images, toy_network, used

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.methods.early_exit import (
    NEVER,
    Answers,
    Calibration,
    answers,
    calibrate,
    least_margins,
)
from labsupport.methods.early_exit.rules import LOWEST_MARGIN
from labsupport.training.augmentation import shifted, shifts

NAN = float("nan")
CLASSES = 3


def seen(*rows):
    """Answers from rows (confidence, the rules' class, the network's class)."""
    confidence, ruled, full = zip(*rows, strict=True)
    return Answers(
        torch.tensor(confidence, dtype=torch.float64), torch.tensor(ruled), torch.tensor(full)
    )


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


LEVEL = st.one_of(
    st.sampled_from([0.34, 0.4, 0.5, 0.6, 0.9, 1 - 1e-15, 1.0, NAN]), st.floats(0.34, 1)
)
ROW = st.tuples(LEVEL, st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1))
ROWS = st.lists(ROW, min_size=1, max_size=25)
REQUIRED = st.one_of(
    st.sampled_from([1.0, 0.999, 0.9, 2 / 3, 0.5, 1 / 3, math.nextafter(0.5, 1), 1e-6]),
    st.floats(0, 1, exclude_min=True),
    st.tuples(st.integers(1, 25), st.integers(0, 24)).map(lambda p: p[0] / (p[0] + p[1])),
)


def right(images, margin):
    """Share of one class's images that stay or leave with the network's answer."""
    return sum(agree or not confidence >= margin for confidence, agree in images) / len(images)


@settings(max_examples=400)
@given(ROWS, REQUIRED)
@example([(0.9, 0, 1), (0.9, 0, 0)], 1.0)
@example([(0.9, 0, 0), (0.9, 0, 0), (0.6, 0, 1)], 2 / 3)
def test_as_many_leave_as_any_margin_lets(rows, required):
    margins = least_margins(seen(*rows), CLASSES, required)
    for c, margin in enumerate(margins.tolist()):
        images = [(confidence, c == full) for confidence, ruled, full in rows if ruled == c]
        tried = [confidence for confidence, _ in images if confidence > 0.5]
        keep = [t for t in tried if right(images, t) >= required]
        leaving = [t for t in tried if t >= margin]
        assert leaving == [t for t in tried if keep and t >= min(keep)]
        assert margin in {LOWEST_MARGIN, NEVER, *tried}
        assert images or margin == NEVER


@settings(max_examples=400)
@given(ROWS, REQUIRED)
def test_the_agreement_asked_for_is_kept(rows, required):
    made = seen(*rows)
    assert made.agreement(least_margins(made, CLASSES, required)) >= required


COPIED = st.integers(1, 4).flatmap(
    lambda copies: st.tuples(
        st.just(copies),
        st.integers(1, 6).flatmap(
            lambda images: st.lists(ROW, min_size=copies * images, max_size=copies * images)
        ),
    )
)


def copied(copies, rows):
    return replace(seen(*rows), copies=copies)


@settings(max_examples=200)
@given(COPIED, REQUIRED)
@example((2, [(0.9, 0, 1), (0.6, 1, 1), (0.9, 0, 1), (0.6, 1, 1)]), 0.5)
@example((2, [(0.9, 0, 1), (0.6, 1, 1), (0.6, 1, 1), (0.9, 0, 1)]), 0.5)
def test_images_are_judged_not_their_copies(moved, required):
    """By brute force: the least margin at which no more than the allowed images are wrong."""
    copies, rows = moved
    margins = least_margins(copied(copies, rows), CLASSES, required)
    images = len(rows) // copies
    for c, margin in enumerate(margins.tolist()):
        mine = [(p, r % images, c == full) for r, (p, ruled, full) in enumerate(rows) if ruled == c]
        keep = [
            t
            for t in {p for p, _, _ in mine if p > 0.5}
            if (len(mine) - copies * len({i for p, i, ok in mine if p >= t and not ok})) / len(mine)
            >= required
        ]
        leaving = [p for p, _, _ in mine if p > 0.5 and p >= margin]
        assert sorted(leaving) == sorted(p for p, _, _ in mine if keep and p >= min(keep))


@settings(max_examples=200)
@given(COPIED, REQUIRED)
def test_the_agreement_asked_for_is_kept_over_images(moved, required):
    copies, rows = moved
    made = copied(copies, rows)
    margins = least_margins(made, CLASSES, required)
    wrong = {
        r % made.images
        for r, (p, ruled, full) in enumerate(rows)
        if p >= margins[ruled] and ruled != full
    }
    assert made.wrong_images(margins) == len(wrong)
    assert made.agreement(margins) == pytest.approx(1 - len(wrong) / made.images)
    assert made.agreement(margins) >= required


@given(ROWS, REQUIRED, st.integers(2, 5))
def test_the_same_image_again_is_no_evidence(rows, required, copies):
    once, margins = seen(*rows), least_margins(seen(*rows), CLASSES, required)
    again = copied(copies, rows * copies)
    assert torch.equal(least_margins(again, CLASSES, required), margins)
    assert again.agreement(margins) == once.agreement(margins)
    assert again.agreement_at_least(margins) == once.agreement_at_least(margins)


@pytest.mark.parametrize("images", [1, 10, 400])
def test_the_bound_without_a_wrong_image_in_closed_form(images):
    """All right: the agreement a for which a^n is 5 %, close to 1 - 3 / n (rule of three)."""
    made = copied(9, [(0.9, 0, 0)] * (9 * images))
    assert made.agreement_at_least(tensor(0.8)) == pytest.approx(0.05 ** (1 / images))


def test_the_bound_covers_the_truth_as_often_as_it_says():
    """Over all outcomes of 30 images with an agreement of .9, the bound is below .9 in 95 %."""
    covered = 0.0
    for wrong in range(31):
        made = seen(*[(0.9, 0, int(k < wrong)) for k in range(30)])
        if made.agreement_at_least(tensor(0.8)) <= 0.9:
            covered += math.comb(30, wrong) * 0.1**wrong * 0.9 ** (30 - wrong)
    assert 0.95 <= covered < 0.99


@given(ROWS, REQUIRED, REQUIRED)
def test_more_agreement_takes_no_smaller_margins(rows, one, other):
    low, high = sorted((one, other))
    made = seen(*rows)
    assert (least_margins(made, CLASSES, low) <= least_margins(made, CLASSES, high)).all()


@pytest.mark.parametrize(
    ("rows", "required", "margin"),
    [
        ([(0.9, 0, 0), (0.8, 0, 0), (0.7, 0, 1)], 1.0, 0.8),
        ([(0.9, 0, 0), (0.8, 0, 0), (0.7, 0, 1)], 2 / 3, 0.7),
        ([(0.9, 0, 0), (0.8, 0, 0), (0.8, 0, 1)], 1.0, 0.9),  # equals leave together
        ([(0.9, 0, 0), (0.5, 0, 0)], 1.0, LOWEST_MARGIN),
        ([(0.9, 0, 1), (0.8, 0, 0)], 1.0, NEVER),  # the surest is wrong
        ([(0.9, 0, 1), (0.8, 0, 1)], 0.5, 0.9),
        ([(0.9, 0, 1), (0.8, 0, 1)], 1e-9, 0.9),
        ([(NAN, 0, 1), (0.8, 0, 0)], 1.0, 0.8),
        ([(NAN, 0, 1)], 1.0, NEVER),
        ([(0.9, 1, 1)], 1.0, NEVER),  # no image of class 0
    ],
)
def test_margins_by_hand(rows, required, margin):
    assert least_margins(seen(*rows), CLASSES, required)[0].item() == margin


def test_a_class_is_judged_by_its_own_images():
    made = seen((0.9, 0, 0), (0.8, 0, 1), (0.95, 1, 0), (0.7, 2, 2))
    assert least_margins(made, CLASSES, 1.0).tolist() == [0.9, NEVER, 0.7]


def test_nine_in_ten_is_nine_of_ten():
    rows = [(0.6 + k / 100, 0, int(k == 0)) for k in range(10)]
    assert least_margins(seen(*rows), 1, 0.9).tolist() == [0.6]
    assert least_margins(seen(*rows), 1, math.nextafter(0.9, 1)).tolist() == [0.61]


@pytest.mark.parametrize("required", [0, -0.1, 1.001, NAN])
def test_agreements_that_cannot_be_are_refused(required):
    with pytest.raises(LabError, match="required agreement"):
        least_margins(seen((0.9, 0, 0)), CLASSES, required)


def test_share_and_agreement_by_hand():
    made = seen((0.9, 0, 0), (0.9, 0, 1), (0.6, 1, 1), (0.6, 1, 0), (NAN, 2, 1))
    margins = tensor(0.8, 0.7, 0.5)
    assert made.agree.tolist() == [True, False, True, False, False]
    assert made.exits(margins).tolist() == [True, True, False, False, False]
    assert made.share(margins) == pytest.approx(2 / 5)
    assert made.agreement(margins) == pytest.approx(4 / 5)
    assert made.agreement(tensor(NEVER, NEVER, NEVER)) == 1


@pytest.fixture
def model():
    return toy_network()


@pytest.mark.parametrize("most", [0, 1])
@pytest.mark.parametrize("layer", [0, 2, 4])
def test_answers_are_those_of_rules_and_network(model, layer, most):
    used(model)
    before = snapshot(model)
    rules = rules_by_chance(model, layer)
    split = toy_images(13, 0)
    made = answers(rules, model, split, shift=most, batch_size=5)
    assert same(before, snapshot(model))
    model.eval()
    with torch.no_grad():
        x = torch.cat([shifted(split.x, *move) for move in shifts(most)])
        confidence, ruled = rules(model[:layer](x)).double().softmax(1).max(1)
        assert torch.equal(made.full, model(x).argmax(1))
    assert torch.equal(made.ruled, ruled)
    torch.testing.assert_close(made.confidence, confidence, atol=1e-6, rtol=0)
    assert made.confidence.dtype == torch.float64
    assert (made.images, made.copies) == (13, len(shifts(most)))


def test_the_exits_are_those_that_the_rules_fire_for(model):
    rules = rules_by_chance(model, 2).with_margins(tensor(0.6, 0.9, NEVER))
    split = toy_images(60, 0)
    with torch.no_grad():
        fired = rules.fired(rules(model[:2](split.x)))
    assert 0 < fired.sum() < 60
    assert torch.equal(answers(rules, model, split).exits(rules.margins), fired)


@pytest.mark.parametrize("most", [0, 1])
def test_calibration_sees_the_images_moved(model, most):
    rules, val = rules_by_chance(model, 2), toy_images(40, 0)
    moved = Split(torch.cat([shifted(val.x, *move) for move in shifts(most)]), torch.arange(0))
    with torch.no_grad():
        confidence, ruled = rules(model[:2](moved.x)).double().softmax(1).max(1)
        full = model.eval()(moved.x).argmax(1)
    by_hand = Answers(confidence, ruled, full, copies=len(shifts(most)))
    made = calibrate(rules, model, val, 0.6, shift=most)
    torch.testing.assert_close(made.margins, least_margins(by_hand, CLASSES, 0.6))
    assert torch.equal(made.weight, rules.weight)
    assert made.calibration == Calibration(0.6, 40, len(shifts(most)))
    assert (rules.margins == NEVER).all()
    assert rules.calibration is None


def test_calibrated_rules_keep_what_was_asked_for(model):
    rules, val = rules_by_chance(model, 2), toy_images(200, 0)
    for required in (0.4, 0.6, 0.9, 1.0):
        margins = calibrate(rules, model, val, required, shift=0).margins
        assert answers(rules, model, val).agreement(margins) >= required


def test_rules_of_another_network_are_refused(model):
    rules, val = rules_by_chance(model, 2), toy_images(5, 0)
    with pytest.raises(LabError, match="another network"):
        calibrate(rules, toy_network(seed=1), val, 0.9)


def test_no_image_is_too_few(model):
    rules, empty = rules_by_chance(model, 2), toy_images(5, 0).take(0)
    for shift in (0, 1):
        with pytest.raises(LabError, match="no image to answer"):
            answers(rules, model, empty, shift=shift)


@pytest.mark.parametrize("shift", [-1, 8])
def test_a_shift_that_does_not_fit_is_refused(model, shift):
    with pytest.raises(LabError, match=f"shift of {shift} pixels"):
        answers(rules_by_chance(model, 2), model, toy_images(5, 0), shift=shift)
