"""Networks of torchvision cost what torchvision publishes, without a weight in memory."""

import pytest
import torch
from torchvision import models

from labsupport.network.cost import cost, parameter_count

# As published: without the second head of googlenet, which inception_v3 has.
OPTIONS = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"init_weights": False},
}
NAMES = [
    "alexnet", "vgg11", "resnet18", "squeezenet1_1", "googlenet", "densenet121", "inception_v3",
    "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x1_0", "mnasnet1_0", "efficientnet_b0",
    "regnet_y_400mf", "convnext_tiny", "vit_b_16", "swin_t",
]  # fmt: skip
NEED_NUMBERS = ("regnet", "swin")  # to work out their own shapes


@pytest.mark.parametrize("name", NAMES)
def test_torchvisions_networks_cost_what_it_publishes(name):
    weights = models.get_model_weights(name).IMAGENET1K_V1
    with torch.device("cpu" if name.startswith(NEED_NUMBERS) else "meta"):
        net = models.get_model(name, weights=None, **OPTIONS.get(name, {})).to("meta")
    (side,) = weights.transforms().crop_size
    giga = cost(net, (3, side, side)).fp_macs / 1e9
    assert parameter_count(net) == weights.meta["num_params"]
    assert giga == pytest.approx(weights.meta["_ops"], rel=0.01)
