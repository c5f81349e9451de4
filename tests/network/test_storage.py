"""Every kind of network comes back from its file as it was, in another process, to the bit."""

import copy
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stored_networks import Odd, Tied, branched, branchy, images, lstm, networks, small
from torch import fx, nn
from torch.nn.utils import prune

from labsupport.core.errors import LabError
from labsupport.core.tensors import read_tensors, write_tensors
from labsupport.models.registry import build
from labsupport.network.fingerprint import fingerprint
from labsupport.network.storage import check_storable, file_bytes, load, read_about, save

NAMES = (
    *("plain", "residual", "attributes", "pruned", "pruned ResNet", "masked", "sparse", "shared"),
    *("rules", "branched", "branchy", "traced", "traced ResNet", "tied", "odd", "half", "frozen"),
    *("channels last", "orthogonal", "attention", "onnx"),
)
FRESH = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from stored_networks import images
from labsupport.network.storage import load
folder = Path(sys.argv[1])
answers = {}
for path in sorted((folder / "networks").iterdir()):
    with torch.inference_mode():
        answers[path.name] = load(path)(images(path.name)).contiguous()
save_file(answers, folder / "answers")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return networks(tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for name, net in made.items():
        save(net, folder / "networks" / name, {"name": name, "seconds": 1.5})
    return folder


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def test_all_kinds_are_here(made):
    assert tuple(made) == NAMES


def test_a_fresh_process_gives_the_same_answers_to_the_bit(made, folder):
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    run = [sys.executable, "-c", FRESH, str(folder)]
    subprocess.run(run, check=True, env=os.environ | {"PYTHONPATH": paths})
    answers = load_file(folder / "answers")
    assert sorted(answers) == sorted(made)
    for name, net in made.items():
        with torch.inference_mode():
            assert torch.equal(net(images(name)), answers[name]), name


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_as_it_was(made, folder, name):
    before, state = made[name], torch.get_rng_state()
    after = load(folder / "networks" / name)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in after.modules())
    assert repr(after) == repr(before)
    for kind in ("named_parameters", "named_buffers"):
        pairs = zip(getattr(before, kind)(), getattr(after, kind)(), strict=True)
        for (name_before, a), (name_after, b) in pairs:
            assert name_before == name_after
            assert same(a, b)


ALIKE = ("dtype", "shape", "layout", "requires_grad")


def same(a, b):
    """Whether two tensors are equal in values, type, place in memory, and whether they learn."""
    if any(getattr(a, what) != getattr(b, what) for what in ALIKE):
        return False
    if a.layout != torch.strided:
        return same(a.to_dense(), b.to_dense())
    return a.stride() == b.stride() and torch.equal(a.double(), b.double())


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_state_are_as_they_were(made, folder, name):
    before, after = made[name], load(folder / "networks" / name)
    assert list(after.state_dict()) == list(before.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_bytes_are_those_of_the_file(made, path, name):
    save(made[name], path)
    assert file_bytes(made[name]) == path.stat().st_size


@pytest.mark.parametrize("name", ["masked", "shared", "branchy", "traced", "tied", "orthogonal"])
def test_what_was_loaded_learns_and_is_saved_again(folder, path, name):
    net = load(folder / "networks" / name).train()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
    net(images(name)).square().sum().backward()
    optimizer.step()
    save(net, path)
    with torch.inference_mode():
        assert torch.equal(net.eval()(images(name)), load(path)(images(name)))


def test_masked_weights_stay_zero_when_the_loaded_network_learns(folder):
    net = load(folder / "networks" / "masked")
    zero = net[4].weight == 0
    assert zero.any()
    net(images("masked")).sum().backward()
    torch.optim.SGD(net.parameters(), 1.0).step()
    assert (net[4].weight[zero] == 0).all()
    assert (net[4].parametrizations.weight.original[zero] != 0).any()


def test_a_copy_of_what_was_loaded_is_a_network_of_its_own(folder):
    net = load(folder / "networks" / "masked")
    twin = copy.deepcopy(net)
    twin[4].parametrizations.weight.original.data.zero_()
    assert net[4].weight.abs().sum() > 0


def test_an_exported_network_can_be_copied_and_takes_its_bytes(made):
    net = made["onnx"]
    twin = copy.deepcopy(net)
    assert torch.equal(twin(images("onnx")), net(images("onnx")))
    assert file_bytes(net) > len(net.file) > 0


def test_shared_weights_and_layers_stay_shared_and_are_stored_once(path):
    save(Tied(), path)
    tied = load(path)
    assert tied.first is tied.again
    assert tied.other.weight is tied.first.weight
    assert len(load_file(path)) == 3


def test_what_a_state_dict_forgets_is_kept(path):
    save(branchy(), path)
    assert load(path).thresholds == (0.9,)
    save(branched(), path)
    net = load(path)
    assert net.chunk == 2
    assert net.rules.calibration == branched().rules.calibration
    assert net.rules.origin == branched().rules.origin
    assert net.rules.margins.tolist() == [0.7, 0.9, float("inf")]
    save(Odd(), path)
    assert "scalar" not in load(path).state_dict()
    assert load(path).scalar == 2


def test_a_recurrent_network_comes_back(path):
    x = torch.randn(2, 5, 6)
    net = lstm().eval()
    save(net, path)
    assert torch.equal(net(x)[0], load(path)(x)[0])


def test_gradients_and_modes_are_not_kept(path):
    net = small().train()
    net(images("plain")).sum().backward()
    save(net, path)
    kept = load(path)
    assert not kept.training
    assert kept[0].weight.grad is None
    assert kept(images("plain")).shape == (5, 3)


def test_the_header_can_be_read_by_anyone(folder):
    with safe_open(folder / "networks" / "branchy", framework="pt") as file:
        header = {key: text for key, text in file.metadata().items() if key != "checksum"}
        assert "segments.0.0.weight" in file.keys()  # noqa: SIM118
    header = {key: json.loads(text) for key, text in header.items()}
    assert header["format"] == "labsupport network"
    assert header["torch"] == torch.__version__
    net = header["network"][""]
    assert net["class"] == "labsupport.methods.early_exit.branchy:BranchyNet"
    assert net["attributes"]["thresholds"] == {"$tuple": [0.9]}
    assert read_about(folder / "networks" / "branchy") == {"name": "branchy", "seconds": 1.5}


def test_overhead_is_small():
    assert 0 < file_bytes(nn.Linear(100, 100)) - 4 * 10_100 < 1000


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner)
)


