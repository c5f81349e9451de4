"""The networks of the labs by name: `build` makes one, `ModelSpec` says which."""

from labsupport.models.registry import NAMES, ModelSpec, build

__all__ = ["NAMES", "ModelSpec", "build"]
