"""What a file may name, and what it may call, is short and harmless."""

import operator

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision import ops
from torchvision.models.swin_transformer import shifted_window_attention

from labsupport.core.errors import LabError
from labsupport.core.names import computes, look_up, makes_layers, reference

COMPUTING = [
    *(torch.relu, torch.cat, torch.flatten, torch.einsum, torch.split, torch.randn, torch.cdist),
    *(torch.special.expit, torch.linalg.norm, torch.fft.fft, operator.add, operator.getitem, max),
    *(functional.relu, functional.conv2d, functional.max_pool2d, functional.gelu),
    *(functional.scaled_dot_product_attention, functional.interpolate, ops.stochastic_depth),
    shifted_window_attention,
]
OTHERS = [
    "labsupport.models.registry:build",
    "labsupport.core.names:look_up",
    "torchvision.models._api:get_model",
    "torchvision.models.resnet:resnet18",
    "torchvision.ops.misc:Permute",
    "torch:from_file",
    "torch:compile",
    "torch:set_num_threads",
    "torch:load",
    "torch:save",
    "torch:_import_dotted_name",
    "torch.hub:load",
    "torch.nn.functional:has_torch_function",
    "torch.nn.functional:handle_torch_function",
    "torch.nn.functional:boolean_dispatch",
    "torch.nn.utils.prune:custom_from_mask",
    "torch.nn.modules.linear:Linear",
    "builtins:exec",
    "_operator:methodcaller",
    "os:system",
    "nothing",
]


@pytest.mark.parametrize("function", COMPUTING, ids=reference)
def test_a_file_may_call_what_computes_tensors(function):
    assert computes(reference(function))


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_may_call_nothing_else(name):
    assert not computes(name)


def test_layers_of_torch_can_be_made_and_other_classes_cannot():
    assert makes_layers(reference(nn.BatchNorm2d))
    assert makes_layers(reference(ops.FrozenBatchNorm2d))
    assert not makes_layers("torch.utils.data.dataloader:DataLoader")
    assert not makes_layers("labsupport.runtimes.onnx:OnnxNetwork")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.at:all", "there is no module nowhere.*install nowhere"),
        ("torchvision.modles:resnet18", r"there is no module torchvision\.modles.*its spelling"),
        ("torch.nn:Nothing", "has no attribute 'Nothing'.*its spelling"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_the_reason(name, message):
    with pytest.raises(LabError, match=f"{name} cannot be imported.*{message}"):
        look_up(name)


def test_a_lambda_has_no_name():
    with pytest.raises(LabError, match="a lambda has no name"):
        reference(lambda: None)
