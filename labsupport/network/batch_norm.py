"""A batch norm in eval mode is a scale and a shift, which the layer before it can do."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


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
