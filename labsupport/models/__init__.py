"""The networks of the labs by name: `build` makes one, `ModelSpec` says which."""

from labsupport.models.initialization import drawn_anew, whitened
from labsupport.models.registry import NAMES, ModelSpec, build

__all__ = ["NAMES", "ModelSpec", "build", "drawn_anew", "whitened"]
