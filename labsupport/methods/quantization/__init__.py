"""Quantization: weights and inputs of few bits, and floats of 16."""

from labsupport.methods.quantization.folding import fold_batch_norm
from labsupport.methods.quantization.grids import Grid, affine, narrowed, symmetric
from labsupport.methods.quantization.half import InHalf, in_half
from labsupport.methods.quantization.integers import with_integers
from labsupport.methods.quantization.layers import QuantizedLayer, quantize, quantize_aware

__all__ = [
    "Grid",
    "InHalf",
    "QuantizedLayer",
    "affine",
    "fold_batch_norm",
    "in_half",
    "narrowed",
    "quantize",
    "quantize_aware",
    "symmetric",
    "with_integers",
]
