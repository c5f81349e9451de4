"""Surgery: finds by tracing what hangs together in a network, and takes parts of it out."""

from labsupport.methods.surgery.gates import gated
from labsupport.methods.surgery.groups import (
    Group,
    Member,
    channel_groups,
    group_of,
    narrowed,
    prunable,
)
from labsupport.methods.surgery.removal import (
    mask_channels,
    remove_channels,
    shrink,
    widths,
)

__all__ = [
    "Group",
    "Member",
    "channel_groups",
    "gated",
    "group_of",
    "mask_channels",
    "narrowed",
    "prunable",
    "remove_channels",
    "shrink",
    "widths",
]
