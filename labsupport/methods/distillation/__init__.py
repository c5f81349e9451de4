"""Distillation: a small network learns from a large one, by its answers and by its features."""

from labsupport.methods.distillation.hints import Guided, Hints, fit_net, learn_hint, regressor
from labsupport.methods.distillation.soft_targets import (
    TEACHER,
    ConsistentTeacher,
    SoftTargets,
    with_teacher,
)

__all__ = [
    "TEACHER",
    "ConsistentTeacher",
    "Guided",
    "Hints",
    "SoftTargets",
    "fit_net",
    "learn_hint",
    "regressor",
    "with_teacher",
]
