"""Packed signs against the float layers that they stand for, to the last bit."""

import copy
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_nets import Residual, drawn
from torch import nn

from labsupport.core.errors import LabError
from labsupport.measure.latency import clock
from labsupport.methods.binary import (
    BNN,
    BNN_OF_SIGNS,
    BWN,
    LAB,
    LAB2,
    XNOR,
    XNOR_WITHOUT_K,
    BinaryConv2d,
    BinaryLinear,
    LossAware,
    binarize,
    binary_layers,
    hold_signs,
)
from labsupport.models import build
from labsupport.network.cost import Cost, cost
from labsupport.network.modes import evaluating
from labsupport.network.storage import file_bytes, load, save
from labsupport.network.weights import weights_of
from labsupport.runtimes.packed import BitsFromBits, Pack, PackedLayer, kernel, pack
from labsupport.runtimes.runtime import runtime_of

MNIST = (1, 28, 28)
SCHEMES = {s.name: s for s in (BNN, BNN_OF_SIGNS, BWN, XNOR, XNOR_WITHOUT_K, LAB, LAB2)}
FRESH = """
import sys, torch
from labsupport.network.storage import load
x = torch.load(sys.argv[1], weights_only=True)
torch.save(load(sys.argv[2])(x), sys.argv[3])
"""


def binary(network, scheme, seed=0):
    """A binary network in eval mode whose norms are drawn by chance, some of them decreasing."""
    torch.manual_seed(seed)
    made = binarize(network, scheme)
    drawn(made)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 20, 200)
            nn.init.uniform_(module.running_mean, -10, 10)
            module.weight.data[::5] = 0  # the sign is then the shift's, and 0 counts as +1
            module.bias.data[::10] = 0
    return made.eval()


def answers(network, x):
    with evaluating(network), torch.no_grad():
        return network(x)


def of_kind(network, kind):
    return [module for module in network.modules() if isinstance(module, kind)]


@settings(max_examples=40)
@given(
    channels=st.sampled_from([1, 3, 64, 65, 130]),
    filters=st.sampled_from([1, 8, 13, 64, 70]),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    scheme=st.sampled_from([XNOR, XNOR_WITHOUT_K]),
    seed=st.integers(0, 50),
)
def test_a_convolution(channels, filters, kernel, stride, padding, dilation, bias, scheme, seed):
    torch.manual_seed(seed)
    conv = nn.Conv2d(channels, filters, kernel, stride, padding, dilation, bias=bias)
    network = nn.Sequential(BinaryConv2d(conv, scheme, "conv"))
    x = torch.randn(2, channels, 9, 10).round(decimals=1)  # zeros among them
    packed = pack(network, (channels, 9, 10))
    assert torch.equal(answers(packed, x), answers(network, x))
    by_pixel = x.to(memory_format=torch.channels_last)
    assert torch.equal(answers(packed, by_pixel), answers(network, by_pixel))


@settings(max_examples=30)
@given(
    features=st.integers(1, 200),
    outputs=st.integers(1, 140),
    batch=st.sampled_from([1, 2, 65, 130]),
    scheme=st.sampled_from([XNOR, XNOR_WITHOUT_K, LAB2, BWN]),
    seed=st.integers(0, 50),
)
def test_a_linear_layer(features, outputs, batch, scheme, seed):
    torch.manual_seed(seed)
    network = nn.Sequential(BinaryLinear(nn.Linear(features, outputs), scheme, "linear"))
    x = torch.randn(batch, features)
    assert torch.equal(answers(pack(network, (features,)), x), answers(network, x))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["lenet5", "mlp", "alexnet"])
