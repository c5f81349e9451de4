"""Spatial masks: zeros behind a ReLU predicted from their neighbors, so as not to be computed.

Shomron and Weiser 2019, "Spatial correlation and value prediction in convolutional neural
networks", generalized to any pattern of computed positions.
"""

from labsupport.methods.spatial.masks import Granularity, Mask, Ofmap
from labsupport.methods.spatial.patterns import (
    count_ones,
    decode,
    diagonal,
    encode,
    everything,
    patch_grid,
    patterns,
)

__all__ = [
    "Granularity",
    "Mask",
    "Ofmap",
    "count_ones",
    "decode",
    "diagonal",
    "encode",
    "everything",
    "patch_grid",
    "patterns",
]
