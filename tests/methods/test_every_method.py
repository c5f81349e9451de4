"""Every method passes `check_method`, alone and after every other that it may follow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_methods import IMAGE, METHODS, NETWORKS, PAIRS, toy_splits
from torch import nn

from labsupport.core.randomness import seeded
from labsupport.measure.checks import check_method, check_network
from labsupport.network.modes import evaluating
from labsupport.network.storage import save
from labsupport.runtimes.onnx import OnnxNetwork, export_onnx

MADE = Path(__file__).parents[1] / "made"
LOAD_ALL = """
import json, sys, torch
from labsupport.network.storage import load
torch.set_num_threads(1)
x = torch.load(sys.argv[1], weights_only=True)
with torch.no_grad():
    print(json.dumps({path: load(path)(x).tolist() for path in sys.argv[2:]}))
"""


@pytest.fixture(scope="module")
def splits():
    return toy_splits()


@pytest.fixture(scope="module")
def networks():
    with seeded(0):
        return {name: _in_use(make()) for name, make in NETWORKS.items()}


def _in_use(network):
    """In training mode, with one layer in eval mode and one parameter frozen."""
    layer = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    network.train()
    layer.eval()
    next(network.parameters()).requires_grad_(False)
    return network


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method(networks, network, method, splits):
    check_method(METHODS[method], networks[network], splits)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("first", "second"), PAIRS, ids=map("-".join, PAIRS))
def test_a_method_after_another(networks, network, first, second, splits):
    check_method(METHODS[second], METHODS[first](networks[network]), splits)


def test_a_network_of_another_runtime(networks, splits, tmp_path):
    path = export_onnx(networks["sequential"], IMAGE, tmp_path / "net.onnx")
    check_network(OnnxNetwork(path), splits)


def test_what_methods_give_is_read_by_a_fresh_process(networks, splits, tmp_path):
    x, answers = splits.test.x[:5], {}
    torch.save(x, tmp_path / "images.pt")
    for network in NETWORKS:
        for method in METHODS:
            result, path = METHODS[method](networks[network]), tmp_path / f"{network}-{method}"
            save(result, path)
            with evaluating(result), torch.no_grad():
                answers[str(path)] = result(x).tolist()
    command = [sys.executable, "-c", LOAD_ALL, str(tmp_path / "images.pt"), *answers]
    path = os.pathsep.join([str(MADE), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == answers
