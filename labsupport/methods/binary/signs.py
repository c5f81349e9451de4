"""Signs with a gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def sign(x: Tensor, window: float = 1.0) -> Tensor:
    """+1 where x >= 0, -1 below; gradients pass straight through where |x| <= window.

    NaN stays NaN, so that a training that has diverged shows it.

    Courbariaux et al. 2016, "Binarized neural networks", section 1.3.
    """
    signs: Tensor = _Sign.apply(x, window)
    return signs


class _Sign(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: float) -> Tensor:  # noqa: ANN401  (torch's own type)
        ctx.save_for_backward(x.abs() <= window)
        signs = torch.where(x >= 0, 1.0, -1.0).to(x.dtype)
        return torch.where(x.isnan(), x, signs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (passes,) = ctx.saved_tensors
        return gradients[0] * passes, None
