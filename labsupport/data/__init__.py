"""Data sets as tensors: `load` one by name, or `stream` what does not fit in memory."""

from labsupport.data.loading import load, stream
from labsupport.data.splits import Batch, Batched, Split, Splits

__all__ = ["Batch", "Batched", "Split", "Splits", "load", "stream"]
