"""What a runtime does with a network: copies elsewhere in memory, threads, resident bytes."""

import pytest
import torch
from made_rules import toy_network
from torch import nn

from labsupport.core.errors import LabError
from labsupport.runtimes.onnx import OnnxNetwork, export_onnx
from labsupport.runtimes.runtime import TORCH, runtime_of

IMAGE = (1, 8, 8)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    net = toy_network().eval()
    path = export_onnx(net, IMAGE, tmp_path_factory.mktemp("onnx") / "net.onnx")
    return {"torch": net, "onnxruntime": OnnxNetwork(path)}


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_a_replica_answers_alike_from_memory_of_its_own(networks, name):
    network, x = networks[name], torch.rand(3, *IMAGE)
    runtime = runtime_of(network)
    replica = runtime.replica(network, 2)
    assert runtime.name == name
    torch.testing.assert_close(replica(x), network(x))
    mine, its = ({t.data_ptr() for t in n.state_dict().values()} for n in (network, replica))
    assert not mine & its
    assert runtime.resident_bytes(replica) == runtime.resident_bytes(network) > 0


def test_threads_are_those_of_the_engine_that_computes(networks):
    onnx = networks["onnxruntime"]
    replica = runtime_of(onnx).replica(onnx, 2)
    assert replica.session.get_session_options().intra_op_num_threads == 2
    assert onnx.session.get_session_options().intra_op_num_threads == 1
    before = torch.get_num_threads()
    runtime_of(onnx).set_threads(before + 1)
    assert torch.get_num_threads() == before
    for network in networks.values():
        with pytest.raises(LabError, match="0 threads"):
            runtime_of(network).replica(network, 0)


def test_a_part_in_another_engine_has_the_threads_of_the_clock(networks):
    network = nn.Sequential(nn.Identity(), nn.Sequential(networks["onnxruntime"])).eval()
    replica = runtime_of(network).replica(network, 2)
    assert replica[1][0].session.get_session_options().intra_op_num_threads == 2
    x = torch.rand(3, *IMAGE)
    torch.testing.assert_close(replica(x), network(x))


def test_a_part_that_stands_in_two_places_is_one_part_in_the_copy_too(networks):
    part = networks["onnxruntime"]
    network = nn.ModuleDict({"first": nn.Sequential(part), "second": part})
    network.again = part
    replica = TORCH.replica(network, 2)
    assert replica["first"][0] is replica["second"] is replica.again is not part
    assert replica.again.session.get_session_options().intra_op_num_threads == 2


def test_what_cannot_be_copied_is_refused_in_a_sentence():
    net = nn.Linear(2, 2)
    net.computed = net.weight * 2
    with pytest.raises(LabError, match="Linear cannot be copied"):
        TORCH.replica(net, 1)


def test_buffers_are_resident():
    assert TORCH.resident_bytes(nn.BatchNorm1d(10)) == 4 * 4 * 10 + 8