def test_a_network(name, scheme):
    shape = (3, 16, 16) if name == "alexnet" else (1, 18, 20)
    knobs = {"mlp": {"width": 70, "norm": "batch"}, "alexnet": {"width": 6}}.get(name, {})
    network = binary(build(name, shape, **knobs), SCHEMES[scheme])
    x = torch.randn(5, *shape)
    packed = pack(network, shape)
    assert torch.equal(answers(packed, x), answers(network, x))
    assert torch.equal(answers(packed, x[:1]), answers(network, x[:1]))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_held_signs_are_floats_that_answer_and_pack_alike(scheme):
    network = binary(build("lenet5", (1, 18, 20)), SCHEMES[scheme])
    for layer in binary_layers(network).values():
        if layer.memory is not None:
            layer.memory.uniform_()
    x, before = torch.randn(5, 1, 18, 20), copy.deepcopy(network.state_dict())
    held = hold_signs(network)
    assert torch.equal(answers(held, x), answers(network, x))
    assert torch.equal(answers(pack(held, x.shape[1:]), x), answers(network, x))
    for layer in binary_layers(held).values():
        assert (layer.weight.abs() == 1).all()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_held_signs_have_the_bits_and_the_cost_of_floats():
    network = binarize(build("lenet5", MNIST), XNOR_WITHOUT_K)
    held, counted = hold_signs(network), cost(network, MNIST)
    assert weights_of(held).bits == weights_of(held).activation_bits == 32
    macs = counted.fp_macs + counted.binary_ops
    assert cost(held, MNIST) == Cost(fp_macs=macs, additions=counted.additions)


def test_a_network_with_branches():
    network = binary(Residual(), XNOR_WITHOUT_K)
    x = torch.randn(4, 1, 8, 8)
    assert torch.equal(answers(pack(network, (1, 8, 8)), x), answers(network, x))


def test_loaded_weights_are_those_that_are_computed():
    one, other = (pack(binary(build("lenet5", MNIST), BNN, seed), MNIST) for seed in (0, 1))
    x = torch.randn(2, *MNIST)
    assert not torch.equal(one(x), other(x))
    one.load_state_dict(other.state_dict())
    assert torch.equal(one(x), other(x))


def test_signs_stay_packed_between_binary_layers():
    lenet5 = pack(binary(build("lenet5", MNIST), BNN_OF_SIGNS), MNIST)
    assert len(of_kind(lenet5, Pack)) == 1
    assert len(of_kind(lenet5, BitsFromBits)) == 3
    xnor = pack(binary(build("lenet5", MNIST), XNOR), MNIST)  # K needs floats
    assert not of_kind(xnor, BitsFromBits)


def test_limits_are_where_the_float_layers_change_their_sign():
    network = binary(build("mlp", MNIST, width=40), BNN_OF_SIGNS)
    hidden = of_kind(network, BinaryLinear)[1]
    norm = of_kind(network, nn.BatchNorm1d)[2]
    sums = torch.arange(40, -41, -2.0)[:, None] + hidden.bias.detach()
    expected = answers(norm, sums) >= 0  # by the number of signs that differ
    layer = of_kind(pack(network, MNIST), BitsFromBits)[1]
    flips = np.unpackbits(layer.flips.numpy(), count=40).astype(bool)
    found = (torch.arange(41)[:, None] <= layer.limits) ^ torch.from_numpy(flips)
    assert torch.equal(found, expected)
    assert 0 < flips.sum() < 40


@settings(max_examples=20)
@given(seed=st.integers(0, 50), size=st.sampled_from([1e-3, 1.0, 1e6]))
def test_norms_before_packing_are_limits_of_floats(seed, size):
    network = binary(nn.Sequential(*(nn.Linear(70, 70) for _ in range(3))), XNOR_WITHOUT_K, seed)
    packed = pack(network, (70,))
    assert not of_kind(packed, nn.BatchNorm1d)
    norm, (first,) = network[1][0], of_kind(packed, Pack)
    x = size * torch.randn(20, 70, generator=torch.Generator().manual_seed(seed))
    limits = first.limits.clamp(max=torch.finfo(torch.float32).max)  # infinite where none is
    x = torch.cat([x, norm.running_mean.detach()[None], limits[None], torch.zeros(1, 70)])
    bits = np.unpackbits(first(x).numpy().view(np.uint8), axis=1, bitorder="little", count=70)
    assert torch.equal(torch.from_numpy(bits).bool(), answers(norm, x) >= 0)


