"""What masks and early stops save together, MAC by MAC."""

from __future__ import annotations

from collections import defaultdict
from typing import cast

import pandas as pd
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.methods.spatial.layer import SpatialLayer
from labsupport.methods.spatial.snapea_layer import SnapeaLayer
from labsupport.methods.spatial.statistics import Savings
from labsupport.network.calls import kind_of
from labsupport.network.counting import ModuleCall, count_calls

KINDS = {SpatialLayer: "masked_macs", SnapeaLayer: "stopped_macs"}


def stacked_savings(network: nn.Module, split: Batched, batch_size: int = 250) -> Savings:
    """What spatial and SnaPEA layers save, by one pass, as means over the images of a split.

    `layers` has a row for each convolution with such a layer, coupled ones by the first: layer,
    macs, masked_macs (of positions that a mask predicts), stopped_macs (of all others, by early
    stops), saved_macs (both) and saved (their share). Raises LabError for a split without images,
    and for a network without such layers.
    """
    if not len(split):
        raise LabError("there are no images to count over", "give at least one")
    total: dict[str, float] = defaultdict(float)
    rows: dict[str, dict[str, float]] = {}

    def record(call: ModuleCall) -> None:
        layer, macs = call.module, call.cost.fp_macs
        if isinstance(layer, SpatialLayer | SnapeaLayer):
            row = rows.setdefault(layer.name, dict.fromkeys(("macs", *KINDS.values()), 0.0))
            row["macs"] = layer.macs * cast(Tensor, call.output)[0].numel()
            row[KINDS[type(layer)]] -= macs / len(split)
        else:
            total[kind_of(layer)[:4]] += macs / len(split)

    for x, _ in split.batches(batch_size):
        count_calls(network, x, record)
    if not rows:
        problem = "there are no spatial and no SnaPEA layers"
        raise LabError(problem, "give the network to spatialize or to snapea first")
    layers = pd.DataFrame([{"layer": name, **row} for name, row in rows.items()])
    layers["saved_macs"] = layers["masked_macs"] + layers["stopped_macs"]
    layers["saved"] = layers["saved_macs"] / layers["macs"]
    return Savings(layers, total["Conv"], sum(total.values()))
