"""An energy *model*: published energy per operation times counted operations. Nothing is metered.

Figures at 45 nm and 0.9 V: arithmetic from M. Horowitz, "Computing's energy problem", ISSCC 2014,
figure 1.1.9; memory per 32-bit word from S. Han et al., "EIE", ISCA 2016, table I. It orders
designs by what they move and multiply; control, leakage and caches are left out, so that joules
on a real machine are many times higher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from labsupport.core.errors import LabError

Precision = Literal["fp32", "fp16", "int8"]
Store = Literal["dram", "sram"]

PJ_PER_UJ = 1e6
WORD_BITS = 32
# Picojoules of one operation.
MULTIPLY_PJ: dict[str, float] = {"fp32": 3.7, "fp16": 1.1, "int8": 0.2}
# What a product is added to: INT8 products go into 32-bit integers.
ADD_PJ: dict[str, float] = {"fp32": 0.9, "fp16": 0.4, "int8": 0.1}
# Picojoules of one 32-bit word: an SRAM of 32 KB, a DRAM.
WORD_PJ: dict[str, float] = {"sram": 5.0, "dram": 640.0}
BITS: dict[str, int] = {"fp32": 32, "fp16": 16, "int8": 8}
UNPRICED = ["int8_macs", "binary_ops", "lookups"]


@dataclass(frozen=True)
class Energy:
    """Modeled energy of one inference in microjoules, by what it is spent on."""

    arithmetic_uj_model: float
    weights_uj_model: float
    activations_uj_model: float

    @property
    def total_uj_model(self) -> float:
        """All parts together."""
        return self.arithmetic_uj_model + self.weights_uj_model + self.activations_uj_model


def energy(
    layers: pd.DataFrame,
    *,
    precision: Precision = "fp32",
    weight_bits: float | None = None,
    weights_from: Store = "dram",
    batch: int = 1,
) -> Energy:
    """Modeled energy per image: arithmetic, fetching weights, writing and reading activations.

    `layers` are the network's `layer_costs`, its MACs taken as if computed in `precision`. Weights
    are fetched once per batch, with `weight_bits` each (by default those of `precision`); each
    activation is written to and read from SRAM once. These are the outputs of products and pooling,
    as EIE's processing element applies the ReLU on the way out. Raises LabError for a batch, bits,
    precision, store or kind of operation that the model does not know.
    """
    bits = BITS.get(precision, 0) if weight_bits is None else weight_bits
    if precision not in BITS or weights_from not in WORD_PJ or bits <= 0 or batch < 1:
        raise LabError(
            f"no energy figure for {precision}, {bits} bits from {weights_from}, batch {batch}",
            f"precision is one of {', '.join(BITS)}, weights come from {' or '.join(WORD_PJ)}, "
            "bits and batch are positive",
        )
    if layers[UNPRICED].any(axis=None):
        raise LabError("no energy figure for integer MACs, binary operations or look-ups")
    totals = layers[["parameters", "macs", "additions", "activations"]].sum()
    add, multiply = ADD_PJ[precision], MULTIPLY_PJ[precision]
    weight_words = totals["parameters"] * bits / WORD_BITS
    activation_words = 2 * totals["activations"] * BITS[precision] / WORD_BITS
    arithmetic = totals["macs"] * (multiply + add) + totals["additions"] * add
    return Energy(
        arithmetic_uj_model=arithmetic / PJ_PER_UJ,
        weights_uj_model=weight_words * WORD_PJ[weights_from] / batch / PJ_PER_UJ,
        activations_uj_model=activation_words * WORD_PJ["sram"] / PJ_PER_UJ,
    )


def energy_table(energies: Mapping[str, Energy]) -> pd.DataFrame:
    """Modeled energies by name: a column per part and the total, in microjoules."""
    rows = [
        {"name": name} | vars(part) | {"total_uj_model": part.total_uj_model}
        for name, part in energies.items()
    ]
    return pd.DataFrame(rows)
