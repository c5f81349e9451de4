"""Binarization: weights of one bit, and inputs of one bit."""

from labsupport.methods.binary.binarize import (
    after_step,
    binarize,
    binary_layers,
    hold_signs,
)
from labsupport.methods.binary.layers import BinaryConv2d, BinaryLayer, BinaryLinear
from labsupport.methods.binary.scales import LossAware, MeanMagnitude, Scale, Unscaled
from labsupport.methods.binary.schemes import (
    BNN,
    BNN_OF_SIGNS,
    BWN,
    LAB,
    LAB2,
    XNOR,
    XNOR_WITHOUT_K,
    Scheme,
)
from labsupport.methods.binary.signs import sign

__all__ = [
    "BNN",
    "BNN_OF_SIGNS",
    "BWN",
    "LAB",
    "LAB2",
    "XNOR",
    "XNOR_WITHOUT_K",
    "BinaryConv2d",
    "BinaryLayer",
    "BinaryLinear",
    "LossAware",
    "MeanMagnitude",
    "Scale",
    "Scheme",
    "Unscaled",
    "after_step",
    "binarize",
    "binary_layers",
    "hold_signs",
    "sign",
]
