"""An encoded file is as small as its codes, and gives the same network or an error."""

import os
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from made_methods import METHODS, NETWORKS
from made_rules import toy_images, toy_network
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.pruning import magnitude
from labsupport.methods.sharing import compress, share
from labsupport.methods.sharing.container import NUMBER, checksum
from labsupport.methods.sharing.entropy import decode, encode, rate, rounded, steps, with_steps
from labsupport.methods.sharing.entropy.file import FORMAT, VERSION, structure
from labsupport.network.fingerprint import fingerprint

FRESH = """
import sys
from made_rules import toy_network
from labsupport.methods.sharing.entropy import decode
from labsupport.network.fingerprint import fingerprint
print(fingerprint(decode(sys.argv[1], toy_network(seed=5))))
"""
IMAGES = toy_images(5, 1).x


def normalized():
    return nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 2))


def half():
    return toy_network().bfloat16()


MADE = {
    "sequential": toy_network,
    "residual": NETWORKS["residual"],
    "lone": lambda: nn.Linear(3, 2),
    "normalized": normalized,
    "half": half,
    "branches": lambda: METHODS["branches"](toy_network()),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.lsec"


def drawn_anew(network):
    """The same architecture with other values in all of its tensors."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1)
    return network


@pytest.mark.parametrize("name", MADE)
def test_the_same_network_comes_back(name, path):
    net = with_steps(MADE[name](), 4)
    architecture = drawn_anew(MADE[name]())
    before, given, state = fingerprint(net), fingerprint(architecture), torch.get_rng_state()
    encode(net, path)
    read = decode(path, architecture)
    assert fingerprint(read) == fingerprint(rounded(net))
    assert (fingerprint(net), fingerprint(architecture)) == (before, given)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in read.modules())


def test_it_answers_alike_whatever_the_architecture_has_for_weights(path):
    net = with_steps(toy_network(), 3).eval()
    encode(net, path)
    for architecture in (with_steps(toy_network(1)), magnitude(toy_network(2), 0.5)):
        assert torch.equal(decode(path, architecture)(IMAGES), net(IMAGES))


def test_a_mask_above_steps_is_one_of_the_zeros(path):
    net = magnitude(with_steps(toy_network(), 4), 0.6).eval()
    encode(net, path)
    assert torch.equal(decode(path, toy_network(1)).eval()(IMAGES), net(IMAGES))


def test_a_fresh_process_reads_it(path):
    net = with_steps(toy_network(), 4)
    encode(net, path)
    search = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(path)], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": search},
    )  # fmt: skip
    assert done.stdout.strip() == fingerprint(rounded(net)), done.stderr


NUMBERS = st.sampled_from([st.integers(-1, 1), st.integers(-(2**20), 2**20), st.just(0)])


@settings(max_examples=30)
@given(NUMBERS.flatmap(lambda of: arrays.arrays(np.int64, (5, 4), elements=of)))
def test_codes_of_any_size_come_back(tmp_path_factory, codes):
    path = tmp_path_factory.getbasetemp() / "codes.lsec"
    net = with_steps(nn.Linear(3, 5))
    put(net, torch.from_numpy(codes))
    encode(net, path)
    assert fingerprint(decode(path, nn.Linear(3, 5))) == fingerprint(rounded(net))


def put(layer, codes):
    """Let a layer have these codes, its bias the last column."""
    with torch.no_grad():
        for kind, part in (("weight", codes[:, :-1]), ("bias", codes[:, -1])):
            parts = layer.parametrizations[kind]
            parts.original.copy_(part.float() * parts[0].step)


def test_bytes_by_part_are_those_of_the_file(path):
    net = with_steps(nn.Sequential(nn.Linear(100, 80), nn.BatchNorm1d(80), nn.Linear(80, 9)), 3)
    sizes = encode(net, path)
    assert sizes.sum() == path.stat().st_size
    assert list(sizes.index) == ["header", "steps", "others", "codes"]
    assert sizes["header"] == len(FORMAT) + 1 + 4 + 4
    assert sizes["steps"] == 2 * 4
    assert sizes["others"] == 4 * 4 * 80 + 8
    assert sizes["codes"] == pytest.approx(rate(net).sum() / 8, rel=0.1)


def test_zeros_take_next_to_nothing(path):
    net = with_steps(nn.Linear(400, 300))
    put(net, torch.zeros(300, 401, dtype=torch.int64))
    sizes = encode(net, path)
    assert sizes["codes"] < 16
    assert torch.equal(decode(path, nn.Linear(400, 300)).weight, torch.zeros(300, 400))


def test_the_same_network_gives_the_same_file(path, tmp_path):
    net = with_steps(toy_network(), 5)
    for place in (path, tmp_path / "again"):
        encode(net, place)
    assert path.read_bytes() == (tmp_path / "again").read_bytes()


# What no file may be.


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "net"
    torch.manual_seed(0)
    encode(with_steps(nn.Linear(6, 4), 3), path)
    return path.read_bytes()


def refused(path, content, match=None):
    path.write_bytes(content)
    with pytest.raises(LabError, match=match):
        decode(path, nn.Linear(6, 4))


@pytest.mark.parametrize("flip", [0xFF, 0x01, 0x80])
def test_every_byte_flipped_is_an_error(whole, path, flip):
    for place in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[place] ^= flip
        refused(path, spoilt)


def test_every_cut_is_an_error(whole, path):
    for length in range(len(whole)):
        refused(path, whole[:length], "is damaged, .* and cannot be read")
        refused(path, whole[length + 1 :], "is damaged, .* and cannot be read")
    refused(path, whole + b"\0", "checksum")


def resealed(content, architecture):
    """With a checksum that fits."""
    return content + checksum(content, structure(architecture))


def test_bytes_that_were_never_written_are_an_error_or_another_network(whole, path):
    """A checksum can be forged: then nothing but LabError may be raised."""
    drawn = np.random.default_rng(0)
    start = len(FORMAT) + 1
    for _ in range(200):
        body = bytearray(whole[:-NUMBER])
        for place in drawn.integers(start, len(body), 3):
            body[place] = drawn.integers(256)
        path.write_bytes(resealed(bytes(body), nn.Linear(6, 4)))
        with suppress(LabError):
            decode(path, nn.Linear(6, 4))


def test_what_is_no_such_file_is_an_error(path, tmp_path):
    refused(path, b"", "another format")
    compress(share(toy_network(), 2), path)
    with pytest.raises(LabError, match="another format"):
        decode(path, toy_network())
    with pytest.raises(LabError, match="there is no file"):
        decode(tmp_path / "nowhere", toy_network())


def test_a_newer_version_is_said_to_be_one(whole, path):
    newer = whole[: len(FORMAT)] + bytes([VERSION + 1]) + whole[len(FORMAT) + 1 :]
    refused(path, newer, "newer version.*update this one")


EITHER = "is damaged, or was written of another architecture, and cannot be read"
OTHER_SIZES = [
    nn.Linear(6, 5),
    nn.Linear(7, 4),
    nn.Linear(4, 6),
    nn.Linear(6, 4, bias=False),
    nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)),
    nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)),
    nn.ReLU(),
]


@pytest.mark.parametrize("other", OTHER_SIZES, ids=str)
def test_another_architecture_is_an_error(whole, path, other):
    path.write_bytes(whole)
    with pytest.raises(LabError, match=EITHER):
        decode(path, other)
    path.write_bytes(resealed(whole[:-NUMBER], other))  # two may have one checksum
    with pytest.raises(LabError, match="its tensors have other sizes"):
        decode(path, other)


def convolutions(activation=nn.ReLU, dtype=torch.float32, eps=1e-5, **given):
    """Two convolutions with the same weights, whatever is given."""
    options = {"stride": 1, "padding": 1} | given
    layers = nn.Conv2d(1, 2, 3, **options), nn.BatchNorm2d(2, eps), activation(), nn.Conv2d(2, 2, 3)
    return nn.Sequential(*layers).to(dtype)


@pytest.mark.parametrize(
    "other",
    [
        convolutions(stride=2),
        convolutions(padding=0),
        convolutions(dilation=2),
        convolutions(padding_mode="reflect"),
        convolutions(nn.Tanh),
        convolutions(eps=1e-3),
        convolutions(dtype=torch.bfloat16),
        convolutions().append(nn.ReLU()),
        nn.Sequential(*reversed(convolutions())),
    ],
    ids=str,
)
def test_another_architecture_of_the_same_sizes_is_an_error(path, other):
    encode(with_steps(convolutions()), path)
    decode(path, drawn_anew(convolutions()))
    with pytest.raises(LabError, match=EITHER):
        decode(path, other)


class Cropped(nn.Module):
    """Some pixels by a table that no file holds, through a layer."""

    def __init__(self, pixels):
        super().__init__()
        self.register_buffer("pixels", torch.tensor(pixels), persistent=False)
        self.layer = nn.Linear(len(pixels), 2)

    def forward(self, x):
        return self.layer(x.flatten(1)[:, self.pixels])


def test_tensors_that_are_not_in_the_file_are_a_part_of_the_architecture(path):
    net = with_steps(Cropped([0, 3])).eval()
    encode(net, path)
    assert torch.equal(decode(path, Cropped([0, 3]))(IMAGES), net(IMAGES))
    with pytest.raises(LabError, match=EITHER):
        decode(path, Cropped([0, 4]))


def test_an_architecture_without_a_description_is_refused(path):
    hooked = with_steps(toy_network())
    hooked[0].register_forward_hook(lambda layer, inputs, output: 2 * output)
    with pytest.raises(LabError, match="0 has hooks, which change what it computes"):
        encode(hooked, path)
    assert not path.exists()


def test_what_cannot_be_written_is_refused(path):
    with pytest.raises(LabError, match="the weight of layer 0 has no step; give all layers some"):
        encode(toy_network(), path)
    with pytest.raises(LabError, match="the weight of layer 4 has no step"):
        encode(with_steps(toy_network(), {"0": 3}), path)
    net = with_steps(toy_network())
    net[4].parametrizations.weight.original.data[0, 0] = torch.nan
    with pytest.raises(LabError, match="the weight of layer 4 is not finite, or not in whole"):
        encode(net, path)
    net = with_steps(toy_network())
    steps(net)["0.bias"].log_step.data.fill_(torch.nan)
    with pytest.raises(LabError, match="the bias of layer 0 is not finite"):
        encode(net, path)
    put(net := with_steps(nn.Linear(3, 5)), torch.full((5, 4), 2**30))
    with pytest.raises(LabError, match="not in whole steps"):
        encode(net, path)
    with pytest.raises(LabError, match="weight is sparse"):
        encode(METHODS["sparse"](with_steps(NETWORKS["residual"]())), path)
    assert not path.exists()


def test_a_layer_in_two_places_is_written_once(path):
    def twice():
        layer = nn.Linear(6, 6)
        return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(6, 2))

    net = with_steps(twice(), 4)
    assert encode(net, path)["others"] == 0
    assert fingerprint(decode(path, twice())) == fingerprint(rounded(net))
