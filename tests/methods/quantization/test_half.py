import pytest
import torch
from made_rules import toy_network
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.pruning import with_sparse_linears
from labsupport.methods.quantization import in_half
from labsupport.network.fingerprint import fingerprint
from labsupport.network.storage import file_bytes
from labsupport.network.weights import weights_of

IMAGES = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_the_bits_answer_nearly_alike(dtype):
    network = toy_network().eval()
    before = fingerprint(network)
    half = in_half(network, dtype)
    assert fingerprint(network) == before
    assert half(IMAGES).dtype == torch.float32
    torch.testing.assert_close(half(IMAGES), network(IMAGES), rtol=0.05, atol=0.02)
    assert weights_of(half).bits == weights_of(half).activation_bits == 16


def test_a_file_has_half_the_bytes():
    network = nn.Linear(300, 200)
    ratio = file_bytes(network) / file_bytes(in_half(network, torch.bfloat16))
    assert ratio == pytest.approx(2, abs=0.02)


def test_other_types_and_numbers_too_large_are_refused():
    network = nn.Linear(2, 2)
    with pytest.raises(LabError, match=r"torch\.float32 has no 16 bits"):
        in_half(network, torch.float32)
    with pytest.raises(LabError, match="'float16' has no 16 bits; give torch"):
        in_half(network, "float16")
    network.weight.data[0, 0] = 1e5
    with pytest.raises(LabError, match=r"weight has numbers that torch\.float16 does not hold"):
        in_half(network, torch.float16)
    in_half(network, torch.bfloat16)


def test_statistics_too_large_for_the_type_are_refused():
    network = nn.BatchNorm1d(3)
    network.running_var.fill_(1e5)
    with pytest.raises(LabError, match=r"running_var has numbers that torch\.float16"):
        in_half(network, torch.float16)
    network.running_var.fill_(torch.inf)  # as it was before
    in_half(network, torch.float16)


def test_a_network_of_16_bits_is_refused():
    half = in_half(nn.Linear(3, 2), torch.bfloat16)
    with pytest.raises(LabError, match=r"0\.network\.weight has 16 bits already"):
        in_half(nn.Sequential(half), torch.float16)
    network = toy_network()
    network[4].bfloat16()
    with pytest.raises(LabError, match=r"4\.weight has 16 bits already"):
        in_half(network, torch.float16)


def test_a_sparse_network_is_refused():
    sparse = with_sparse_linears(toy_network())
    with pytest.raises(LabError, match="weight is sparse; give the network without sparse layers"):
        in_half(sparse, torch.bfloat16)
