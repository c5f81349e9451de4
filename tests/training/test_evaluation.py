import pytest
import torch
from torch.nn.functional import cross_entropy

from labsupport.core.errors import LabError
from labsupport.training import evaluate, predict


def test_evaluation_is_the_mean_over_examples_not_over_batches(model, splits):
    model.eval()
    logits = model(splits.val.x)
    result = evaluate(model, splits.val, batch_size=10)  # 33 images: a last batch of 3
    assert result.loss == pytest.approx(cross_entropy(logits, splits.val.y).item(), rel=1e-5)
    assert result.accuracy == pytest.approx(
        (logits.argmax(1) == splits.val.y).float().mean().item()
    )
    torch.testing.assert_close(predict(model, splits.val, batch_size=10), logits)


@pytest.mark.parametrize("frozen", [(), (1,), (1, 2)])
def test_evaluation_switches_dropout_off_and_restores_each_modules_mode(model, splits, frozen):
    model.train()
    for index in frozen:
        model[index].eval()
    modes = [module.training for module in model.modules()]
    assert torch.equal(predict(model, splits.val), predict(model, splits.val))
    evaluate(model, splits.val)
    assert [module.training for module in model.modules()] == modes


def test_modes_are_restored_after_an_error(model, splits):
    model.train()
    model.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(model, splits.val)
    assert all(module.training for module in model.modules())


def test_answers_carry_no_gradient(model, splits):
    assert not predict(model, splits.val).requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("judge", [evaluate, predict])
def test_no_images_have_no_accuracy(model, splits, judge):
    with pytest.raises(LabError, match="no images"):
        judge(model, splits.test.take(0))