def test_several_threads_give_the_same():
    network = pack(binary(build("lenet5", MNIST), BNN_OF_SIGNS), MNIST)
    x = torch.randn(9, *MNIST)
    several = runtime_of(network).replica(network, 2)
    assert {layer.threads for layer in of_kind(several, PackedLayer)} == {2}
    assert torch.equal(answers(several, x), answers(network, x))


def test_layers_of_two_threads_call_the_parallel_kernels(monkeypatch):
    network = pack(binary(build("lenet5", MNIST), BNN_OF_SIGNS), MNIST)
    called = []
    for name in ("bits_together", "floats_together"):
        monkeypatch.setattr(kernel, name, partial(noting, called, name, getattr(kernel, name)))
    network(torch.zeros(1, *MNIST))
    assert not called
    runtime_of(network).replica(network, 2)(torch.zeros(1, *MNIST))
    assert called == ["bits_together"] * 3 + ["floats_together"]


def noting(called, name, run, *args):
    called.append(name)
    return run(*args)


def test_a_maximum_does_not_pass_through_a_factor_below_zero():
    network = hold_signs(binary(build("lenet5", MNIST), BNN_OF_SIGNS))
    for layer in binary_layers(network).values():
        layer.memory.neg_()
    x = torch.randn(5, *MNIST)
    assert torch.equal(answers(pack(network, MNIST), x), answers(network, x))


def test_no_images_at_all():
    for scheme in SCHEMES.values():
        network = binary(build("lenet5", MNIST), scheme)
        x = torch.empty(0, *MNIST)
        assert answers(pack(network, MNIST), x).shape == answers(network, x).shape == (0, 10)


def test_its_cost_is_that_of_the_binary_network_but_for_folded_biases():
    for scheme in (BWN, XNOR_WITHOUT_K, XNOR, BNN):
        network = binary(build("lenet5", MNIST), scheme)
        floats, packed = cost(network, MNIST), cost(pack(network, MNIST), MNIST)
        assert packed.binary_ops == floats.binary_ops
        assert packed.fp_macs == floats.fp_macs
        folded = {"BWN": 0, "XNOR without K": 50 * 64, "XNOR": 0, "BNN": 50 * 64 + 500}[scheme.name]
        assert floats.additions - packed.additions == folded


