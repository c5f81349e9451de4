"""The energy model against sums done by hand."""

import pandas as pd
import pytest
from torch import nn

from labsupport.core.errors import LabError
from labsupport.measure.energy import energy, energy_table
from labsupport.network.cost import layer_costs

NONE = {"int8_macs": 0, "binary_ops": 0, "lookups": 0}
NET = pd.DataFrame(
    {
        "parameters": [900, 100],
        "macs": [1_500_000, 500_000],
        "additions": [100_000, 0],
        "activations": [3000, 2000],
        **NONE,
    }
)


def test_fp32_by_hand():
    spent = energy(NET)
    assert spent.arithmetic_uj_model == pytest.approx(2 * (3.7 + 0.9) + 0.1 * 0.9)
    assert spent.weights_uj_model == pytest.approx(1000 * 640 / 1e6)
    assert spent.activations_uj_model == pytest.approx(2 * 5000 * 5 / 1e6)
    assert spent.total_uj_model == pytest.approx(9.29 + 0.64 + 0.05)


def test_int8_by_hand():
    spent = energy(NET, precision="int8")
    assert spent.arithmetic_uj_model == pytest.approx(2 * (0.2 + 0.1) + 0.1 * 0.1)
    assert spent.weights_uj_model == pytest.approx(energy(NET).weights_uj_model / 4)
    assert spent.activations_uj_model == pytest.approx(energy(NET).activations_uj_model / 4)


def test_sram_is_128_times_cheaper_than_dram():
    near = energy(NET, weights_from="sram").weights_uj_model
    assert energy(NET).weights_uj_model == pytest.approx(128 * near)


def test_a_batch_shares_the_weights_and_nothing_else():
    one, many = energy(NET), energy(NET, batch=10)
    assert many.weights_uj_model == pytest.approx(one.weights_uj_model / 10)
    assert many.arithmetic_uj_model == one.arithmetic_uj_model
    assert many.activations_uj_model == one.activations_uj_model


def test_shared_weights_have_bits_of_their_own():
    spent = energy(NET, weight_bits=4)
    assert spent.weights_uj_model == pytest.approx(energy(NET).weights_uj_model / 8)
    assert spent.arithmetic_uj_model == energy(NET).arithmetic_uj_model


@pytest.mark.parametrize(
    "wrong", [{"precision": "fp8"}, {"weights_from": "disk"}, {"weight_bits": 0}, {"batch": 0}]
)
def test_what_the_model_does_not_know_is_refused(wrong):
    with pytest.raises(LabError, match="no energy figure"):
        energy(NET, **wrong)


def test_the_layers_of_a_network_are_what_it_takes():
    spent = energy(layer_costs(nn.Linear(8, 4), (8,)))
    assert spent.arithmetic_uj_model == pytest.approx((32 * 4.6 + 4 * 0.9) / 1e6)
    assert spent.weights_uj_model == pytest.approx(36 * 640 / 1e6)
    assert spent.activations_uj_model == pytest.approx(2 * 4 * 5 / 1e6)


@pytest.mark.parametrize("kind", NONE)
def test_operations_without_a_published_energy_are_refused(kind):
    with pytest.raises(LabError, match="no energy figure"):
        energy(NET.assign(**{kind: 1}))


def test_every_figure_is_labeled_as_a_model():
    table = energy_table({"net": energy(NET), "int8": energy(NET, precision="int8")})
    assert list(table["name"]) == ["net", "int8"]
    assert all(column.endswith("_uj_model") for column in table.columns[1:])
    parts = table[["arithmetic_uj_model", "weights_uj_model", "activations_uj_model"]]
    assert table["total_uj_model"].to_list() == pytest.approx(parts.sum(axis=1).to_list())
