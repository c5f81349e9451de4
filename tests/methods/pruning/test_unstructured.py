import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

from labsupport.core.errors import LabError
from labsupport.methods.pruning.unstructured import (
    SparseLinear,
    magnitude,
    sparse_bytes,
    sparsity,
    with_sparse_linears,
    without_masks,
)
from labsupport.network.cost import Cost, batch_cost


def made():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 9),
        nn.ReLU(), nn.Linear(9, 3, bias=False),
    ).eval()  # fmt: skip


IMAGES = torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(1))
WEIGHTS = 4 * 9 + 64 * 9 + 9 * 3


@given(share=st.floats(0, 0.999))
def test_the_smallest_of_all_layers_together_go(share):
    net = made()
    before = torch.cat([net[i].weight.detach().flatten() for i in (0, 4, 6)])
    sparse = magnitude(net, share)
    after = torch.cat([sparse[i].weight.detach().flatten() for i in (0, 4, 6)])
    gone = after == 0
    assert int(gone.sum()) == round(share * WEIGHTS)
    assert torch.equal(after[~gone], before[~gone])
    if 0 < gone.sum() < WEIGHTS:
        assert before[gone].abs().max() <= before[~gone].abs().min()
    assert sparsity(sparse) == pytest.approx(round(share * WEIGHTS) / WEIGHTS)


def test_training_does_not_revive_a_weight():
    sparse = copy.deepcopy(magnitude(made(), 0.7)).train()
    optimizer = torch.optim.Adam(sparse.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        sparse(IMAGES).square().sum().backward()
        optimizer.step()
    assert sparsity(sparse) == pytest.approx(0.7, abs=1e-3)
    assert sparsity(without_masks(sparse)) == sparsity(sparse)


def test_without_masks_is_the_same_network_with_plain_weights():
    net = made()
    sparse = magnitude(net, 0.5)
    plain = without_masks(sparse)
    assert torch.equal(plain(IMAGES), sparse(IMAGES))
    assert plain.state_dict().keys() == net.state_dict().keys()
    assert sparsity(without_masks(net)) == sparsity(net) == 0


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_a_sparse_product_is_the_dense_one(share):
    sparse = magnitude(made(), share)
    torch.testing.assert_close(with_sparse_linears(sparse)(IMAGES), sparse(IMAGES))


@pytest.mark.parametrize("shape", [(16,), (2, 16), (2, 3, 16), (2, 0, 16)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_sparse_layer_takes_what_the_dense_one_takes(shape, bias):
    torch.manual_seed(0)
    dense = magnitude(nn.Linear(16, 5, bias=bias), 0.75)
    sparse, x = with_sparse_linears(dense), torch.randn(shape)
    torch.testing.assert_close(sparse(x), dense(x))
    rows = x.numel() // 16
    assert batch_cost(sparse, x) == Cost(fp_macs=rows * 20, additions=rows * 5 * bias)


@pytest.mark.parametrize("share", [0.0, 0.9])
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_bytes_are_those_of_values_columns_and_starts(share):
    net = without_masks(magnitude(made(), share))
    weights = [net[i].weight.detach().flatten(1).to_sparse_csr() for i in (0, 4, 6)]
    stored = sum(
        4 * (len(w.values()) + len(w.col_indices()) + len(w.crow_indices())) for w in weights
    )
    others = 4 * (4 + 9) + 4 * 4 * 4 + 8  # biases; the norm's four vectors, and its count
    assert sparse_bytes(net) == stored + others


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_the_network_stays_as_it_was():
    net = made()
    before = copy.deepcopy(net.state_dict())
    with_sparse_linears(magnitude(net, 0.9))
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_sparsity_that_cannot_be_is_refused(share):
    with pytest.raises(LabError, match="sparsity"):
        magnitude(made(), share)


def test_a_network_without_weights_is_refused():
    with pytest.raises(LabError, match="Flatten has no weights"):
        magnitude(nn.Flatten(), 0.5)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_bytes_and_sparsity_are_those_of_the_network_however_it_holds_its_zeros():
    masked = magnitude(nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.Linear(20, 3)), 0.9)
    forms = [masked, without_masks(masked), with_sparse_linears(masked)]
    assert len({sparse_bytes(net) for net in forms}) == 1
    assert [sparsity(net) for net in forms] == pytest.approx([0.9] * 3, abs=1e-3)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_shared_and_lone_linear_layers_become_sparse_too():
    layer = nn.Linear(8, 8)
    net = with_sparse_linears(nn.Sequential(layer, nn.ReLU(), layer))
    assert isinstance(net[0], SparseLinear)
    assert isinstance(net[2], SparseLinear)
    assert isinstance(with_sparse_linears(layer), SparseLinear)


def test_frozen_weights_stay_frozen():
    net = made()
    net[4].weight.requires_grad_(False)
    assert not without_masks(magnitude(net, 0.5))[4].weight.requires_grad


def test_copies_of_a_masked_network_come_apart():
    one = magnitude(made(), 0.5)
    two = copy.deepcopy(one)
    without_masks(one)
    assert sparsity(two) == sparsity(one) == pytest.approx(0.5, abs=1e-3)
    assert torch.equal(one(IMAGES), two(IMAGES))


class Halved(nn.Module):
    """A parametrization that is no mask."""

    def forward(self, x):
        return x / 2


def test_other_parametrizations_and_those_of_a_bias_stay():
    net = made()
    parametrize.register_parametrization(net[4], "bias", Halved())
    parametrize.register_parametrization(net[6], "weight", Halved())
    sparse = magnitude(net, 0.5)
    copied = copy.deepcopy(sparse)
    plain = without_masks(sparse)
    assert torch.equal(plain(IMAGES), sparse(IMAGES))
    assert parametrize.is_parametrized(plain[4], "bias")
    assert not parametrize.is_parametrized(plain[4], "weight")
    assert isinstance(plain[4].weight, nn.Parameter)
    assert not parametrize.is_parametrized(plain[0])
    assert isinstance(plain[6].parametrizations.weight[0], Halved)
    plain[4].parametrizations.bias.original.data.fill_(4)
    assert torch.equal(plain[4].bias, torch.full((9,), 2.0))
    assert torch.equal(copied(IMAGES), sparse(IMAGES))  # copies share their classes


def test_a_mask_under_another_parametrization_goes_into_the_weights():
    layer = magnitude(nn.Linear(8, 8), 0.5)
    parametrize.register_parametrization(layer, "weight", Halved())
    plain = without_masks(layer)
    assert [type(step) for step in plain.parametrizations.weight] == [Halved]
    assert torch.equal(plain.weight, layer.weight)
    assert torch.equal(copy.deepcopy(plain).weight, layer.weight)


class Positive(nn.Module):
    """A parametrization that makes zeros of its own."""

    def forward(self, x):
        return x.relu()


def test_zeros_that_a_layer_computes_are_zeros():
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[1.0, -1.0], [2.0, 3.0]])
    parametrize.register_parametrization(layer, "weight", Positive())
    assert sparsity(layer) == 0.25


def test_the_sparsity_of_no_weights_is_refused():
    with pytest.raises(LabError, match="no weights"):
        sparsity(nn.Flatten())
