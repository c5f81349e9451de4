"""Peak memory of a network, counted from the allocator's own events: it repeats exactly."""

from __future__ import annotations

import copy
import gc
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.network.calls import device_of, exit_logits, run
from labsupport.network.modes import evaluating, no_garbage_collection
from labsupport.runtimes.runtime import runtime_of
from labsupport.training import CrossEntropy, Objective

ParameterOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Peak:
    """Most bytes of tensors alive at once, by what they are.

    `weights` (parameters and buffers), `inputs` and `optimizer` (its state) live all the time.
    `transient` is the most that comes and goes at once on top of them: activations, gradients,
    scratch space that libraries take from torch's allocator. The allocator does not say which
    bytes are whose, so it is not divided further.
    """

    weights: int
    inputs: int
    optimizer: int
    transient: int

    @property
    def total(self) -> int:
        """All parts together."""
        return self.weights + self.inputs + self.optimizer + self.transient


def fused_adamw(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW that updates in place: no temporary copies of the weights."""
    return torch.optim.AdamW(parameters, fused=True)


def inference_peak(model: nn.Module, x: Tensor) -> Peak:
    """Peak memory of one inference on the batch x. Raises LabError when x does not fit."""
    with evaluating(model), torch.inference_mode():
        run(model, x)  # the first call may allocate what later calls keep
        transient = transient_bytes(lambda: run(model, x), device_of(model))
    return Peak(runtime_of(model).resident_bytes(model), x.nbytes, 0, transient)


def training_peak(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    optimizer: ParameterOptimizer = fused_adamw,
    loss: Loss = nn.functional.cross_entropy,
) -> Peak:
    """Peak memory of one training step on (x, y), once the optimizer has its state.

    A step is forward, backward, update, gradients dropped; a network of several exits descends the
    sum of the losses that train something: rules on the image itself do not. It works on a copy.
    Raises LabError where nothing can be trained.
    """
    trained = copy.deepcopy(model).train()
    optimizer_ = optimizer(trained.parameters())

    def step() -> None:
        losses = [loss(logits, y) for logits in exit_logits(trained, x)]
        descended = [value for value in losses if value.requires_grad]
        if not descended:
            raise LabError("no loss has a gradient", "unfreeze some of the network's weights")
        torch.autograd.backward(descended)
        optimizer_.step()
        optimizer_.zero_grad(set_to_none=True)

    trained.zero_grad(set_to_none=True)
    with torch.enable_grad():
        step()
        transient = transient_bytes(step, device_of(trained))
    state = chain.from_iterable(values.values() for values in optimizer_.state.values())
    moments = sum(tensor.nbytes for tensor in state if isinstance(tensor, Tensor))
    return Peak(
        runtime_of(trained).resident_bytes(trained), x.nbytes + y.nbytes, moments, transient
    )


def activation_peak(model: nn.Module, batch: Batch, objective: Objective | None = None) -> int:
    """Most bytes that the forward and backward pass of one step hold beside all that lasts.

    Weights lie there before, and so does a gradient of each, to which the step adds; what comes and
    goes are activations kept for the backward pass, gradients on their way, and scratch space. What
    a network drops and computes again (`torch.utils.checkpoint`) is not held and not counted.
    """
    trained = copy.deepcopy(model).train()
    for parameter in trained.parameters():
        parameter.grad = torch.zeros_like(parameter)
    descended = objective or CrossEntropy()

    def passes() -> None:
        torch.autograd.backward(descended(trained, batch).loss)

    with torch.enable_grad():
        passes()  # the first call may allocate what later calls keep
        return transient_bytes(passes, device_of(trained))


def transient_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Most bytes that `call` has allocated at once, on top of what was there before."""
    if device.type == "cuda":
        return _cuda_transient(call, device)
    sizes = _allocations(call)
    return max(accumulate(sizes, initial=0))


def _cuda_transient(call: Callable[[], object], device: torch.device) -> int:
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    return int(torch.cuda.max_memory_allocated(device) - before)


def _allocations(call: Callable[[], object]) -> list[int]:
    """Bytes taken (positive) and given back (negative) on the CPU during `call`, in order.

    The exported trace is the public place where the profiler lists every one of them.
    """
    # Otherwise the profiler's library prints time stamps into the notebook.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    gc.collect()  # or older garbage is given back during the call
    with (
        no_garbage_collection(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler,
    ):
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    on_cpu = [e for e in events if e["name"] == "[memory]" and e["args"]["Device Type"] == 0]
    return [event["args"]["Bytes"] for event in sorted(on_cpu, key=lambda event: event["ts"])]
