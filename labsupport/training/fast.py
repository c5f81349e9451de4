"""A recipe for few epochs, for `airbench` with its first layer whitened.

Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3 and appendix A, without
lookahead and alternating flips, and with the optimizer of Jordan's later record, Muon.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from labsupport.core.errors import LabError
from labsupport.training.augmentation import Flip, Shift
from labsupport.training.muon import Muon
from labsupport.training.optimizers import ParameterGroup
from labsupport.training.recipe import Recipe
from labsupport.training.schedules import Triangular

RATE, DECAY = 1.5e-3, 1.3e-3  # the rate is for one image of a batch


def fast_recipe(epochs: int = 10, batch_size: int = 512) -> Recipe:
    """Muon at a rate that grows with the batch, flips, shifts, smoothed labels.

    The share of the rate that filters get is tuned for batches of 512. Freeze the weight of a
    whitened first layer, as Muon would undo the whitening, and train with `FasterBiases(recipe)` as
    groups.
    """
    return Recipe(
        epochs,
        batch_size,
        lr=RATE * batch_size,
        weight_decay=DECAY,
        optimizer=Muon(),
        schedule=Triangular(),
        augmentation=(Flip(), Shift(2)),
        label_smoothing=0.2,
        channels_last=True,
        keep="last",
    )


@dataclass(frozen=True)
class FasterBiases:
    """Groups for `fit`: the biases of batch norms learn `times` faster, with as much less decay.

    Jordan 2024, section 3.4. Raises LabError for `times` that is not above 0 or not finite.
    """

    recipe: Recipe
    times: float = 64.0

    def __post_init__(self) -> None:
        if not 0 < self.times < float("inf"):
            raise LabError(f"biases that learn {self.times} times as fast", "give a number above 0")

    def __call__(self, model: nn.Module) -> list[ParameterGroup]:
        """Two groups of a network's parameters."""
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        biases = [norm.bias for norm in norms if norm.bias is not None]
        apart = {id(bias) for bias in biases}
        others = [p for p in model.parameters() if id(p) not in apart]
        lr, decay = self.recipe.lr * self.times, self.recipe.weight_decay / self.times
        return [{"params": others}, {"params": biases, "lr": lr, "weight_decay": decay}]
