"""SnaPEA: sums behind which a ReLU stands stop once they cannot end above zero.

Akhlaghi et al. 2018, "SnaPEA: Predictive early activation for reducing computation in deep
convolutional neural networks", section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

from labsupport.core.errors import LabError
from labsupport.methods.spatial.folding import folded
from labsupport.methods.spatial.layer import SpatialLayer
from labsupport.network.cost import Cost

AT_ONCE = 2**24  # numbers of unfolded images in memory together


class SnapeaLayer(nn.Module):
    """Counts what a convolution saves whose sums stop early, and predicts zeros if it is told to.

    Exact mode: a filter's positive weights come first, then the negative ones, the largest first.
    As inputs are not negative, a sum that is 0 or less with only negative weights left stays so,
    and the ReLU makes it 0: it stops. The map stays as it is.

    Predictive mode: the `first` weights, the largest of both signs, come before all others. Where
    their sum lies below the filter's threshold, the map is predicted to be 0, and the sum stops.

    Batch norms between the convolution and the ReLU are folded into the weights, so that a negative
    scale turns signs round. The network computes and counts its convolution in full; `forward_cost`
    takes off what is not done. Where a spatial layer behind predicts zeros, nothing is done at all,
    and that layer counts all of it.
    """

    conditional = True
    thresholds: Tensor

    def __init__(
        self,
        name: str,
        convolution: nn.Conv2d,
        norms: Sequence[nn.BatchNorm2d],
        masks: Sequence[SpatialLayer],
    ) -> None:
        super().__init__()
        self.name = name
        # In tuples they are not children of this layer: they have their places in the network.
        self.convolutions, self.norms, self.masks = (convolution,), tuple(norms), tuple(masks)
        self.register_buffer("thresholds", convolution.weight.new_empty(convolution.out_channels))
        self.be_exact()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one element that is computed in full."""
        return self.convolutions[0].weight[0].numel()

    def be_exact(self) -> None:
        """Turn to exact mode, which predicts nothing."""
        self.first = 0
        self.thresholds = torch.full_like(self.thresholds, -math.inf)

    def predict_zeros(self, first: int, thresholds: Tensor) -> None:
        """Turn to predictive mode; a filter with a threshold of minus infinity stays exact.

        `thresholds` are (filters,). Raises LabError if there are not so many weights or filters.
        """
        if not 0 < first <= self.macs:
            problem = f"{first} weights of {self.name} to predict by"
            raise LabError(problem, f"give a number within 1 and {self.macs}")
        if thresholds.shape != self.thresholds.shape or bool(thresholds.isnan().any()):
            problem = f"thresholds of shape {tuple(thresholds.shape)} for {self.name}"
            raise LabError(problem, f"give {len(self.thresholds)} numbers, one for each filter")
        self.first = first
        self.thresholds = thresholds.detach().to(self.thresholds, copy=True)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The map y (N, C, H, W) of the ReLU, with its predicted zeros; x is the convolution's.

        Raises LabError for an x with numbers below 0.
        """
        if bool((x < 0).any()):
            problem = f"{self.name} gets numbers below 0, so that no sum may stop early"
            raise LabError(problem, "leave it out, or give it what a ReLU or a pixel gives")
        return y * ~self.predicted(x) if self.first else y

    @torch.no_grad()
    def first_sums(self, x: Tensor, first: int) -> Tensor:
        """The sums (N, C, H, W) over the `first` weights of each filter, its bias included."""
        weight, bias = folded(self.convolutions[0], self.norms)
        return self._convolve(x, weight * _largest(weight, first), bias)

    def predicted(self, x: Tensor) -> Tensor:
        """Which elements are predicted to be zero, bool (N, C, H, W)."""
        return self.first_sums(x, self.first) < self.thresholds[:, None, None]

    @torch.no_grad()
    def done(self, x: Tensor) -> Tensor:
        """How many MACs each element of the map takes, int32 (N, C, H, W), without masks."""
        from labsupport.methods.spatial.early_stops import count_macs  # numba takes a second

        weight, bias = folded(self.convolutions[0], self.norms)
        speculates = (self.thresholds > -math.inf).view(-1, 1, 1, 1)
        head = (weight > 0) | (_largest(weight, self.first) & speculates)
        flat, first = weight.flatten(1), head.flatten(1)
        order = torch.where(first, -math.inf, flat).argsort(1)  # behind the head, largest first
        filters = [tensor.cpu().numpy() for tensor in (flat, order, first.sum(1))]
        parts = []
        for images in torch.split(x, max(1, AT_ONCE // self._unfolded(x[:1]).numel())):
            sums = self._convolve(images, weight * head, bias)
            done = torch.zeros_like(sums, dtype=torch.int32, device="cpu")
            arrays = [t.flatten(2).cpu().numpy() for t in (self._unfolded(images), sums)]
            count_macs(*arrays, *filters, done.flatten(2).numpy())
            parts.append(done.to(x.device))
        stopped = torch.cat(parts)
        return torch.where(self.predicted(x), self.first, stopped) if self.first else stopped

    def forward_cost(self, x: Tensor, output: Tensor) -> Cost:
        """The MACs that are not done, with a minus sign, where no mask predicts a zero anyway."""
        undone = self.macs - self.done(x)
        for mask in self.masks:
            if mask.enabled:
                undone = undone * mask.kept(output)
        return Cost(fp_macs=-int(undone.sum()))

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        map_of: Tensor = self.convolutions[0]._conv_forward(x, weight, bias)
        return map_of

    def _unfolded(self, x: Tensor) -> Tensor:
        """What each position's sum reads, (N, channels k k, H W)."""
        layer = self.convolutions[0]
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = pad(x, layer._reversed_padding_repeated_twice, mode)
        return unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{self.name}, " + (f"predicts by {self.first}" if self.first else "exact")


def _largest(weight: Tensor, number: int) -> Tensor:
    """Which weights of each filter are the largest, of both signs; bool of the same shape."""
    sizes = weight.flatten(1).abs()
    chosen = torch.zeros_like(sizes, dtype=torch.bool)
    return chosen.scatter_(1, sizes.topk(number).indices, True).view(weight.shape)
