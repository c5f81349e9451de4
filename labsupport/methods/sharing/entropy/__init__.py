"""Entropy-coded training: weights in learned steps, few bits by training, one file in few bytes."""

from labsupport.methods.sharing.entropy.file import decode, encode
from labsupport.methods.sharing.entropy.rate import RateDistortion, rate
from labsupport.methods.sharing.entropy.steps import LearnedStep, rounded, steps, with_steps

__all__ = [
    "LearnedStep",
    "RateDistortion",
    "decode",
    "encode",
    "rate",
    "rounded",
    "steps",
    "with_steps",
]
