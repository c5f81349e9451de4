"""What every method must pass, as scikit-learn's estimators pass `check_estimator`."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from labsupport.data import Splits
from labsupport.measure.latency import clock
from labsupport.network.calls import is_conditional
from labsupport.network.cost import HasCost, mean_cost
from labsupport.network.fingerprint import fingerprint
from labsupport.network.modes import evaluating
from labsupport.network.storage import load, save
from labsupport.network.tracing import trace
from labsupport.training import Recipe, fit, predict

Method = Callable[[nn.Module], nn.Module]
ONE_EPOCH = Recipe(epochs=1, batch_size=16, lr=1e-3, weight_decay=0.01)
IMAGES = 12


def check_method(method: Method, model: nn.Module, splits: Splits) -> nn.Module:
    """Apply a method to a network, check all that the course asks of methods, give its result.

    The input is unchanged and shares no memory with the result; the result answers batches and
    single images alike, can be copied, saved and loaded, counted, clocked, traced (unless it is
    conditional or another runtime's) and trained further (where it has parameters to train).
    `splits` may be tiny: a few dozen images in each part. Raises AssertionError that
    names the first check that fails.
    """
    before, modes, frozen = fingerprint(model), _modes(model), _frozen(model)
    result = method(model)
    assert fingerprint(model) == before, "the method changed the network that it was given"
    assert _modes(model) == modes, "the method left modules of its input in another mode"
    assert _frozen(model) == frozen, "the method froze or woke parameters of its input"
    assert not _hooks(model), "the method left hooks on its input"
    assert not _storages(model) & _storages(result), "result and input share memory"
    check_network(result, splits)
    assert fingerprint(model) == before, "using the result changed the network it came from"
    return result


def check_network(network: nn.Module, splits: Splits) -> None:
    """The checks of `check_method` that look at its result alone. Raises AssertionError."""
    for check in (check_answers, check_copy, check_file, check_cost, check_clock, check_trace):
        check(network, splits)
    check_training(network, splits)


def check_answers(network: nn.Module, splits: Splits) -> None:
    """Finite logits (N, classes), the same for an image by itself and in a batch."""
    x = splits.test.x[:IMAGES]
    together = _answers(network, x)
    alone = torch.cat([_answers(network, image) for image in torch.split(x, 1)])
    assert together.shape == (len(x), len(splits.classes)), "not one row of logits per image"
    assert together.isfinite().all(), "logits are not finite"
    torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-4)


def check_copy(network: nn.Module, splits: Splits) -> None:
    """A deep copy answers alike and shares no memory."""
    x, copied = splits.test.x[:IMAGES], copy.deepcopy(network)
    assert torch.equal(_answers(copied, x), _answers(network, x)), "a copy answers otherwise"
    assert not _storages(copied) & _storages(network), "a copy shares memory with the original"


def check_file(network: nn.Module, splits: Splits) -> None:
    """What is read back from a file is the same network and answers alike, to the last bit."""
    x = splits.test.x[:IMAGES]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.safetensors"
        save(network, path)
        loaded = load(path)
    assert torch.equal(_answers(loaded, x), _answers(network, x)), "read back, it answers otherwise"
    assert fingerprint(loaded) == fingerprint(network), "read back, it is another network"


def check_cost(network: nn.Module, splits: Splits) -> None:
    """All its work is known, and it is some."""
    found = mean_cost(network, splits.test.take(IMAGES))
    work = found.fp_macs + found.int8_macs + found.binary_ops + found.additions
    assert 0 < work < math.inf, f"its cost is {found}"


def check_clock(network: nn.Module, splits: Splits) -> None:
    """It can be clocked."""
    clocking = clock({"network": network}, splits.test.x[:1], rounds=1, calls=1, warmup=1)
    assert clocking.median_ms("network") > 0


def check_trace(network: nn.Module, splits: Splits) -> None:
    """It can be traced, and so be given to surgery.

    Networks whose work depends on the image cannot, nor those whose work is not torch's.
    """
    if not is_conditional(network) and not isinstance(network, HasCost):
        trace(network, splits.input_shape)


def check_training(network: nn.Module, splits: Splits) -> None:
    """An epoch of training gives another network of the same kind, and leaves this one alone."""
    if not any(parameter.requires_grad for parameter in network.parameters()):
        return
    before = fingerprint(network)
    trained = fit(network, splits, ONE_EPOCH).model
    assert fingerprint(network) == before, "training changed the network it started from"
    assert type(trained) is type(network), "training gives a network of another kind"
    assert fingerprint(trained) != before, "training changed no weight"
    assert predict(trained, splits.test).isfinite().all(), "trained, its logits are not finite"


def _answers(network: nn.Module, x: Tensor) -> Tensor:
    with evaluating(network), torch.no_grad():
        logits: Tensor = network(x)
    return logits


def _modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def _frozen(model: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in model.parameters()]


def _hooks(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]


def _storages(model: nn.Module) -> set[int]:
    tensors = [*model.parameters(), *model.buffers()]
    dense = [t.values() if t.is_sparse_csr else t for t in tensors]
    return {tensor.untyped_storage().data_ptr() for tensor in dense if tensor.numel()}
