"""Training under random masks, so that a network can do without what any mask would predict."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.methods.spatial.layer import kept
from labsupport.methods.spatial.masks import Mask
from labsupport.methods.spatial.patterns import everything, patterns
from labsupport.training import CrossEntropy, Objective, Step

PLAIN = CrossEntropy()
SIDES = (2, 3)


@dataclass(frozen=True)
class RandomMasks:
    """Another objective, under masks drawn anew for each batch; a dropout of what masks predict.

    While training, the map behind each ReLU is cut into patches of a side drawn from 2 and 3, and a
    `share` of its filters get a pattern each, of one to as many ones as the side: what it predicts
    to be zero is zero, as in a spatial layer, and gets no gradient. In eval mode nothing is masked.
    Between both, batch norms see different maps: recalibrate them.

    Raises LabError for a share outside [0, 1].
    """

    share: float = 0.5
    objective: Objective = PLAIN

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise LabError(f"a share of {self.share} of the filters", "give 0 to 1")

    def __call__(self, model: nn.Module, batch: Batch) -> Step:
        """The loss of a batch."""
        with ExitStack() as stack:
            for module in model.modules():
                if isinstance(module, nn.ReLU):
                    stack.callback(module.register_forward_hook(self._mask).remove)
            return self.objective(model, batch)

    def _mask(self, relu: nn.Module, _: tuple[Tensor, ...], maps: Tensor) -> Tensor:
        if maps.dim() != 4 or not relu.training:
            return maps
        p = SIDES[int(torch.randint(len(SIDES), ()))]
        ofmap = (maps.shape[1], maps.shape[2], maps.shape[3])
        height, width = ofmap[1:]
        computed = Mask(p, self._codes(ofmap[0], p)).full(ofmap)[:, :height, :width]
        return maps * kept(maps.detach(), computed.to(maps.device), p)

    def _codes(self, filters: int, p: int) -> Tensor:
        """A code for each filter (filters, 1, 1); without a pattern, all is computed."""
        options = patterns(p, (1, p))
        drawn = options[torch.randint(len(options), (filters,))]
        codes = torch.where(torch.rand(filters) < self.share, drawn, everything(p))
        return codes[:, None, None]