def test_weights_are_a_bit_each_in_a_file_that_a_fresh_process_reads(tmp_path):
    base = build("lenet5", MNIST)
    packed = pack(binary(base, XNOR_WITHOUT_K), MNIST)
    assert file_bytes(base) / file_bytes(packed) > 20
    x, paths = torch.randn(3, *MNIST), [tmp_path / name for name in ("x", "network", "out")]
    torch.save(x, paths[0])
    save(packed, paths[1])
    done = subprocess.run([sys.executable, "-c", FRESH, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(paths[2], weights_only=True), answers(packed, x))
    mlp = pack(binary(build("mlp", MNIST, width=640), BNN_OF_SIGNS), MNIST)
    assert weights_of(mlp).bits < 1.3
    ones = [b for n, b in mlp.named_buffers() if n.endswith("bits")]
    assert sum(8 * b.numel() for b in ones) == 784 * 640 + 640 * 640 + 640 * 10


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "network"
    save(pack(binary(build("mlp", MNIST, width=64), BNN_OF_SIGNS), MNIST), path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    whole = {"cut": content[:-100], "flipped": content, "empty": b""}[damage]
    path.write_bytes(whole)
    with pytest.raises(LabError, match="holds no network that can be read"):
        load(path)


def test_it_is_clocked_as_its_own_runtime_and_says_what_it_holds():
    network = pack(binary(build("mlp", MNIST, width=128), BNN_OF_SIGNS), MNIST)
    assert runtime_of(network).name == "packed"
    clocking = clock({"packed": network}, torch.rand(2, *MNIST), rounds=1, calls=1, threads=2)
    assert clocking.median_ms("packed") > 0
    words = 8 * (128 * 13 + 128 * 2 + 64 * 2)
    held = runtime_of(network).resident_bytes(network)
    assert words < held < 2 * words + 40_000
    copied = copy.deepcopy(network)
    assert torch.equal(
        answers(copied, torch.ones(1, *MNIST)), answers(network, torch.ones(1, *MNIST))
    )


def test_inputs_that_are_not_packed_or_have_other_channels_name_the_layer():
    torch.manual_seed(0)
    conv = BinaryConv2d(nn.Conv2d(70, 4, 3), XNOR_WITHOUT_K, "blocks.2")
    first, product = pack(nn.Sequential(conv), (70, 5, 5)).body
    for x in (torch.zeros(1, 69, 5, 5), torch.zeros(70), torch.zeros(1, 70, 5, 5).double()):
        with pytest.raises(LabError, match=r"layer blocks\.2 gets .*; give .* of float32"):
            first(x)
    for size in ((70, 2, 2), (70, 2, 9)):
        with pytest.raises(LabError, match=r"layer blocks\.2 gets maps of 2 x \d; give images no"):
            product(first(torch.zeros(1, *size)))
    with pytest.raises(LabError, match=r"layer blocks\.2 gets words of shape \(1, 2\)"):
        product(torch.zeros(1, 2, dtype=torch.int64))
    with pytest.raises(LabError, match=r"layer blocks\.2 gets inputs of .*float32.* not packed"):
        product(torch.zeros(1, 70, 5, 5))
    with pytest.raises(LabError, match=r"layer blocks\.2 gets 1 words where it sees 2"):
        product(torch.zeros(1, 5, 5, 1, dtype=torch.int64))
    real = pack(nn.Sequential(BinaryConv2d(nn.Conv2d(3, 4, 3), BWN, "stem")), (3, 5, 5))
    for x in (torch.zeros(1, 4, 5, 5), torch.zeros(3, 5, 5), torch.zeros(1, 3, 5, 5).byte()):
        with pytest.raises(LabError, match=r"layer stem gets .*; give \(images, 3, H, W\) of"):
            real(x)


@pytest.mark.parametrize("size", [8, 32])
def test_images_of_another_size_than_limits_were_made_for(size):
    network = pack(binary(build("lenet5", MNIST), BNN_OF_SIGNS), MNIST)
    with pytest.raises(LabError, match="give images"):
        network(torch.zeros(1, 1, size, size))


def test_networks_that_cannot_be_packed():
    with pytest.raises(LabError, match="no layer of this Sequential is binary; binarize it first"):
        pack(build("lenet5", MNIST), MNIST)
    network = binarize(build("lenet5", MNIST), XNOR)
    with pytest.raises(LabError, match=r"layer 3\.1 has weights of torch.float64"):
        pack(copy.deepcopy(network).double(), MNIST)


@pytest.mark.parametrize("number", ["3.1.weight", "3.1.bias", "3.0.running_var", "3.1.memory"])
def test_a_network_that_has_diverged_is_not_packed(number):
    network = binarize(build("lenet5", MNIST), replace(XNOR, scale=LossAware()))
    network.state_dict()[number].view(-1)[0] = torch.nan
    with pytest.raises(LabError, match=f"{number} holds numbers that are not finite; train"):
        pack(network, MNIST)


def test_a_layer_by_itself():
    layer = BinaryLinear(nn.Linear(70, 5), XNOR_WITHOUT_K, "linear")
    x = torch.randn(3, 70)
    assert torch.equal(answers(pack(layer, (70,)), x), answers(layer, x))


class Overwritten(nn.Module):
    """What a ReLU overwrites is read by another layer and by an addition."""

    def __init__(self):
        super().__init__()
        self.a, self.relu = nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True)
        self.b, self.c = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 2, 3)

    def forward(self, x):
        y = self.a(x)
        return self.c(self.b(self.relu(y)) + y)


class Enlarged(nn.Module):
    """Its last layer gets a size beside its maps."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.c = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.Identity()  # a real one comes after the network is binary

    def forward(self, x):
        return self.up(self.c(self.b(self.a(x))), output_size=[16, 16])


@pytest.mark.parametrize("make", [Overwritten, Enlarged])
def test_what_is_read_twice_and_constants_stay(make):
    torch.manual_seed(0)
    network = binarize(make(), XNOR_WITHOUT_K).eval()
    network.up = nn.ConvTranspose2d(4, 1, 3, stride=2, padding=1)
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(pack(network, (1, 8, 8))(x), network(x))
