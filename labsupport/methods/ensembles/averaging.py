"""The mean of networks' weights as one network, which costs what one of them does.

Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization" (SWA),
section 3.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError


def average(models: Iterable[nn.Module]) -> nn.Module:
    """A copy of the first network, with the mean of all their weights.

    Averages of statistics are not the statistics of averages: behind batch norms follow with
    `network.batch_norm.recalibrated`. Batch norms keep the first network's count of batches. Raises
    LabError for no network, and for networks of different layers, or of different whole numbers
    such as codes and masks, which have no mean.
    """
    networks = list(models)
    if not networks:
        raise LabError("the mean of no network", "give at least one")
    states = [network.state_dict() for network in networks]
    _check_alike(states)
    averaged = copy.deepcopy(networks[0])
    averaged.load_state_dict({name: _mean([s[name] for s in states]) for name in states[0]})
    return averaged


def _mean(tensors: list[Tensor]) -> Tensor:
    first = tensors[0]
    return torch.stack(tensors).mean(0) if first.is_floating_point() else first


def _check_alike(states: list[dict[str, Tensor]]) -> None:
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    for other in shapes[1:]:
        if other != shapes[0]:
            unlike = next(
                name for name in [*shapes[0], *other] if shapes[0].get(name) != other.get(name)
            )
            problem = f"the networks differ in {unlike}"
            raise LabError(problem, "average networks of one architecture, such as snapshots")
    for name, tensor in states[0].items():
        counts = tensor.is_floating_point() or name.endswith("num_batches_tracked")
        if not counts and not all(torch.equal(tensor, state[name]) for state in states[1:]):
            problem = f"the networks have different whole numbers in {name}"
            raise LabError(problem, "average networks before they are packed, shared or pruned")
