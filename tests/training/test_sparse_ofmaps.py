"""Hoyer's measure, the loss that has it, and values that are lost while training."""

import pytest
import torch
from made_spatial import SHAPE, images
from torch import nn

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.training import CrossEntropy, SparseOfmaps
from labsupport.training.sparse_ofmaps import hoyer, norms


@pytest.fixture
def network():
    first = nn.Conv2d(SHAPE[0], 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2)
    second = nn.Conv2d(4, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*first, *second, nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 10)).double()


@pytest.fixture
def batch():
    split = images()
    return Batch(split.x.double(), split.y)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_the_measure_is_the_share_of_equal_values_whatever_their_size(scale):
    maps = torch.zeros(2, 3, 4, 5)
    maps.view(-1)[:30] = scale
    assert hoyer(maps).item() == pytest.approx(30 / 120)


def test_the_measure_is_less_for_unequal_values_and_none_for_zeros():
    assert hoyer(torch.tensor([3.0, 1.0])).item() == pytest.approx(16 / 20)
    zeros = torch.zeros(4, requires_grad=True)
    hoyer(zeros).backward()
    assert zeros.grad.eq(0).all()


@pytest.mark.parametrize("side", [1, 2, 3])
def test_patches_are_measured_by_their_norms(side):
    maps = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    rows, columns = -(-5 // side), -(-7 // side)
    found = norms(maps, side)
    assert found.shape == (2, 3, rows, columns)
    for i in range(rows):
        for j in range(columns):
            patch = maps[..., i * side : (i + 1) * side, j * side : (j + 1) * side]
            torch.testing.assert_close(found[..., i, j], patch.square().sum((-1, -2)).sqrt())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_patches_without_values_have_a_measure_and_no_gradient(dtype):
    maps = torch.zeros(2, 1, 6, 6, dtype=dtype)
    maps[0, 0, :2, :2] = 1
    measure = hoyer(norms(maps.requires_grad_(), 2))
    assert measure.dtype == torch.float32
    assert measure.item() == pytest.approx(1 / 18)
    measure.backward()
    assert maps.grad[1].eq(0).all()
    assert maps.grad.isfinite().all()


def test_the_measure_of_all_maps_is_added_to_the_loss(network, batch):
    maps = [network[:2](batch.x).detach(), network[:5](batch.x).detach()]
    plain = CrossEntropy()(network.eval(), batch)
    sparse = SparseOfmaps(0.5, dropout=0.3)(network, batch)
    added = sum(float(m.sum()) ** 2 / float((m * m).sum()) / m.numel() for m in maps) / len(maps)
    assert sparse.loss.item() == pytest.approx(plain.loss.item() + 0.5 * added)
    assert torch.equal(sparse.logits, plain.logits)


def test_values_are_lost_in_training_alone_and_no_hook_stays(network, batch):
    first, second = (SparseOfmaps(0.0, 0.5)(network.train(), batch).logits for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(network(batch.x), network.eval()(batch.x))


@pytest.mark.parametrize(
    ("weight", "dropout", "side"),
    [(-1, 0, 1), (float("nan"), 0, 1), (1, 1, 1), (1, -0.1, 1), (1, 0, 0)],
)
def test_weights_dropouts_and_sides_that_cannot_be_are_refused(weight, dropout, side):
    with pytest.raises(LabError, match=r"sparsity|dropout|side"):
        SparseOfmaps(weight, dropout, side)


def test_a_network_whose_relus_give_no_maps_is_refused(batch):
    size = batch.x[0].numel()
    network = nn.Sequential(nn.Flatten(), nn.Linear(size, 4), nn.ReLU(), nn.Linear(4, 10)).double()
    with pytest.raises(LabError, match="gives a map"):
        SparseOfmaps(1.0)(network, batch)
