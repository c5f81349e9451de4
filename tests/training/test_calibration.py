import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.training import expected_calibration_error, reliability


def answers(sure, classes=4):
    """Logits of networks that are `sure` of class 0, the rest of it shared equally."""
    sure = torch.as_tensor(sure, dtype=torch.float64)
    rest = (1 - sure) / (classes - 1)
    return torch.stack([sure, *[rest] * (classes - 1)], 1).log()


@given(st.floats(0.3, 0.99), st.integers(0, 40))
def test_of_one_confidence_it_is_the_distance_from_the_accuracy(sure, right):
    labels = (torch.arange(40) >= right).long()
    error = expected_calibration_error(answers([sure] * 40), labels)
    assert error == pytest.approx(abs(sure - right / 40))


@given(st.lists(st.tuples(st.floats(0.3, 0.99), st.booleans()), min_size=1), st.integers(1, 20))
def test_it_is_the_sum_over_bins_by_hand(images, bins):
    # On the border of two bins the last digit of a softmax would decide.
    assume(all(abs(s * bins - round(s * bins)) > 1e-9 for s, _ in images))
    total = 0.0
    for b in range(bins):
        inside = [(s, r) for s, r in images if b / bins < s <= (b + 1) / bins]
        total += abs(sum(r - s for s, r in inside)) / len(images)
    labels = torch.tensor([0 if right else 1 for _, right in images])
    error = expected_calibration_error(answers([s for s, _ in images]), labels, bins)
    assert error == pytest.approx(total, abs=1e-9)


def test_who_is_right_as_often_as_sure_has_no_error():
    labels = (torch.arange(100) >= 70).long()
    logits = answers([0.7] * 100)
    assert expected_calibration_error(logits, labels) == pytest.approx(0)
    (row,) = reliability(logits, labels).itertuples()
    assert (row.images, row.confidence, row.accuracy) == (100, pytest.approx(0.7), 0.7)


def test_certainty_falls_into_the_last_bin():
    logits = torch.tensor([[1e3, 0.0], [0.0, 1e3]])
    assert reliability(logits, torch.tensor([0, 0]), 10).index.tolist() == [10]
    assert expected_calibration_error(logits, torch.tensor([0, 0])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ((torch.zeros(3, 2), torch.zeros(3).long(), 0), "0 bins"),
        ((torch.zeros(3, 2), torch.zeros(2).long()), "3 answers for 2 labels"),
        ((torch.zeros(0, 2), torch.zeros(0).long()), "0 answers"),
        ((torch.full((1, 2), float("nan")), torch.zeros(1).long()), "not finite"),
    ],
)
def test_what_has_no_calibration_is_refused(given_, said):
    with pytest.raises(LabError, match=said):
        expected_calibration_error(*given_)
