import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div

from labsupport.core.errors import LabError
from labsupport.data import Split, Splits
from labsupport.methods.distillation import soft_targets, taught
from labsupport.training import Recipe, fit, predict


def net(seed, hidden=8):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 3))


@pytest.fixture
def split():
    draw = torch.Generator().manual_seed(0)
    return Split(torch.randn(40, 1, 2, 2, generator=draw), torch.arange(40) % 3)


def test_a_taught_split_holds_labels_and_the_teachers_logits(split):
    teacher = net(0)
    both = taught(split, teacher)
    assert both.y[:, 0].tolist() == split.y.tolist()
    assert torch.equal(both.y[:, 1:], predict(teacher, split))
    assert both.x is split.x


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_hintons(split, temperature, weight):
    teacher, student = net(0), net(1)
    loss, logits, labels = soft_targets(temperature, weight)(
        student, split.x, taught(split, teacher).y
    )
    assert torch.equal(labels, split.y)
    assert torch.equal(logits, student(split.x))
    told = (teacher(split.x) / temperature).softmax(1)
    said = (student(split.x) / temperature).log_softmax(1)
    doubts = -(told * told.log()).sum(1).mean()  # what no student can take away
    soft = temperature**2 * (kl_div(said, told, reduction="batchmean") + doubts)
    expected = weight * soft + (1 - weight) * cross_entropy(student(split.x), split.y)
    torch.testing.assert_close(loss, expected)


def test_at_a_high_temperature_the_gradient_matches_logits(split):
    """Hinton et al., equation 4: for centered logits it is their difference over the classes."""
    told = torch.randn(40, 3)
    told -= told.mean(1, keepdim=True)

    class Free(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.randn(40, 3))

        def forward(self, _x):
            return self.logits - self.logits.mean(1, keepdim=True)

    free = Free()
    y = torch.cat([split.y[:, None].float(), told], 1)
    soft_targets(1e3, 1.0)(free, split.x, y).loss.backward()
    expected = (free(None).detach() - told) / 3 / 40
    torch.testing.assert_close(free.logits.grad, expected, rtol=1e-2, atol=1e-4)


def test_a_student_learns_the_teacher_and_not_the_labels(split):
    teacher, student = net(0), net(1, hidden=32)
    assert (predict(teacher, split).argmax(1) == split.y).float().mean() < 0.6
    parts = (taught(split, teacher), split, split)
    splits = Splits("toy", *parts, ("a", "b", "c"), (0.0,), (1.0,), "toy")
    recipe = Recipe(200, 40, 0.02, schedule="constant", weight_decay=0)
    result = fit(student, splits, recipe, objective=soft_targets(2.0, 1.0))
    last = result.history.iloc[-1]
    assert math.isfinite(last["train_loss"])
    alike = predict(result.model, split).argmax(1) == predict(teacher, split).argmax(1)
    assert alike.float().mean() > 0.7


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": 0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"weight": 1.1},
        {"weight": -0.1},
    ],
)
def test_what_cannot_be_is_refused(given):
    with pytest.raises(LabError, match="temperature"):
        soft_targets(**given)


def test_a_split_without_a_teacher_is_refused(split):
    with pytest.raises(LabError, match="no teacher"):
        soft_targets()(net(0), split.x, split.y)


def test_a_teacher_of_other_classes_is_refused(split):
    other = nn.Sequential(nn.Flatten(), nn.Linear(4, 5))
    with pytest.raises(LabError, match="3 classes learn from 5"):
        soft_targets()(net(0), split.x, taught(split, other).y)


def test_a_second_teacher_is_refused(split):
    with pytest.raises(LabError, match="has a teacher already"):
        taught(taught(split, net(0)), net(1))


def test_labels_survive_a_teacher_of_low_precision():
    many = Split(torch.zeros(400, 1, 2, 2).bfloat16(), torch.arange(400))
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(4, 400)).bfloat16()
    assert torch.equal(taught(many, teacher).y[:, 0].long(), many.y)
