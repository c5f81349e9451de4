"""Sweeps: a list of trials becomes one table, on this machine or on a cluster."""

from labsupport.core.front import pareto_front
from labsupport.sweep.analysis import variance_shares
from labsupport.sweep.executors import SCHEDULER, connected, workers
from labsupport.sweep.grids import decimals, whole_numbers
from labsupport.sweep.networks import Setup, clock_trials
from labsupport.sweep.record import Sweep, finished

__all__ = [
    "SCHEDULER",
    "Setup",
    "Sweep",
    "clock_trials",
    "connected",
    "decimals",
    "finished",
    "pareto_front",
    "variance_shares",
    "whole_numbers",
    "workers",
]
