"""One scorecard for every kind of network that the course makes."""

import math

import pandas as pd
import pytest
from made_low_bit import Int8Linear, PackedLinear, with_last_layer
from made_methods import IMAGE, METHODS, toy_splits
from made_rules import toy_network

from labsupport.measure.cards import measure
from labsupport.methods.ensembles import ensemble
from labsupport.network.cost import mean_cost
from labsupport.network.storage import save
from labsupport.records.results import Results
from labsupport.runtimes.onnx import OnnxNetwork, export_onnx

STEM, HIDDEN, HEAD = 4 * 9 * 36, 36 * 12, 12 * 3  # MACs


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    plain = toy_network().eval()
    path = export_onnx(plain, IMAGE, tmp_path_factory.mktemp("onnx") / "net.onnx")
    made = {name: METHODS[name](plain) for name in ("prune", "magnitude", "sparse", "rules")}
    return {
        "plain": plain,
        **made,
        "int8": with_last_layer(plain, Int8Linear),
        "packed": with_last_layer(plain, PackedLinear),
        "ensemble": ensemble([plain, toy_network(1).eval()]),
        "onnx": OnnxNetwork(path),
    }


@pytest.fixture(scope="module")
def splits():
    return toy_splits()


@pytest.fixture(scope="module")
def table(kinds, splits, tmp_path_factory):
    results = Results("toy", "quick", "toy", tmp_path_factory.mktemp("run"))
    for name, row in measure(kinds, splits, large_batch=8, train_batch=8, rounds=2).items():
        results.score("toy", name, 0, network="toy", **row)
    stored = pd.read_csv(results.out / "tables" / "toy" / "scorecards.csv")
    return stored.set_index("variant")


def test_every_kind_has_all_figures_but_training_where_nothing_trains(table, kinds):
    absent = table.isna()
    assert list(table.index) == list(kinds)
    memory = {"memory_train_bytes", "memory_infer_bytes"}
    assert set(absent.columns[absent.any()]) == {*memory, "train_seconds"}
    assert set(table.index[absent["memory_train_bytes"]]) == {"packed", "onnx"}
    assert list(table.index[absent["memory_infer_bytes"]]) == ["onnx"]


def test_work_is_told_by_kind(table, kinds, splits):
    work = table[["macs", "int8_macs", "binary_ops"]]
    assert work.loc["plain"].tolist() == [STEM + HIDDEN + HEAD, 0, 0]
    assert work.loc["onnx"].tolist() == work.loc["plain"].tolist()
    assert work.loc["int8"].tolist() == [STEM + HIDDEN, HEAD, 0]
    assert work.loc["packed"].tolist() == [STEM + HIDDEN, 0, HEAD]
    assert work.loc["ensemble"].tolist() == [2 * (STEM + HIDDEN + HEAD), 0, 0]
    assert work.loc["rules", "macs"] == pytest.approx(
        mean_cost(kinds["rules"], splits.test).fp_macs
    )


def test_bits_are_means_over_the_weights(table):
    bits, count = table["weight_bits"], table["parameters"]
    rest = 4 * 9 + 4 + HIDDEN + 12
    assert bits["plain"] == bits["onnx"] == bits["sparse"] == 32
    assert count["plain"] == count["onnx"] == rest + HEAD + 3
    assert count["int8"] == count["plain"]
    assert bits["int8"] == pytest.approx((32 * (rest + 3) + 8 * HEAD) / count["plain"])
    assert bits["packed"] == pytest.approx((32 * rest + HEAD) / (rest + HEAD))
    assert table.loc["packed", "activation_bits"] == bits["packed"]


def test_bytes_are_those_of_the_file_and_of_what_lies_in_memory(table, kinds, tmp_path):
    for name, network in kinds.items():
        save(network, tmp_path / name)
        assert table.loc[name, "disk_bytes"] == (tmp_path / name).stat().st_size
    resident = table["resident_bytes"]
    assert resident["plain"] == 4 * table.loc["plain", "parameters"]
    assert resident["packed"] == 4 * (4 * 9 + 4 + HIDDEN + 12) + 3 * math.ceil(12 / 8)
    assert resident["onnx"] >= resident["plain"]
    # Of a sparse matrix 4 bytes for a value and 8 for its column, and 8 for each row and one more.
    kept = sum(layer.weight._nnz() for layer in kinds["sparse"].modules() if hasattr(layer, "bias")
               and hasattr(layer, "weight") and layer.weight.is_sparse_csr)  # fmt: skip
    assert resident["sparse"] == 4 * (4 * 9 + 4 + 12 + 3) + 12 * kept + 8 * (13 + 4)


def test_engines_and_bases_are_named(table):
    assert table.loc["onnx", "runtime"] == "onnxruntime"
    assert set(table.drop("onnx")["runtime"]) == {"torch"}
    assert set(table["base"]) == {"plain"}
    assert table.loc["plain", "latency_b1_base_ratio_clocked"] == 1
    assert (table["latency_b1_anchor_ratio_clocked"] > 0).all()
