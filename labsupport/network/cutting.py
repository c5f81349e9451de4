"""A network cut in two: what comes out of the first part, batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.data import Batched


def plain_copy(model: nn.Module) -> nn.Sequential:
    """A copy of a network as a plain nn.Sequential, which can be cut anywhere.

    Raises LabError for a network that is no nn.Sequential, or one with a forward of its own, which
    its parts would not follow.
    """
    if not isinstance(model, nn.Sequential) or type(model).forward is not nn.Sequential.forward:
        remedy = "write the network as an nn.Sequential without a forward of its own"
        raise LabError(f"a {type(model).__name__} has no layers to cut between", remedy)
    plain = nn.Sequential(*copy.deepcopy(model))
    plain.training = model.training
    return plain


def split_at(model: nn.Module, layer: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Copies of a network's first `layer` modules (the stem) and of the others (the rest).

    Both are in eval mode. Layer 0 has an empty stem: its features are the images.
    Raises LabError as `plain_copy` does, and for a layer outside the network.
    """
    plain = plain_copy(model)
    if not 0 <= layer < len(plain):
        raise LabError(f"there is no layer {layer} to exit before", f"choose 0 to {len(plain) - 1}")
    return plain[:layer].eval(), plain[layer:].eval()


def collect(
    model: nn.Module, layer: int, split: Batched, batch_size: int = 100
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features after `layer` and the network's logits, one batch at a time, in order.

    A batch's features can be let go before the next come: 60,000 of 32 x 26 x 26 would fill 5 GB.
    """
    stem, rest = split_at(model, layer)
    for x, _ in split.batches(batch_size):
        with torch.inference_mode():
            features = stem(x)
            # The rest gets a copy: it may begin with a ReLU that works in place.
            logits = rest(features.clone())
        yield features, logits
        del features, logits  # before the next are made
