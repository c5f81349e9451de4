"""Weight sharing: a few values per layer, and a file that holds them in few bytes."""

from labsupport.methods.sharing.codebooks import Start, at_random, cluster, density, linear
from labsupport.methods.sharing.file import compress, decompress
from labsupport.methods.sharing.hashed import Hashed, hash_weights
from labsupport.methods.sharing.shared import Shared, share, shared_layers, without_codebooks

__all__ = [
    "Hashed",
    "Shared",
    "Start",
    "at_random",
    "cluster",
    "compress",
    "decompress",
    "density",
    "hash_weights",
    "linear",
    "share",
    "shared_layers",
    "without_codebooks",
]
