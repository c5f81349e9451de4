"""Channel groups: which channels of a network can be removed, and what else goes with them.

A filter's output channel is read by the layers after it, so that their weights for it must go,
too; channels that are added together (residual connections) can only go together. Li et al. 2017,
"Pruning filters for efficient ConvNets", section 3; Fang et al. 2023, "DepGraph", section 3.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.methods.surgery.ledger import Ledger
from labsupport.methods.surgery.walk import walk
from labsupport.network.tracing import check_weights_are_plain, trace

Role = tuple[str, str]  # "makes", "works" or "reads", and the layer that does
Numbers = NDArray[np.int64]
_NONE: Numbers = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Member:
    """A layer that holds weights for the channels of a group.

    `features` says which of its outputs (of a consumer: inputs) belong to each channel, int64
    (channels, positions): one position, or height x width of them behind a flatten.
    """

    layer: str
    features: Tensor = field(repr=False)

    @property
    def positions(self) -> int:
        """The layer's features for each channel."""
        return self.features.shape[1]


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that can only go together: the c-th of every layer in it, for each c.

    `producers` have filters or neurons for each channel, `followers` (batch norms, depthwise
    convolutions) work on it, `consumers` read it. `fixed` says why none can be removed; it is
    empty where they can. A group is named by its first producer; a layer whose channels belong to
    several groups names the second `layer#2`.
    """

    name: str
    producers: tuple[Member, ...]
    followers: tuple[Member, ...]
    consumers: tuple[Member, ...]
    fixed: str = ""

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return len(self.producers[0].features)

    def check_free(self, layer: str) -> None:
        """Raises LabError, in the name of `layer`, where the channels cannot be removed."""
        if self.fixed:
            raise LabError(f"the channels of {layer} cannot be removed: {self.fixed}")


def channel_groups(model: nn.Module, input_shape: Sequence[int]) -> list[Group]:
    """All groups of channels that some layer of the network makes, in the order of the calls.

    Layers that run in training alone (auxiliary heads) are not seen. Raises LabError for a network
    that cannot be traced, or one with a layer that computes its weights.
    """
    check_weights_are_plain(model)
    ledger = walk(trace(model, input_shape))
    units = _Units(ledger)
    return list(_named([units.group(alike) for alike in units.alike()]))


def prunable(groups: Sequence[Group]) -> list[Group]:
    """The groups from which channels can be removed."""
    return [group for group in groups if not group.fixed]


def group_of(layer: str, groups: Sequence[Group]) -> Group:
    """The group of a name, or the one whose channels a layer makes.

    Raises LabError for a layer that makes no channels, some that cannot be removed, or those of
    several groups.
    """
    found = [group for group in groups if group.name == layer]
    makes = [group for group in groups if layer in (member.layer for member in group.producers)]
    found = found or prunable(makes) or makes
    if not found:
        names = ", ".join(group.name for group in prunable(groups))
        raise LabError(f"{layer!r} has no filters or neurons to remove", f"choose from {names}")
    if len(found) > 1:
        names = ", ".join(group.name for group in found)
        raise LabError(f"the channels of {layer} belong to several groups", f"give one of {names}")
    found[0].check_free(layer)
    return found[0]


def narrowed(groups: Sequence[Group], widths: Mapping[str, int]) -> dict[str, Group]:
    """The group of each layer that `widths` names.

    Raises LabError for a layer that cannot be pruned, a width that it cannot have, or two layers
    whose channels go together.
    """
    chosen = {layer: group_of(layer, groups) for layer in widths}
    for layer, group in chosen.items():
        if not isinstance(widths[layer], Integral):
            raise LabError(f"{layer} cannot have {widths[layer]!r} channels", "give a whole number")
        if widths[layer] not in range(1, group.channels + 1):
            problem = f"{layer} has {group.channels} channels, not {widths[layer]}"
            raise LabError(problem, "keep at least one and at most all")
        if sum(other is group for other in chosen.values()) > 1:
            problem = f"the channels of {layer} go together with those of another layer given"
            raise LabError(problem, "give a width for one of them")
    return chosen


class _Units:
    """The network's channels (units, what can only go together, by number) and who holds them."""

    def __init__(self, ledger: Ledger) -> None:
        held = {"makes": ledger.makes, "works": ledger.works, "reads": ledger.reads}
        labels = {
            (role, layer): ledger.channels.labels(numbers).numpy()
            for role, layers in held.items()
            for layer, numbers in layers.items()
        }
        made = [of for (role, _), of in labels.items() if role == "makes"]
        found, first = np.unique(np.concatenate([_NONE, *made]), return_index=True)
        found = found[first.argsort()]  # in the order in which they are made
        number = np.full(1 + max((int(of.max()) for of in labels.values()), default=0), -1)
        number[found] = np.arange(len(found))
        self.held: dict[Role, Numbers] = {role: number[of] for role, of in labels.items()}
        reasons = ledger.channels.reasons()
        self.reasons = [reasons.get(label, "") for label in found.tolist()]
        counts = [np.bincount(of[of >= 0], minlength=len(found)) for of in self.held.values()]
        self.counts = np.array(counts, dtype=np.int64).T  # units x layers

    def alike(self) -> list[list[int]]:
        """The units of each group: those that the same layers hold in the same manner."""
        groups: dict[tuple[bytes, str], list[int]] = defaultdict(list)
        for unit, (counts, why) in enumerate(zip(self.counts, self.reasons, strict=True)):
            groups[counts.tobytes(), why].append(unit)
        return list(groups.values())

    def group(self, units: Sequence[int]) -> Group:
        """The group of some units that are alike."""
        members: dict[str, list[Member]] = defaultdict(list)
        counts = self.counts[units[0]]
        for count, ((role, layer), of) in zip(counts, self.held.items(), strict=True):
            if count:
                members[role].append(Member(layer, _places(of, np.array(units))))
        why = self.reasons[units[0]]
        if not why and not members["reads"]:
            why = "no layer reads them"
        makes, works, reads = (tuple(members[role]) for role in ("makes", "works", "reads"))
        return Group(makes[0].layer, makes, works, reads, why)


def _places(of: Numbers, units: Numbers) -> Tensor:
    """Where each unit stands in a layer's features, int64 (units, positions)."""
    rank = np.full(1 + max(int(of.max()), int(units.max())), -1)
    rank[units] = np.arange(len(units))
    places = np.flatnonzero((of >= 0) & (rank[of] >= 0))
    in_order = places[rank[of[places]].argsort(kind="stable")]
    return torch.from_numpy(in_order).view(len(units), -1)


def _named(groups: Sequence[Group]) -> Iterator[Group]:
    """The groups, those that can be pruned first by the name of their layer."""
    seen: Counter[str] = Counter()
    names: dict[int, str] = {}
    for group in sorted(groups, key=lambda group: bool(group.fixed)):
        seen[group.name] += 1
        number = seen[group.name]
        names[id(group)] = group.name if number == 1 else f"{group.name}#{number}"
    return (replace(group, name=names[id(group)]) for group in groups)
