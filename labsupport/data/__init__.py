"""Data sets as tensors: `load` one by name, or `stream` what does not fit in memory."""

from labsupport.data.loading import load, stream
from labsupport.data.sources import NAMES, fetch, status
from labsupport.data.splits import Batch, Batched, Split, Splits
from labsupport.data.streaming import StreamedSplit

__all__ = [
    "NAMES",
    "Batch",
    "Batched",
    "Split",
    "Splits",
    "StreamedSplit",
    "fetch",
    "load",
    "status",
    "stream",
]
