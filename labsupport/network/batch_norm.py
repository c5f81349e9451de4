"""Batch norms: in eval mode a scale and a shift, which the layer before can do; statistics anew."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from labsupport.core.errors import LabError
from labsupport.data import Batched
from labsupport.network.modes import evaluating


def fold_norm(
    weight: Tensor,
    bias: Tensor | None,
    norm: Any,  # noqa: ANN401 - one of three classes whose statistics torch's types may be None
) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and bias of a layer (outputs first) that do the work of a norm with statistics.

    Jacob et al. 2018, equation 14; both are as frozen as the weight.
    """
    statistics = (norm.running_mean, norm.running_var, norm.eps)
    return fuse_conv_bn_weights(weight, bias, *statistics, norm.weight, norm.bias)


def recalibrated(model: nn.Module, split: Batched, batch_size: int = 1000) -> nn.Module:
    """A copy whose batch norms have the statistics of a split, without augmentation.

    For weights that no training has run with: means of weights (Izmailov et al. 2018, section
    3.2), rounded ones. All else runs as in eval mode, and each module's own mode is kept. Every
    image weighs alike, while torch's `update_bn` weighs batches alike, a short last one too. Raises
    LabError for a split without images and for batches of one.
    """
    if not len(split):
        raise LabError("there are no images to take statistics of", "give at least one")
    if batch_size < 2:
        raise LabError(f"statistics of batches of {batch_size}", "give at least 2 images a batch")
    copied = copy.deepcopy(model)
    norms = [m for m in copied.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    seen = 0
    with _from_nothing(norms), evaluating(copied), torch.no_grad():
        for norm in norms:
            norm.train()
        for x, _ in split.batches(batch_size):
            if len(x) > 1 or len(split) == 1:  # one image may have no variance
                seen += len(x)
                for norm in norms:
                    norm.momentum = len(x) / seen
                copied(x)
    return copied


@contextmanager
def _from_nothing(norms: list[_BatchNorm]) -> Iterator[None]:
    """Forget the statistics, and keep the momenta for later."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
