"""What made labs ran with, where nothing was run."""

from __future__ import annotations

from labsupport.runs.conditions import Conditions

MACHINE = [
    {"group": "processor", "item": "model", "value": "Abacus 9000"},
    {"group": "processor", "item": "cores we may use", "value": "2"},
    {"group": "memory", "item": "RAM", "value": "7.8 GiB"},
    {"group": "python", "item": "version", "value": "3.11.7"},
]
OTHER_MACHINE = [{**MACHINE[0], "value": "Slide rule 4"}, *MACHINE[1:]]
VERSIONS = {"torch": "2.15.0", "numpy": "2.4.6"}


def made_conditions(**facts) -> Conditions:
    """The conditions of a lab that ran alone, but for these facts."""
    about = {"notebook": "cells", "code": "code", "versions": VERSIONS, "machine": MACHINE}
    return Conditions(**about | facts)
