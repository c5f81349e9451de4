import re

import numpy as np
import pytest
import torch
from made_methods import BRIEF, toy_splits
from made_rules import toy_network
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.sharing import Hashed, compress, decompress, hash_weights, share
from labsupport.methods.sharing.hashed import hash_numbers
from labsupport.network.fingerprint import fingerprint
from labsupport.network.storage import file_bytes, load, save
from labsupport.network.weights import parameter_count
from labsupport.training import fit

LAYERS = ("0", "4", "7")


def net():
    return toy_network().eval()


def split_mix(number):
    """SplitMix64 as it is published, a number at a time."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) % 2**64
    return number ^ (number >> 31)


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**65])
def test_hashes_are_the_same_everywhere(seed):
    numbers = np.arange(50, dtype=np.uint64)
    begin = split_mix(seed % 2**64)
    expected = [split_mix((begin + n * 0x9E3779B97F4A7C15) % 2**64) for n in range(50)]
    assert hash_numbers(numbers, seed).tolist() == expected


def test_the_generator_gives_its_published_numbers():
    """Those of SplitMix64 from a state of zero, which a seed of zero becomes."""
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert hash_numbers(np.arange(1, 4, dtype=np.uint64), 0).tolist() == published


def test_values_and_signs_are_spread_evenly_and_apart():
    hashed = Hashed((400, 300), 8, seed=3)
    table = torch.arange(1.0, 9.0)
    weights = hashed(table).flatten()
    counts = torch.tensor([[(weights == s * v).sum() for v in table] for s in (1, -1)])
    expected = 400 * 300 / 16
    # Chi-square of 15 degrees of freedom: above 38 once in a thousand.
    assert ((counts - expected).square() / expected).sum() < 38
    other = Hashed((400, 300), 8, seed=4)(table).flatten()
    assert (weights == other).double().mean().item() == pytest.approx(1 / 16, abs=0.005)


def test_the_gradient_of_a_value_is_the_signed_sum_over_its_weights():
    hashed, table = Hashed((6, 5), 4, seed=1), torch.arange(1.0, 5.0, requires_grad=True)
    weight = hashed(table)
    slopes = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    (weight * slopes).sum().backward()
    signed = slopes * weight.sign()
    sums = [signed[weight.abs() == value].sum() for value in table]
    torch.testing.assert_close(table.grad, torch.stack(sums).detach())


def test_weights_that_are_set_become_the_nearest_that_can_be():
    hashed = Hashed((30, 4), 7, seed=2)
    table, weight = torch.randn(7), torch.randn(30, 4)
    torch.testing.assert_close(hashed.right_inverse(hashed(table)), table)
    nearest = hashed(hashed.right_inverse(weight)).flatten()
    design = torch.stack([hashed(one).flatten() for one in torch.eye(7)], 1)
    solved = torch.linalg.lstsq(design, weight.reshape(-1, 1)).solution
    torch.testing.assert_close(nearest, (design @ solved).flatten())


@pytest.mark.parametrize("fraction", [1 / 64, 1 / 8, 1])
def test_a_layer_has_so_many_values(fraction):
    model = net()
    before = fingerprint(model)
    hashed = hash_weights(model, fraction, seed=5)
    assert fingerprint(model) == before
    numbers = [max(1, round(fraction * model.get_submodule(n).weight.numel())) for n in LAYERS]
    tables = [hashed.get_submodule(n).parametrizations.weight.original for n in LAYERS]
    assert [len(table) for table in tables] == numbers
    assert parameter_count(hashed) == sum(numbers) + 4 + 12 + 3
    for name, table in zip(LAYERS, tables, strict=True):
        old, new = model.get_submodule(name).weight, hashed.get_submodule(name).weight
        assert old.shape == new.shape
        assert torch.isin(table, old).all()
        assert torch.isin(new.abs(), table.abs()).all()


def test_a_new_layer_begins_with_weights_as_large_as_they_were():
    torch.manual_seed(0)
    layer = nn.Linear(300, 200)
    hashed = hash_weights(layer, 1 / 64)
    assert hashed.weight.std().item() == pytest.approx(layer.weight.std().item(), rel=0.05)


def test_the_seed_determines_all_and_layers_of_equal_shape_differ():
    model = nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 9))
    model[1].weight.data = model[0].weight.data.clone()
    one, same, other = (hash_weights(model, 1 / 4, seed) for seed in (1, 1, 2))
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    assert not torch.equal(one[0].weight, one[1].weight)


def test_a_file_holds_the_values_alone(tmp_path):
    layer = nn.Linear(200, 100)
    hashed = hash_weights(layer, 1 / 64)
    assert file_bytes(hashed) < 4 * (round(200 * 100 / 64) + 100) + 1500
    save(hashed, tmp_path / "net")
    assert torch.equal(load(tmp_path / "net").weight, hashed.weight)


def test_training_moves_values_and_no_hash():
    hashed = hash_weights(net(), 1 / 8)
    trained = fit(hashed, toy_splits(), BRIEF).model
    for name in LAYERS:
        old, new = hashed.get_submodule(name), trained.get_submodule(name)
        values = old.parametrizations.weight.original
        assert not torch.equal(old.weight, new.weight)
        together = new.parametrizations.weight[0](values)
        assert torch.equal(together, old.weight)


def test_it_may_be_chosen_by_name_and_compressed(tmp_path):
    hashed = hash_weights(net(), {"4": 1 / 8})
    mixed = share(hashed, {"7": 2})
    compress(mixed, tmp_path / "net")
    assert fingerprint(decompress(tmp_path / "net")) == fingerprint(mixed)
    assert torch.equal(mixed[0].weight, net()[0].weight)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, float("nan"), "1", None, True, [0.5], 0.5j])
def test_a_fraction_that_cannot_be_is_refused(fraction):
    with pytest.raises(LabError, match=re.escape(f"a fraction of {fraction!r} for layer 4")):
        hash_weights(net(), {"4": fraction})


@pytest.mark.parametrize("seed", [1.5, "1", None])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(LabError, match=f"a seed of {seed!r}; give a whole number"):
        hash_weights(net(), 0.5, seed)


def test_numbers_of_numpy_are_as_good_as_others():
    numpys = hash_weights(net(), np.float64(0.5), np.int64(3))
    assert fingerprint(numpys) == fingerprint(hash_weights(net(), 0.5, 3))


def test_a_layer_that_is_not_finite_is_refused_by_name():
    model = net()
    model[4].weight.data[0, 0] = float("inf")
    with pytest.raises(LabError, match=r"layer 4 has no weights, or some that are not finite"):
        hash_weights(model, 0.5)
    with pytest.raises(LabError, match="there is no layer 1"):
        hash_weights(net(), {"1": 0.5})


def test_a_layer_is_hashed_alike_whichever_others_are():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    alone, among = hash_weights(net, {"2": 0.5}), hash_weights(net, 0.5)
    assert torch.equal(alone[2].weight, among[2].weight)