@settings(max_examples=15)
@given(about=st.dictionaries(st.text(), values))
def test_what_is_said_about_a_network_comes_back(tmp_path_factory, about):
    path = tmp_path_factory.getbasetemp() / "about"
    save(nn.ReLU(), path, about)
    assert read_about(path) == about


# What no file may be.


@pytest.fixture(scope="module")
def whole(folder):
    return (folder / "networks" / "pruned").read_bytes()


@settings(max_examples=60)
@given(data=st.data())
def test_a_file_with_one_wrong_byte_is_refused(whole, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "flipped"
    at = data.draw(st.integers(0, len(whole) - 1))
    change = data.draw(st.integers(1, 255))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
    with pytest.raises(LabError, match="flipped"):
        load(path)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.9999])
def test_a_torn_file_is_refused(whole, path, share):
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(LabError, match="holds no network that can be read"):
        load(path)


def test_a_missing_file_or_one_of_another_kind_is_refused(path):
    with pytest.raises(LabError, match="there is no file"):
        load(path)
    path.mkdir()
    with pytest.raises(LabError, match="holds no network"):
        load(path)
    for metadata in (None, {"format": "[", "version": "1"}, {"format": '"pt"'}):
        save_file({"weight": torch.zeros(2)}, path.with_name("other"), metadata=metadata)
        with pytest.raises(LabError, match="holds no network"):
            load(path.with_name("other"))


def rewritten(path, change):
    """The file of a network with another header, as if it had been written so."""
    tensors, header = read_tensors(path)
    change(header)
    write_tensors(path, tensors, header)


def test_a_file_of_a_newer_version_says_so(path):
    save(small(), path)
    rewritten(path, lambda header: header.update(version=2))
    for read in (load, read_about):
        with pytest.raises(LabError, match=r"newer version.*update this one"):
            read(path)


def test_a_header_without_what_is_said_about_it_is_refused(path):
    save(small(), path)
    rewritten(path, lambda header: header.pop("about"))
    with pytest.raises(LabError, match="holds no network that can be read"):
        read_about(path)


@pytest.mark.parametrize("device", ["cuda:99", "nothing"])
def test_a_device_that_is_not_there_is_not_the_files_fault(path, device):
    save(small(), path)
    with pytest.raises(LabError, match=f"there is no device {device} here"):
        load(path, device)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere.at.all:Net", "cannot be imported"),
        ("torch.nn:Nothing", "cannot be imported"),
        ("torch:relu", "is no nn.Module"),
        ("subprocess:Popen", "not for networks"),
        ("os:system", "not for networks"),
        ("torch.nn", "names no function or class"),
        (3, "names no function or class"),
    ],
)
def test_a_class_that_is_none_is_refused(path, name, reason):
    save(small(), path)
    rewritten(path, lambda header: header["network"]["0"].update({"class": name}))
    with pytest.raises(LabError, match=reason):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.pop(""),
        lambda net: net["0"].pop("class"),
        lambda net: net["0"].update(parameters={"weight": "9.weight"}),
        lambda net: net["0"].update(children={"a": "nowhere"}),
        lambda net: net["0"].update(attributes={"_forward_hooks": {}}),
        lambda net: net["0"].update(attributes={"a": {"$unknown": 1}}),
        lambda net: net["0"].update(attributes={"a": {"$reference": "posix:system"}}),
        lambda net: net["0"].update(attributes={"a": {"$partial": ["torch:load", [], {}]}}),
        lambda net: net["0"].update(attributes=[1]),
        lambda net: net.update({"0": []}),
        lambda net: net.update({"0": {"class": "labsupport.runtimes.onnx:OnnxNetwork"}}),
    ],
)
def test_a_structure_that_does_not_fit_is_refused(path, change):
    save(small(), path)
    rewritten(path, lambda header: change(header["network"]))
    with pytest.raises(LabError):
        load(path)


