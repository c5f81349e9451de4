"""What the masks of a spatial network do on a split: savings and false predictions, by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.methods.spatial.layer import SpatialLayer
from labsupport.methods.spatial.network import SpatialNetwork, disabled
from labsupport.network.cost import layer_costs, predict_with_cost
from labsupport.network.modes import evaluating

Watch = Callable[[SpatialLayer, Tensor], None]


@dataclass(frozen=True)
class Savings:
    """What masks save, as means over the images of a split.

    `layers` has a row for each spatial layer: layer, convolutions, ofmap, p, granularity, macs (of
    its convolutions), saved_macs, saved (their share), and the shares of its elements that are zero
    without the mask, and wrong: predicted to be zero, but not zero.
    `convolution_macs` and `all_macs` are those of the whole network without masks.
    """

    layers: pd.DataFrame
    convolution_macs: float
    all_macs: float

    @property
    def saved_macs(self) -> float:
        """MACs of an image that need not be computed."""
        return float(self.layers["saved_macs"].sum())

    @property
    def of_convolutions(self) -> float:
        """The saved share of the MACs of all convolutions."""
        return self.saved_macs / self.convolution_macs

    @property
    def of_all(self) -> float:
        """The saved share of all MACs, those of linear layers among them."""
        return self.saved_macs / self.all_macs


def savings(network: SpatialNetwork, split: Batched, batch_size: int = 250) -> Savings:
    """What the masks save and get wrong, by one pass with the masks in force.

    A layer's zeros are those that the layers before it leave it with. Raises LabError for a split
    without images.
    """
    totals = {name: torch.zeros(3, dtype=torch.int64) for name in network.layers}

    def count(layer: SpatialLayer, x: Tensor) -> None:
        zero, predicted = x == 0, ~layer.kept(x) & layer.enabled
        seen = (zero, predicted, predicted & ~zero)
        totals[layer.name] += torch.stack([mask.sum() for mask in seen]).cpu()

    shape = watch(network, split, count, batch_size)
    rows = [
        _row(layer, totals[name].double() / len(split)) for name, layer in network.layers.items()
    ]
    return Savings(pd.DataFrame(rows), *plain_macs(network, shape))


def zero_share(network: SpatialNetwork, split: Batched) -> float:
    """The share of zeros in the maps of the spatial layers, without masks.

    Each map is weighed by the MACs that its values take. Raises LabError for a split without
    images.
    """
    with disabled(network):
        layers = savings(network, split).layers
    return float((layers["zero"] * layers["macs"]).sum() / layers["macs"].sum())


@dataclass(frozen=True)
class Judgment:
    """What masks save, a share of the convolutions' MACs, and the accuracy that they leave."""

    saved: float
    accuracy: float


def judge(network: SpatialNetwork, split: Batched, batch_size: int = 250) -> Judgment:
    """Savings and accuracy on a split with labels, by one pass with the masks in force.

    Raises LabError for a split without images.
    """
    if not len(split):
        raise LabError("there are no images to judge by", "give at least one")
    logits, cost = predict_with_cost(network, split, batch_size)
    labels = torch.cat([y for _, y in split.batches(batch_size)])
    convolution_macs, all_macs = plain_macs(network, next(split.batches(1))[0].shape[1:])
    saved = (all_macs - cost.fp_macs) / convolution_macs
    return Judgment(saved, float((logits.argmax(1) == labels).double().mean()))


@torch.no_grad()
def watch(network: SpatialNetwork, split: Batched, look: Watch, batch_size: int) -> tuple[int, ...]:
    """Show `look` what each spatial layer gets, batch by batch, in eval mode; the images' shape.

    Raises LabError for a split without images.
    """
    if not len(split):
        raise LabError("there are no images to look at", "give at least one")
    with evaluating(network), _looking(network, look):
        for x, _ in split.batches(batch_size):
            network(x)
    return tuple(x.shape[1:])


@contextmanager
def _looking(network: SpatialNetwork, look: Watch) -> Iterator[None]:
    with ExitStack() as stack:
        for layer in network.layers.values():
            hook = layer.register_forward_pre_hook(lambda layer, inputs: look(layer, inputs[0]))
            stack.callback(hook.remove)
        yield


def plain_macs(network: SpatialNetwork, shape: Sequence[int]) -> tuple[float, float]:
    """MACs of an image of a shape without masks: those of convolutions, and all."""
    with disabled(network):
        costs = layer_costs(network, tuple(shape))
    convolutions = costs[costs["kind"].str.startswith("Conv")]["macs"].sum()
    return float(convolutions), float(costs["macs"].sum())


def _row(layer: SpatialLayer, counts: Tensor) -> dict[str, object]:
    elements = torch.Size(layer.ofmap).numel()
    zero, predicted, wrong = (counts / elements).tolist()
    granularity = layer.mask.granularity(layer.ofmap)
    return {
        "layer": layer.name,
        "convolutions": len(layer.names),
        "ofmap": "x".join(map(str, layer.ofmap)),
        "p": layer.p,
        "granularity": granularity.name.lower() if granularity else "",
        "macs": elements * layer.macs,
        "saved_macs": predicted * elements * layer.macs,
        "saved": predicted,
        "zero": zero,
        "wrong": wrong,
    }
