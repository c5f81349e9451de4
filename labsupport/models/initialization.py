"""The weights that a network starts from."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from labsupport.core.errors import LabError
from labsupport.core.randomness import seeded

WHITENING_EPS = 5e-4  # variance added, so that components of noise are not blown up


def drawn_anew(network: nn.Module, seed: int) -> nn.Module:
    """A copy whose weights are drawn as torch draws them for layers of their sizes.

    The random state outside stays as it was. Raises LabError for parameters of a module that has no
    `reset_parameters`.
    """
    copied = copy.deepcopy(network)
    with seeded(seed):
        for name, module in copied.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                problem = f"nothing says how the weights of {name or 'the network'} are drawn"
                raise LabError(problem, "give its class a method reset_parameters")
    return copied


def whitened(network: nn.Module, layer: str, images: Tensor) -> nn.Module:
    """A copy whose convolution `layer` looks for the principal components of patches of `images`.

    Filter i gives component i over its standard deviation, so that what the layer gives is
    uncorrelated and of equal size; where there are more filters than components, their negatives
    follow, for the sake of a ReLU. A bias becomes 0. Images (N, C, H, W); 5,000 are plenty. Freeze
    the weight or train it further. Jordan 2024, section 3.2.
    Raises LabError for a layer that is no ungrouped convolution of these images' channels, with at
    most two filters per component, and for no image.
    """
    copied = copy.deepcopy(network)
    convolution = _whitening_layer(copied, layer, images)
    filters = _components(images.double(), convolution.kernel_size, convolution.dilation)
    both = torch.cat([filters, -filters])[: convolution.out_channels]
    with torch.no_grad():
        convolution.weight.copy_(both.view_as(convolution.weight))
        if convolution.bias is not None:
            convolution.bias.zero_()
    return copied


def _components(images: Tensor, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
    """Principal directions of patches, largest first, over the deviation along each."""
    patches = unfold(images, kernel, dilation).movedim(1, 2).flatten(0, 1)
    variances, directions = torch.linalg.eigh(patches.T.cov(correction=0))
    scales = (variances + WHITENING_EPS).rsqrt()
    components: Tensor = (directions * scales).T.flip(0)
    return components


def _whitening_layer(network: nn.Module, layer: str, images: Tensor) -> nn.Conv2d:
    convolution = dict(network.named_modules()).get(layer)
    remedy = "choose the first convolution, for images (N, C, H, W)"
    if not isinstance(convolution, nn.Conv2d) or convolution.groups > 1:
        raise LabError(f"{layer!r} is no convolution that could whiten images", remedy)
    if not len(images) or images.shape[1] != convolution.in_channels:
        shape = "x".join(map(str, images.shape))
        raise LabError(f"layer {layer} cannot whiten images of {shape}", remedy)
    components = convolution.weight[0].numel()
    if convolution.out_channels > 2 * components:
        problem = f"layer {layer} has {convolution.out_channels} filters for {components} numbers"
        raise LabError(problem, f"give it at most {2 * components}")
    return convolution