CALLS = [
    {"op": "call_function", "target": "posix:system", "args": ["true"]},
    {"op": "call_function", "target": "builtins:eval", "args": ["1"]},
    {"op": "call_function", "target": "builtins:getattr", "args": [1, "__class__"]},
    {"op": "call_function", "target": "torch:load", "args": ["x"]},
    {"op": "call_function", "target": "torch.serialization:load", "args": ["x"]},
    {"op": "call_function", "target": "_operator:methodcaller", "args": ["x"]},
    {"op": "call_function", "target": "labsupport.core.files:write_text", "args": ["x", "y"]},
    {"op": "call_function", "target": "labsupport.models.registry:build", "args": ["os:abort"]},
    {"op": "call_function", "target": "torch:from_file", "args": ["x"]},
    {"op": "call_function", "target": "builtins:getattr", "args": [{"$node": "x"}, "tofile"]},
    {"op": "call_function", "target": "builtins:getattr", "args": [{"$node": "x"}, "apply_"]},
    {"op": "call_function", "target": "torch:relu", "args": [{"$reference": "torch:relu"}]},
    {"op": "call_function", "target": "torch:relu", "kwargs": {"a=1, b": 1}},
    {"op": "call_method", "target": "__class__", "args": [{"$node": "x"}]},
    {"op": "call_method", "target": "relu().foo", "args": [{"$node": "x"}]},
    {"op": "call_method", "target": "system", "args": [{"$node": "x"}]},
    {"op": "call_module", "target": 'head"); print("', "args": [{"$node": "x"}]},
    {"op": "call_module", "target": "nowhere", "args": [{"$node": "x"}]},
    {"op": "get_attr", "target": "__dict__"},
    {"op": "placeholder", "target": "y=print()"},
    {"op": "exec", "target": "print"},
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call['op']}-{call['target']}")
def test_a_graph_that_reaches_beyond_tensors_is_refused(made, path, call):
    save(made["traced"], path)
    graph = {"name": "added"} | call
    rewritten(path, lambda header: header["network"][""]["graph"].insert(1, graph))
    with pytest.raises(LabError):
        load(path)


def test_a_graph_that_would_unpickle_a_file_is_refused(path):
    graph = fx.Graph()
    graph.placeholder("x")
    arguments = ("pandas.io.pickle:read_pickle", (1, 2, 2), 10)
    graph.output(graph.call_function(build, arguments, {"filepath_or_buffer": "harm.pkl"}))
    with pytest.raises(LabError, match=r"calls labsupport\.models\.registry:build"):
        save(fx.GraphModule(nn.Module(), graph), path)


# What cannot be saved, and why.


class InThisModule(nn.Linear):
    pass


def test_a_class_that_another_process_cannot_import_is_refused(path, monkeypatch):
    class Local(nn.ReLU):
        pass

    monkeypatch.setattr(InThisModule, "__module__", "__main__")
    for net in (nn.Sequential(Local()), InThisModule(1, 1)):
        with pytest.raises(LabError, match="put the class into a module of its own"):
            save(net, path)
        with pytest.raises(LabError, match="put the class into a module of its own"):
            check_storable(net)
    assert not path.exists()


@pytest.mark.parametrize(
    ("attribute", "problem"),
    [
        (lambda x: x, "a lambda has no name"),
        (object(), "has no description"),
        (print, "not for networks|cannot be found"),
        ([nn.ReLU()], "outside the network's children"),
        (torch.zeros(2).to_sparse(), "stored as torch.sparse_coo"),
    ],
)
def test_an_attribute_that_no_file_can_hold_is_refused_by_name(path, attribute, problem):
    net = small()
    net[2].extra = attribute
    with pytest.raises(LabError, match=problem):
        save(net, path)
    assert not path.exists()


@pytest.mark.parametrize(
    "hook",
    [
        lambda layer: layer.register_forward_hook(lambda *call: 0 * call[2]),
        lambda layer: layer.register_forward_pre_hook(lambda *_: None),
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        nn.utils.spectral_norm,
    ],
)
def test_a_network_with_hooks_is_refused(path, hook):
    net = nn.Sequential(nn.Linear(4, 3))
    hook(net[0])
    for refuse in (lambda: save(net, path), lambda: check_storable(net), lambda: fingerprint(net)):
        with pytest.raises(LabError, match=r"0 has hooks.*use parametrizations"):
            refuse()


def test_a_layer_without_a_shape_is_refused(path):
    with pytest.raises(LabError, match="run the network once"):
        save(nn.Sequential(nn.LazyLinear(3)), path)


def test_many_may_write_and_read_one_file_at_once(path):
    nets = [nn.Linear(50, 50) for _ in range(4)]
    save(nets[0], path)
    read, errors = [], []

    def work(net):
        try:
            for _ in range(5):
                save(net, path)
                read.append(load(path).weight)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(net,)) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(read) == 20
    assert all(any(torch.equal(weight, net.weight) for net in nets) for weight in read)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
