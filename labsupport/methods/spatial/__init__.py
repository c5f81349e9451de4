"""Spatial masks: zeros behind a ReLU predicted from their neighbors, so as not to be computed.

Shomron and Weiser 2019, "Spatial correlation and value prediction in convolutional neural
networks", generalized to any pattern of computed positions.
"""

from labsupport.methods.spatial.codes import PatchCodes, patch_codes
from labsupport.methods.spatial.exact import exact_search
from labsupport.methods.spatial.fast import fast_front, fast_search
from labsupport.methods.spatial.greedy import first_passes, greedy_search
from labsupport.methods.spatial.harm import Effects, effects
from labsupport.methods.spatial.layer import SpatialLayer
from labsupport.methods.spatial.masks import Granularity, Mask, Ofmap
from labsupport.methods.spatial.network import SpatialNetwork, disabled, spatialize
from labsupport.methods.spatial.on_test import beside_greedy, front_on_test, fronts_on_test, on_test
from labsupport.methods.spatial.patterns import (
    count_ones,
    decode,
    diagonal,
    encode,
    everything,
    patch_grid,
    patterns,
)
from labsupport.methods.spatial.retraining import (
    Alternation,
    alternate,
    retrain,
)
from labsupport.methods.spatial.sites import Site, sites
from labsupport.methods.spatial.snapea_layer import SnapeaLayer
from labsupport.methods.spatial.snapea_network import SnapeaNetwork, snapea
from labsupport.methods.spatial.speculation import Speculation, speculate
from labsupport.methods.spatial.stacked import stacked_savings
from labsupport.methods.spatial.statistics import Judgment, Savings, judge, savings, zero_share
from labsupport.methods.spatial.trials import Found, Trial

__all__ = [
    "Alternation",
    "Effects",
    "Found",
    "Granularity",
    "Judgment",
    "Mask",
    "Ofmap",
    "PatchCodes",
    "Savings",
    "Site",
    "SnapeaLayer",
    "SnapeaNetwork",
    "SpatialLayer",
    "SpatialNetwork",
    "Speculation",
    "Trial",
    "alternate",
    "beside_greedy",
    "count_ones",
    "decode",
    "diagonal",
    "disabled",
    "effects",
    "encode",
    "everything",
    "exact_search",
    "fast_front",
    "fast_search",
    "first_passes",
    "front_on_test",
    "fronts_on_test",
    "greedy_search",
    "judge",
    "on_test",
    "patch_codes",
    "patch_grid",
    "patterns",
    "retrain",
    "savings",
    "sites",
    "snapea",
    "spatialize",
    "speculate",
    "stacked_savings",
    "zero_share",
]
