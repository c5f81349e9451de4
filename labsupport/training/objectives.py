"""What training descends: a loss of a network and a batch, as a value that can be described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from labsupport.core.errors import LabError
from labsupport.data import Batch


class Step(NamedTuple):
    """The loss that is differentiated; logits (N, classes) and labels (N,) that are reported."""

    loss: Tensor
    logits: Tensor
    labels: Tensor


Objective = Callable[[nn.Module, Batch], Step]


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy in nats with the labels, smoothed (Szegedy et al. 2016, section 7) or plain.

    Raises LabError for a smoothing outside [0, 1), and, when called, for a label that the network
    has no output for.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise LabError(f"label smoothing of {self.label_smoothing}", "give 0 to below 1")

    def __call__(self, model: nn.Module, batch: Batch) -> Step:
        """The loss of a batch."""
        logits = model(batch.x)
        try:
            loss = cross_entropy(logits, batch.y, label_smoothing=self.label_smoothing)
        except IndexError:  # on the CPU; a GPU would have to be waited for
            problem = f"labels up to {batch.y.max()} for {logits.shape[1]} outputs"
            raise LabError(problem, "number the classes from 0, with an output for each") from None
        return Step(loss, logits, batch.y)


@dataclass(frozen=True)
class SoftCrossEntropy:
    """Cross-entropy in nats with class shares (N, classes) that a split has as an extra.

    The labels play no part: the accuracy that is reported is with the largest share.
    Raises LabError, when called, for a batch without that extra.
    """

    extra: str

    def __call__(self, model: nn.Module, batch: Batch) -> Step:
        """The loss of a batch."""
        shares, logits = extra_of(batch, self.extra), model(batch.x)
        return Step(cross_entropy(logits, shares), logits, shares.argmax(1))


@dataclass(frozen=True)
class InBfloat16:
    """Another objective, with the network's products in bfloat16 (Micikevicius et al. 2018).

    Weights, their gradients and the loss stay float32. Faster where the processor multiplies
    bfloat16, slower elsewhere.
    """

    objective: Objective

    def __call__(self, model: nn.Module, batch: Batch) -> Step:
        """The loss of a batch."""
        with torch.autocast(batch.x.device.type, torch.bfloat16):
            loss, logits, labels = self.objective(model, batch)
        return Step(loss, logits.float(), labels)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions that multiply bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    instructions = torch.cpu.get_capabilities()
    return any(instructions.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def in_faster_precision(objective: Objective, device: torch.device) -> Objective:
    """The objective with products in bfloat16 where the device multiplies it, else as it is."""
    return InBfloat16(objective) if multiplies_bfloat16(device) else objective


def extra_of(batch: Batch, name: str) -> Tensor:
    """What a batch has beside its labels under a name. Raises LabError where it has nothing."""
    if name not in batch.extras:
        raise LabError(f"the images come without {name!r}", "train on a split with that extra")
    return batch.extras[name]
