"""What every mask would save and harm, from one forward and one backward pass over a split.

A mask harms where it predicts a patch to be zero that is not. To first order this changes an
image's margin by the sum of activation x gradient over the patch (Molchanov et al. 2017, "Pruning
convolutional neural networks for resource efficient inference", section 2.2), whatever the pattern:
where its ones are all zero, all else in the patch is lost. So sums by code answer for all patterns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.methods.spatial.codes import SMALLEST, PatchCodes, within
from labsupport.methods.spatial.layer import SpatialLayer
from labsupport.methods.spatial.masks import Granularity
from labsupport.methods.spatial.network import SpatialNetwork
from labsupport.methods.spatial.patterns import encode, everything
from labsupport.network.modes import evaluating

MOST = 2**28  # targets x patterns whose effects are held in memory: a gigabyte of each kind


@dataclass(frozen=True, eq=False)
class Effects:
    """What each pattern does, wherever it may stand in a layer's mask: a row of sums per target.

    `saved` (MACs of an image) and `harm` (see `margin_shares`) are float32 (channels or 1, rows or
    1, columns or 1, patterns), means over the images of a split.
    """

    saved: Tensor = field(repr=False)
    harm: Tensor = field(repr=False)

    def add(self, granularity: Granularity, patterns: Tensor, batch: _Batch, images: int) -> None:
        """Take in the patches of a batch, one of several that make up so many images."""
        codes, size = batch.codes.codes, everything(batch.codes.p) + 1
        saved = batch.codes.saved(granularity, patterns)
        self.saved.add_(saved, alpha=len(codes) / images)
        harm = within(codes, granularity, size - 1 - patterns, size, batch.harm)
        self.harm.add_(harm, alpha=1 / images)


@dataclass(frozen=True, eq=False)
class _Batch:
    """The codes of a layer's patches and what harm it does to lose each, both (n, C, rows, k)."""

    codes: PatchCodes
    harm: Tensor


def effects(
    network: SpatialNetwork,
    split: Batched,
    granularity: Granularity,
    patterns: Tensor,
    p: int,
    batch_size: int = 250,
) -> dict[str, Effects]:
    """The effects of patterns in each layer, by its name; masks of enabled layers are in force.

    No map outlives its batch. Raises LabError for a split without images, and for more targets and
    patterns than fit into memory.
    """
    if not len(split):
        raise LabError("there are no images to look at", "give at least one")
    shapes = {name: granularity.shape(layer.ofmap, p) for name, layer in network.layers.items()}
    _check_size(sum(shape.numel() for shape in shapes.values()), len(patterns))
    totals = {
        name: Effects(*torch.zeros(2, *shape, len(patterns))) for name, shape in shapes.items()
    }
    for x, y in split.batches(batch_size):
        for layer, given, change in changes(network, x, y):
            codes = encode(given, p).to("cpu", SMALLEST[p])
            known = PatchCodes(p, layer.ofmap, layer.macs, codes)
            batch = _Batch(known, _patch_sums(change, p).abs().cpu())
            totals[layer.name].add(granularity, patterns, batch, len(split))
    return totals


def changes(
    network: SpatialNetwork, x: Tensor, y: Tensor
) -> Iterator[tuple[SpatialLayer, Tensor, Tensor]]:
    """Each layer, the maps that it gets, and what each element adds to its image's margin share.

    The share would fall by as much, to first order, were the element zero. Both maps are
    (n, C, H, W).
    """
    with evaluating(network), torch.enable_grad(), _watched(network) as maps:
        shares = margin_shares(network(x.detach().requires_grad_()), y).sum()
    outputs = [output for _, output in maps.values()]
    gradients = torch.autograd.grad(shares, outputs, materialize_grads=True)
    for (layer, (given, _)), gradient in zip(maps.items(), gradients, strict=True):
        yield layer, given.detach(), given.detach() * gradient


def margin_shares(logits: Tensor, labels: Tensor) -> Tensor:
    """Each image's margin over the runner-up, as a share of what it has: its gradient counts.

    (n,), the margin over 1 + its own value; 0 for images that are wrong already. An image is lost
    when its margin is used up, so (by Markov's inequality) no larger part of the images is lost
    than the mean share that is used up. The 1, one nat, keeps images that stand on the edge from
    outweighing all others. Cross-entropy's gradient counts wrong images most, which have nothing
    to lose.
    """
    right = logits.gather(1, labels[:, None])[:, 0]
    margin = right - logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    has = margin.detach()
    return torch.where(has > 0, margin / (1 + has.clamp(min=0)), 0 * margin)


@contextmanager
def _watched(network: SpatialNetwork) -> Iterator[dict[SpatialLayer, tuple[Tensor, Tensor]]]:
    """What each layer gets and gives while the network runs."""
    maps: dict[SpatialLayer, tuple[Tensor, Tensor]] = {}

    def keep(layer: SpatialLayer, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        maps[layer] = inputs[0], output

    with ExitStack() as stack:
        for layer in network.layers.values():
            stack.callback(layer.register_forward_hook(keep).remove)
        yield maps


def _patch_sums(maps: Tensor, p: int) -> Tensor:
    """The sum over each patch of maps (n, C, H, W); what lies beyond a ragged edge is zero."""
    return avg_pool2d(maps, p, ceil_mode=True, divisor_override=1)


def _check_size(targets: int, patterns: int) -> None:
    if targets * patterns > MOST:
        problem = f"{patterns:,} patterns in {targets:,} places do not fit into memory"
        raise LabError(problem, "give a smaller range of `ones`, or a coarser granularity")
