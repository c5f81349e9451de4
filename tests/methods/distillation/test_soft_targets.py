import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div

from labsupport.core.errors import LabError
from labsupport.data import Batch, Split, Splits
from labsupport.methods.distillation import ConsistentTeacher, SoftTargets, with_teacher
from labsupport.training import Constant, Recipe, Shift, fit, fit_or_load, predict


def net(seed, hidden=8):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 3))


@pytest.fixture
def split():
    draw = torch.Generator().manual_seed(0)
    return Split(torch.randn(40, 1, 2, 2, generator=draw), torch.arange(40) % 3)


def batch_of(split):
    return Batch(split.x, split.y, split.extras)


def test_a_split_with_a_teacher_holds_labels_and_the_teachers_logits(split):
    teacher = net(0)
    both = with_teacher(split, teacher)
    assert both.x is split.x
    assert both.y is split.y
    assert torch.equal(both.extras["teacher_logits"], predict(teacher, split))
    assert not split.extras


def test_other_extras_stay_beside_the_teacher(split):
    hints = torch.randn(40, 5)
    both = with_teacher(Split(split.x, split.y, {"hints": hints}), net(0))
    assert set(both.extras) == {"hints", "teacher_logits"}
    assert both.extras["hints"] is hints


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_hintons(split, temperature, weight):
    teacher, student = net(0), net(1)
    objective = SoftTargets(temperature, weight)
    loss, logits, labels = objective(student, batch_of(with_teacher(split, teacher)))
    assert torch.equal(labels, split.y)
    assert torch.equal(logits, student(split.x))
    teacher_shares = (teacher(split.x) / temperature).softmax(1)
    student_log = (student(split.x) / temperature).log_softmax(1)
    doubts = -(teacher_shares * teacher_shares.log()).sum(1).mean()  # what no student can take away
    soft = temperature**2 * (kl_div(student_log, teacher_shares, reduction="batchmean") + doubts)
    expected = weight * soft + (1 - weight) * cross_entropy(student(split.x), split.y)
    torch.testing.assert_close(loss, expected)


def test_at_a_high_temperature_the_gradient_matches_logits(split):
    """Hinton et al., equation 4: for centered logits it is their difference over the classes."""
    teacher_shares = torch.randn(40, 3)
    teacher_shares -= teacher_shares.mean(1, keepdim=True)

    class Free(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.randn(40, 3))

        def forward(self, _x):
            return self.logits - self.logits.mean(1, keepdim=True)

    free = Free()
    batch = Batch(split.x, split.y, {"teacher_logits": teacher_shares})
    SoftTargets(1e3, 1.0)(free, batch).loss.backward()
    expected = (free(None).detach() - teacher_shares) / 3 / 40
    torch.testing.assert_close(free.logits.grad, expected, rtol=1e-2, atol=1e-4)


def test_a_student_learns_the_teacher_and_not_the_labels(split):
    teacher, student = net(0), net(1, hidden=32)
    assert (predict(teacher, split).argmax(1) == split.y).float().mean() < 0.6
    parts = (with_teacher(split, teacher), split, split)
    splits = Splits("toy", *parts, ("a", "b", "c"), (0.0,), (1.0,), "toy")
    recipe = Recipe(200, 40, 0.02, schedule=Constant(), weight_decay=0)
    result = fit(student, splits, recipe, objective=SoftTargets(2.0, 1.0))
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
        SoftTargets(**given)


def test_a_split_without_a_teacher_is_refused(split):
    with pytest.raises(LabError, match="without 'teacher_logits'"):
        SoftTargets()(net(0), batch_of(split))


def test_a_teacher_of_other_classes_is_refused(split):
    other = nn.Sequential(nn.Flatten(), nn.Linear(4, 5))
    with pytest.raises(LabError, match="3 classes learn from 5"):
        SoftTargets()(net(0), batch_of(with_teacher(split, other)))


def test_a_second_teacher_is_refused(split):
    with pytest.raises(LabError, match="has a teacher already"):
        with_teacher(with_teacher(split, net(0)), net(1))


def test_a_teacher_of_low_precision_is_kept_in_float32(split):
    low = Split(split.x.bfloat16(), split.y)
    teacher = net(0).bfloat16()
    logits = with_teacher(low, teacher).extras["teacher_logits"]
    assert logits.dtype == torch.float32
    assert torch.equal(logits, predict(teacher, low).float())


def test_a_consistent_teacher_answers_to_the_images_of_the_batch(split):
    teacher, student = net(0).train(), net(1)
    moved = batch_of(split)._replace(x=-split.x)
    expected = SoftTargets(2.0, 0.5)(
        student, batch_of(with_teacher(Split(-split.x, split.y), teacher))
    )
    step = ConsistentTeacher(teacher, SoftTargets(2.0, 0.5))(student, moved)
    torch.testing.assert_close(step.loss, expected.loss)
    assert teacher.training
    step.loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_training_with_a_consistent_teacher_is_kept(split, tmp_path):
    splits = Splits("toy", split, split, split, ("a", "b", "c"), (0.0,), (1.0,), "toy")
    recipe = Recipe(1, 20, augmentation=(Shift(1),))
    for seed in (0, 0, 5):  # another teacher makes another training
        objective = ConsistentTeacher(net(seed))
        fit_or_load(net(1), splits, recipe, 0, tmp_path, objective=objective)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_consistent_teacher_of_other_classes_is_refused(split):
    other = nn.Sequential(nn.Flatten(), nn.Linear(4, 5))
    with pytest.raises(LabError, match="3 classes learn from 5"):
        ConsistentTeacher(other)(net(0), batch_of(split))
