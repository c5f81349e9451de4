import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.training import (
    CrossEntropy,
    InBfloat16,
    SoftCrossEntropy,
    in_faster_precision,
    multiplies_bfloat16,
)

X, Y = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Linear(4, 3)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_smoothed_labels_give_a_share_to_all_classes(model, smoothing):
    step = CrossEntropy(smoothing)(model, Batch(X, Y))
    shares = one_hot(Y, 3) * (1 - smoothing) + smoothing / 3
    torch.testing.assert_close(step.loss, -(shares * model(X).log_softmax(1)).sum(1).mean())
    assert torch.equal(step.logits, model(X))
    assert step.labels is Y


def test_soft_shares_of_one_class_are_labels(model):
    batch = Batch(X, 0 * Y, {"shares": one_hot(Y, 3).float()})
    step = SoftCrossEntropy("shares")(model, batch)
    torch.testing.assert_close(step.loss, cross_entropy(model(X), Y))
    assert torch.equal(step.labels, Y)


def test_the_gradient_of_soft_shares_is_the_difference_of_the_shares():
    logits = torch.randn(6, 3, requires_grad=True)
    shares = torch.randn(6, 3).softmax(1)
    step = SoftCrossEntropy("shares")(nn.Identity(), Batch(logits, Y, {"shares": shares}))
    step.loss.backward()
    torch.testing.assert_close(logits.grad, (logits.softmax(1).detach() - shares) / 6)


def test_in_bfloat16_products_are_rounded_and_the_loss_and_the_gradients_are_not(model):
    rounded = []
    model.register_forward_hook(lambda _model, _inputs, output: rounded.append(output))
    step = InBfloat16(CrossEntropy(0.1))(model, Batch(X, Y))
    assert rounded[0].dtype == torch.bfloat16
    assert step.logits.dtype == step.loss.dtype == torch.float32
    expected = cross_entropy(rounded[0].float(), Y, label_smoothing=0.1)
    torch.testing.assert_close(step.loss, expected)
    step.loss.backward()
    assert model.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("name", ["amx_bf16", "avx512_bf16", "bf16"])
def test_instructions_that_multiply_bfloat16_are_used(monkeypatch, name):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, name: True})
    assert multiplies_bfloat16(torch.device("cpu"))
    assert in_faster_precision(CrossEntropy(), torch.device("cpu")) == InBfloat16(CrossEntropy())


def test_without_such_instructions_products_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": False})
    assert not multiplies_bfloat16(torch.device("cpu"))
    assert in_faster_precision(CrossEntropy(), torch.device("cpu")) == CrossEntropy()


def test_a_batch_without_the_extra_is_refused(model):
    with pytest.raises(LabError, match="without 'shares'"):
        SoftCrossEntropy("shares")(model, Batch(X, Y))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(LabError, match="label smoothing"):
        CrossEntropy(smoothing)
