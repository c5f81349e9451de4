"""A compressed file is small and whole, or an error; never another network."""

import json
import os
import subprocess
import sys
import zlib

import pytest
import torch
from made_methods import METHODS, NETWORKS
from made_rules import toy_network
from torch import nn
from torchvision.models import resnet18

from labsupport.core.errors import LabError
from labsupport.methods.pruning import magnitude
from labsupport.methods.sharing import compress, decompress, share, shared_layers
from labsupport.methods.sharing.file import FORMAT, NUMBER, VERSION
from labsupport.network.fingerprint import fingerprint
from labsupport.network.storage import save

FRESH = """
import sys
from labsupport.methods.sharing import decompress
from labsupport.network.fingerprint import fingerprint
print(fingerprint(decompress(sys.argv[1])))
"""
START = len(FORMAT) + 1 + NUMBER  # where the header begins
IMAGES = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def net():
    return share(magnitude(toy_network(), 0.5), 2).eval()


def lenet():
    """LeNet-300-100, a twelfth of its weights left."""
    torch.manual_seed(0)
    layers = [nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)]
    return share(magnitude(nn.Sequential(nn.Flatten(), *layers), 11 / 12), 5)


def half():
    return share(toy_network().bfloat16(), 3)


def channels_last():
    return net().to(memory_format=torch.channels_last)


def frozen():
    model = net()
    next(model.parameters()).requires_grad_(False)
    return model


MADE = {
    "pruned": net,
    "dense": lambda: share(toy_network(), 4),
    "some layers": lambda: share(toy_network(), {"4": 1}),
    "lone": lambda: share(nn.Linear(30, 20), 8),
    "half": half,
    "channels last": channels_last,
    "frozen": frozen,
    "residual": lambda: share(NETWORKS["residual"](), 2),
    "resnet": lambda: share(resnet18(num_classes=3), {"layer1.0.conv1": 3}),
    "branches": lambda: share(METHODS["branches"](toy_network()), 2),
    "rules": lambda: METHODS["rules"](share(toy_network(), 2)),
    "masked": lambda: magnitude(net(), 0.7),
    "sparse": lambda: share(METHODS["sparse"](NETWORKS["residual"]()), 2),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.lsdc"


@pytest.mark.parametrize("name", MADE)
def test_the_same_network_comes_back(name, path):
    model = MADE[name]()
    before, state = fingerprint(model), torch.get_rng_state()
    compress(model, path)
    read = decompress(path)
    assert fingerprint(model) == fingerprint(read) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in read.modules())
    for one, other in zip(model.parameters(), read.parameters(), strict=True):
        assert one.requires_grad == other.requires_grad
        assert one.stride() == other.stride()


def test_it_answers_alike_and_learns_further(path):
    model = net()
    compress(model, path)
    read = decompress(path)
    assert torch.equal(read(IMAGES), model(IMAGES))
    read(IMAGES).sum().backward()
    codebook = read[4].parametrizations.weight.original
    assert codebook.grad.abs().sum() > 0
    assert torch.equal(read[4].weight == 0, model[4].weight == 0)


def test_a_fresh_process_reads_it(path):
    model = net()
    compress(model, path)
    run = [sys.executable, "-c", FRESH, str(path)]
    done = subprocess.run(run, capture_output=True, text=True, env=os.environ)
    assert done.stdout.strip() == fingerprint(model), done.stderr


def test_bytes_by_part_are_those_of_the_file(path):
    model = lenet()
    sizes = compress(model, path)
    assert sizes.sum() == path.stat().st_size
    assert list(sizes.index) == ["header", "tables", "codes", "indices", "codebooks", "others"]
    assert sizes["codebooks"] == 4 * 3 * 32
    assert sizes["others"] == 4 * (300 + 100 + 10)
    assert sizes["header"] < 1000
    bits = 0
    for layer in shared_layers(model).values():  # where weights are, and five bits for each
        kept = (layer.codes > 0).double().mean()
        entropy = -(kept * kept.log2() + (1 - kept) * (1 - kept).log2())
        bits += layer.codes.numel() * (entropy + 5 * kept).item()
    assert sizes["codes"] + sizes["indices"] < bits / 8 * 1.02


def test_it_is_a_small_part_of_the_network_as_it_was(path, tmp_path):
    model = lenet()
    plain = tmp_path / "plain"
    save(model, plain)
    compress(model, path)
    assert path.stat().st_size * 12 < plain.stat().st_size


def test_the_same_network_gives_the_same_file(path):
    compress(net(), path)
    first = path.read_bytes()
    compress(decompress(path), path)
    assert path.read_bytes() == first


# What no file may be.


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "net"
    compress(share(nn.Linear(6, 4), 1), path)
    return path.read_bytes()


def refused(path, content, match=None):
    path.write_bytes(content)
    with pytest.raises(LabError, match=match):
        decompress(path)


@pytest.mark.parametrize("flip", [0xFF, 0x01, 0x80])
def test_every_byte_flipped_is_an_error(whole, path, flip):
    for place in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[place] ^= flip
        refused(path, spoilt)


def test_every_cut_is_an_error(whole, path):
    for length in range(len(whole)):
        refused(path, whole[:length], "holds no network that can be read")
        refused(path, whole[length + 1 :], "holds no network that can be read")
    refused(path, whole + b"\0", "checksum")


def test_what_is_no_such_file_is_an_error(path, tmp_path):
    refused(path, b"", "another format")
    refused(path, b"{}" * 50, "another format")
    with pytest.raises(LabError, match="there is no file"):
        decompress(tmp_path / "nowhere")
    with pytest.raises(LabError, match="holds no network that can be read"):
        decompress(tmp_path)
    save(net(), path)
    with pytest.raises(LabError, match="another format"):
        decompress(path)


def test_a_newer_version_is_said_to_be_one(whole, path):
    newer = whole[: len(FORMAT)] + bytes([VERSION + 1]) + whole[len(FORMAT) + 1 :]
    refused(path, newer, "newer version.*update this one")


def rewritten(content, change):
    """The file with another header, and a checksum that fits."""
    end = START + int.from_bytes(content[START - NUMBER : START], "big")
    header = json.loads(zlib.decompress(content[START:end]))
    change(header)
    text = zlib.compress(json.dumps(header).encode())
    start = content[: START - NUMBER] + len(text).to_bytes(NUMBER, "big")
    body = start + text + content[end:-NUMBER]
    return body + zlib.crc32(body).to_bytes(NUMBER, "big")


def test_a_rewritten_header_that_fits_is_read(whole, path):
    path.write_bytes(rewritten(whole, lambda header: None))
    decompress(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("coded"),
        lambda header: header["streams"].append(3),
        lambda header: header["streams"].__setitem__(0, 1),
        lambda header: header["plain"].pop(),
        lambda header: header["plain"][0].__setitem__(1, "float64"),
        lambda header: header["plain"][0].__setitem__(1, "load"),
        lambda header: header["plain"][0].__setitem__(2, [100]),
        lambda header: header["coded"][0].__setitem__(1, [2, 2]),
        lambda header: header["coded"][0].__setitem__(2, 100),
        lambda header: header["network"].pop(""),
        lambda header: header["network"][""].update({"class": "os:system"}),
        lambda header: header["network"][""].update({"class": "nowhere:Net"}),
    ],
)
def test_a_header_that_does_not_fit_is_an_error(whole, path, change):
    refused(path, rewritten(whole, change))


def test_a_network_without_shared_layers_is_refused(path):
    with pytest.raises(LabError, match="no layer of this Sequential shares weights; share them"):
        compress(toy_network(), path)
    assert not path.exists()
