"""Trials of masks for one layer alone: what runs in front of it has run once."""

from __future__ import annotations

import torch
from torch import nn

from labsupport.data import Split
from labsupport.methods.spatial.layer import SpatialLayer
from labsupport.methods.spatial.masks import Mask
from labsupport.methods.spatial.network import SpatialNetwork
from labsupport.methods.spatial.trials import Trial, Trials
from labsupport.network.cost import predict_with_cost
from labsupport.network.cutting import cut
from labsupport.network.places import CutGraph, Place


class LayerTrials:
    """Tries masks for one layer, all others computed in full, as `Trials.run` would.

    The network is cut at the last value in front of the layer on which all later work depends; the
    split's features there are kept, float32 (N, ...), and each pass runs what lies behind them. It
    counts as that share of the network's MACs, but for the first one, which counts in full for the
    features.
    """

    def __init__(self, trials: Trials, layer: SpatialLayer) -> None:
        trials.network.disable()
        stem, self.rest = cut(trials.network, place_before(trials.network, layer))
        self.trials, self.name = trials, layer.name
        self.layer = _layer(self.rest, layer.name)
        self.features = self._features(stem)
        _, self.plain = predict_with_cost(self.rest, self.features, trials.batch_size)
        self.share = 1.0

    def run(self, stage: str, mask: Mask) -> Trial:
        """One pass with this mask."""
        self.layer.set_mask(mask)
        self.layer.enabled = True
        logits, cost = predict_with_cost(self.rest, self.features, self.trials.batch_size)
        trial = self.trials.judged(logits, self.plain, cost)
        self.trials.note(stage, {self.name: mask}, trial, self.share)
        self.share = self.plain.fp_macs / self.trials.plain.fp_macs
        return trial

    @torch.no_grad()
    def _features(self, stem: nn.Module) -> Split:
        batches = self.trials.split.batches(self.trials.batch_size)
        return Split(torch.cat([stem(x) for x, _ in batches]), self.trials.labels)


def place_before(network: SpatialNetwork, layer: SpatialLayer) -> Place:
    """The last place in front of a layer at which its network can be cut; 0 is the input."""
    graph = CutGraph(network)
    paths = [name for name, module in network.named_modules() if module is layer]
    (own,) = [graph.order[node] for node in graph.nodes if node.target in paths]
    before = [name for name, node in graph.places().items() if graph.order[node] < own]
    return before[-1] if before else 0


def _layer(network: nn.Module, name: str) -> SpatialLayer:
    found = (module for module in network.modules() if isinstance(module, SpatialLayer))
    return next(layer for layer in found if layer.name == name)
