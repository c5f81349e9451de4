import onnx
import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.measure import latency
from labsupport.methods.surgery import remove_channels
from labsupport.models import build
from labsupport.network.cost import batch_cost, cost
from labsupport.runtimes.onnx import OnnxNetwork, export_onnx, exported

SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = remove_channels(build("lenet5", SHAPE), SHAPE, {"0": range(10), "7": range(300)})
    return nn.Sequential(net[:6], nn.Dropout(0.5), net[6:]).train()


@pytest.fixture(scope="module")
def path(net, tmp_path_factory):
    return export_onnx(net, SHAPE, tmp_path_factory.mktemp("onnx") / "net.onnx")


@pytest.mark.parametrize("n", [1, 2, 7])
def test_onnxruntime_gives_the_same_logits_for_any_batch(net, path, n):
    x = torch.randn(n, *SHAPE)
    net.eval()
    torch.testing.assert_close(OnnxNetwork(path)(x), net(x), rtol=1e-4, atol=1e-5)


def test_several_networks_are_exported_by_name(net, tmp_path):
    other = nn.Sequential(nn.Flatten(), nn.Linear(784, 3)).eval()
    outside = exported({"lenet": net.eval(), "linear": other}, SHAPE, tmp_path / "new" / "folder")
    x = torch.randn(2, *SHAPE)
    torch.testing.assert_close(outside["lenet"](x), net(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outside["linear"](x), other(x), rtol=1e-4, atol=1e-5)
    names = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    assert names == {"lenet.onnx", "linear.onnx"}


def test_it_is_one_valid_file(net, path):
    onnx.checker.check_model(str(path), full_check=True)
    weights = 4 * sum(p.numel() for p in net.parameters())
    assert weights < path.stat().st_size < weights + 50_000
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_exporting_says_nothing_and_changes_nothing(net, tmp_path, capfd):
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    export_onnx(net, SHAPE, tmp_path / "again.onnx")
    assert capfd.readouterr() == ("", "")
    assert all(module.training for module in net.modules())
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())


def test_it_is_clocked_as_any_network(net, path):
    nets = {"torch": net, "onnxruntime": OnnxNetwork(path)}
    clocking = latency.clock(nets, torch.randn(1, *SHAPE), rounds=2, calls=2)
    assert set(clocking.table["name"]) >= set(nets)


@pytest.mark.parametrize("content", [None, b"not a network"])
def test_a_file_that_is_no_network_is_refused(tmp_path, content):
    path = tmp_path / "none.onnx"
    if content:
        path.write_bytes(content)
    with pytest.raises(LabError, match=r"none\.onnx cannot be run"):
        OnnxNetwork(path)


def test_no_thread_is_refused(path):
    with pytest.raises(LabError, match="0 threads"):
        OnnxNetwork(path, threads=0)


def test_a_network_that_cannot_be_exported_is_refused_and_leaves_no_file(tmp_path, capfd):
    class Deciding(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(LabError, match="Deciding cannot be exported"):
        export_onnx(Deciding(), SHAPE, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


class Written(nn.Module):
    """Its batch size stands in the code."""

    def __init__(self, size):
        super().__init__()
        self.out, self.size = nn.Linear(784, 3), size

    def forward(self, x):
        return self.out(x.view(self.size, 784))


def test_a_network_for_one_batch_size_is_refused(tmp_path):
    export_onnx(Written(-1), SHAPE, tmp_path / "any.onnx")
    with pytest.raises(LabError):
        export_onnx(Written(2), SHAPE, tmp_path / "two.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["any.onnx"]


def test_a_network_of_double_precision_is_exported_in_single(tmp_path):
    net = Written(-1).double()
    exported = OnnxNetwork(export_onnx(net, SHAPE, tmp_path / "net.onnx"))
    x = torch.rand(3, *SHAPE)
    torch.testing.assert_close(exported(x), net(x.double()).float(), rtol=1e-4, atol=1e-5)
    assert net.out.weight.dtype == torch.float64


def test_a_batch_that_does_not_fit_is_refused(path):
    with pytest.raises(LabError, match=r"does not take a batch of \(1, 3, 28, 28\)"):
        OnnxNetwork(path)(torch.zeros(1, 3, 28, 28))


def test_the_file_says_what_the_network_costs(net, path):
    assert cost(OnnxNetwork(path), SHAPE) == cost(net, SHAPE)
    assert batch_cost(OnnxNetwork(path), torch.zeros(3, *SHAPE)) == cost(net, SHAPE) * 3


def test_a_file_without_its_cost_can_be_run_but_not_counted(path, tmp_path):
    foreign = onnx.load(path)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    network = OnnxNetwork(tmp_path / "foreign.onnx")
    assert network(torch.zeros(1, *SHAPE)).shape == (1, 10)
    with pytest.raises(LabError, match="does not say what it costs"):
        cost(network, SHAPE)


@pytest.mark.parametrize("content", ["", "[1]", "3", '{"speed": 1}', "null"])
def test_damaged_words_about_the_cost_are_as_if_they_were_not_there(path, tmp_path, content):
    damaged = onnx.load(path)
    for entry in damaged.metadata_props:
        entry.value = content
    onnx.save(damaged, tmp_path / "damaged.onnx")
    network = OnnxNetwork(tmp_path / "damaged.onnx")
    with pytest.raises(LabError, match="does not say what it costs"):
        cost(network, SHAPE)
    with pytest.raises(LabError, match="does not say how many weights"):
        _ = network.weight_bits
