"""Binary networks run with their signs packed into words."""

from labsupport.runtimes.packed.layers import PackedLayer
from labsupport.runtimes.packed.network import Packed, PackedNetwork, pack
from labsupport.runtimes.packed.packing import Pack
from labsupport.runtimes.packed.sums import BitsFromBits, FloatsFromBits

__all__ = [
    "BitsFromBits",
    "FloatsFromBits",
    "Pack",
    "Packed",
    "PackedLayer",
    "PackedNetwork",
    "pack",
]
