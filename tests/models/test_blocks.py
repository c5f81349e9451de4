"""What a measurement by layers sees of the blocks; what they compute is in `test_compact`."""

import pytest
import torch

from labsupport.measure.roofline import layer_calls
from labsupport.models.blocks import BLOCKS
from labsupport.network.calls import kind_of


@pytest.mark.parametrize(
    ("name", "maps"),
    [
        ("plain", [64]),
        ("fire", [8, 32, 32]),
        ("crelu", [64]),
        ("separable", [16, 64]),
        ("darknet", [8, 64]),
        ("residual", [64, 64]),
    ],
)
def test_every_relu_is_a_layer_whose_bytes_count(name, maps):
    """Each of its float32 maps is read once and written once, so that blocks compare fairly."""
    calls = layer_calls(BLOCKS[name](16, 64).eval(), torch.randn(2, 16, 6, 6)).values()
    relus = [call for call in calls if kind_of(call.layer) in ("ReLU", "LeakyReLU")]
    assert [call.moved_bytes for call in relus] == [2 * 4 * 2 * n * 6 * 6 for n in maps]
