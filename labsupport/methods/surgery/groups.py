"""Channel groups: which channels of a network can be removed, and what else goes with them.

A filter's output channel is read by the layers after it, so that their weights for it must go,
too; channels that are added together (residual connections) can only go together. Li et al. 2017,
"Pruning filters for efficient ConvNets", section 3; Fang et al. 2023, "DepGraph", section 3.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.methods.surgery.walk import Walk
from labsupport.network.tracing import check_weights_are_plain, trace

Role = tuple[str, str, int]  # "makes", "works" or "reads", a layer, its features for one channel


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
    walk = Walk(trace(model, input_shape))
    members = _members(walk)
    reasons = walk.channels.reasons()
    alike: dict[tuple[tuple[Role, ...], str], list[dict[Role, Tensor]]] = defaultdict(list)
    for label, parts in members.items():
        alike[tuple(parts), reasons.get(label, "")].append(parts)
    sizes = {"makes": walk.makes, "works": walk.works, "reads": walk.reads}
    totals = {(role, layer): len(n) for role, held in sizes.items() for layer, n in held.items()}
    groups = [_group(roles, why, units, totals) for (roles, why), units in alike.items()]
    return list(_named(groups))


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
        if widths[layer] not in range(1, group.channels + 1):
            problem = f"{layer} has {group.channels} channels, not {widths[layer]}"
            raise LabError(problem, "keep at least one and at most all")
        if sum(other is group for other in chosen.values()) > 1:
            problem = f"the channels of {layer} go together with those of another layer given"
            raise LabError(problem, "give a width for one of them")
    return chosen


def _members(walk: Walk) -> dict[int, dict[Role, Tensor]]:
    """For each channel that some layer makes, by its label, the features of each layer for it."""
    members: dict[int, dict[Role, Tensor]] = {}
    for role, held in (("makes", walk.makes), ("works", walk.works), ("reads", walk.reads)):
        for layer, numbers in held.items():
            for label, features in _by_label(walk.channels.labels(numbers)):
                if role == "makes":
                    members.setdefault(label, {})
                if label in members:
                    members[label][role, layer, len(features)] = features
    return members


def _by_label(labels: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Each label and where it stands, the labels in the order of their first place."""
    order = labels.argsort(stable=True)
    found, counts = labels[order].unique_consecutive(return_counts=True)
    places = order.split(counts.tolist())
    yield from sorted(zip(found.tolist(), places, strict=True), key=lambda item: int(item[1][0]))


def _group(
    roles: tuple[Role, ...],
    why: str,
    units: Sequence[Mapping[Role, Tensor]],
    totals: Mapping[tuple[str, str], int],
) -> Group:
    members: dict[str, list[Member]] = defaultdict(list)
    for role in roles:
        features = torch.stack([unit[role] for unit in units])
        members[role[0]].append(Member(role[1], features))
    if not why and not members["reads"]:
        why = "no layer reads them"
    if not why and len(units) == 1 and any(1 < count == totals[r, n] for r, n, count in roles):
        why = "they can only go all together"
    parts = (tuple(members[role]) for role in ("makes", "works", "reads"))
    return Group(members["makes"][0].layer, *parts, fixed=why)


def _named(groups: Sequence[Group]) -> Iterator[Group]:
    """The groups, those that can be pruned first by the name of their layer."""
    seen: Counter[str] = Counter()
    names: dict[int, str] = {}
    for group in sorted(groups, key=lambda group: bool(group.fixed)):
        seen[group.name] += 1
        number = seen[group.name]
        names[id(group)] = group.name if number == 1 else f"{group.name}#{number}"
    return (replace(group, name=names[id(group)]) for group in groups)
