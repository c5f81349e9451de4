"""The steps that rounding learns, of grids and of entropy coding, apart from other parameters."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from labsupport.training.optimizers import ParameterGroup

LEARNED = "log_step"  # what every module that learns a step calls its parameter


@dataclass(frozen=True)
class StepGroups:
    """Parameter groups for `fit`: steps at a learning rate of their own, without weight decay."""

    lr: float

    def __call__(self, network: nn.Module) -> list[ParameterGroup]:
        """All other parameters, then the steps."""
        learned: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            (learned if name.rpartition(".")[2] == LEARNED else others).append(parameter)
        return [{"params": others}, {"params": learned, "lr": self.lr, "weight_decay": 0.0}]
