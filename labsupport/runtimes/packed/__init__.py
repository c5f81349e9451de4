"""Binary networks run with their signs packed into words."""

from labsupport.runtimes.packed.layers import BitsFromBits, FloatsFromBits, Pack, PackedLayer
from labsupport.runtimes.packed.network import Packed, PackedNetwork, pack

__all__ = [
    "BitsFromBits",
    "FloatsFromBits",
    "Pack",
    "Packed",
    "PackedLayer",
    "PackedNetwork",
    "pack",
]
