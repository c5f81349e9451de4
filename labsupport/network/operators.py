"""What each of torch's operators costs, and the unit that the costs come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload


@dataclass(frozen=True)
class Cost:
    """What a computation takes, by kind of operation.

    `fp_macs`: multiply-accumulates of floats in matrix products and convolutions, as papers and
    torchvision publish them; positions in the zero padding count, as they are computed.
    `int8_macs`: the same of integers.
    `binary_ops`: multiply-accumulates of values that are -1 or +1.
    `additions`: floats added that no MAC includes: biases, and element-wise sums and differences
    of two tensors, such as those of residual connections.
    `lookups`: values read from a table by torch's embeddings, or by layers that say so themselves
    (`forward_cost`). Rows gathered by an index, as images that stay in a network of early exits,
    are numbers moved.

    By the convention of the field all else is free: element-wise functions and products,
    normalization, pooling, softmax, and moving numbers. So a matrix product that is written as
    element-wise products and a sum goes unseen.
    """

    fp_macs: float = 0
    int8_macs: float = 0
    binary_ops: float = 0
    additions: float = 0
    lookups: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.fp_macs + other.fp_macs,
            self.int8_macs + other.int8_macs,
            self.binary_ops + other.binary_ops,
            self.additions + other.additions,
            self.lookups + other.lookups,
        )

    def __mul__(self, times: float) -> Cost:
        return Cost(*(kind * times for kind in vars(self).values()))

    def __truediv__(self, parts: float) -> Cost:
        return Cost(*(kind / parts for kind in vars(self).values()))


Arguments = Sequence[Any]
Rule = Callable[[Arguments, Tensor], Cost]


def _macs(number: int, values: Tensor) -> Cost:
    return Cost(fp_macs=number) if values.is_floating_point() else Cost(int8_macs=number)


def _product(args: Arguments, out: Tensor) -> Cost:
    """`left @ right`: each element of the output is as many MACs as `left` has columns."""
    left = args[0]
    return _macs(out.numel() * left.shape[-1], left)


def _product_with_bias(args: Arguments, out: Tensor) -> Cost:
    """`bias + left @ right`."""
    return _product(args[1:], out) + Cost(additions=out.numel())


def _convolution(args: Arguments, out: Tensor) -> Cost:
    """Each output element sees one filter; transposed, each input element does."""
    x, weight, bias, _stride, _padding, _dilation, transposed, *_ = args
    # The weight is (filters, channels / groups, *kernel), transposed (channels, filters / groups).
    macs = _macs((x if transposed else out).numel() * weight[0].numel(), x)
    return macs if bias is None else macs + Cost(additions=out.numel())


def _sum(args: Arguments, out: Tensor) -> Cost:
    two_tensors = all(isinstance(value, Tensor) for value in args[:2])
    return Cost(additions=out.numel() if two_tensors and out.is_floating_point() else 0)


def _table(_: Arguments, out: Tensor) -> Cost:
    return Cost(lookups=out.numel())


# By name, without the underscore of operators that work in place. Larger operators (linear,
# conv2d, einsum, matmul, scaled_dot_product_attention) reach us as these.
NEW_MAPS: dict[str, Rule] = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot", "_int_mm"), _product),
    **dict.fromkeys(("addmm", "addmv", "baddbmm", "_addmm_activation"), _product_with_bias),
    "convolution": _convolution,
    "embedding": _table,
}
COUNTED: dict[str, Rule] = NEW_MAPS | dict.fromkeys(("add", "sub", "rsub"), _sum)

RESAMPLED = frozenset(
    {
        *("avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d"),
        *("max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool3d"),
        *("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d"),
    }
)
# Besides views, and what torch itself tags as element-wise or as a reduction.
FREE = RESAMPLED | frozenset(
    {
        # functions of an element or a row, normalization
        *("hardswish", "_prelu_kernel", "glu", "log_sigmoid_forward", "native_dropout"),
        *("_softmax", "_log_softmax", "_safe_softmax", "cumsum"),
        *("native_batch_norm", "_native_batch_norm_legit_no_training"),
        *("native_layer_norm", "native_group_norm", "_weight_norm_interface"),
        # new tensors
        *("arange", "eye", "scalar_tensor", "full", "full_like", "new_full"),
        *("zeros", "zeros_like", "new_zeros", "ones", "ones_like", "new_ones"),
        *("empty", "empty_like", "new_empty", "empty_strided", "fill", "zero"),
        *("rand", "rand_like", "randn", "randn_like", "bernoulli", "uniform", "normal"),
        # numbers moved
        *("copy", "_to_copy", "_unsafe_view", "as_strided", "cat", "stack", "repeat", "roll"),
        *("flip", "tril", "triu", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d"),
        *("replication_pad2d", "pixel_shuffle", "channel_shuffle", "im2col"),
        *("index", "index_select", "index_put", "masked_select", "gather", "scatter"),
        # numbers compared
        *("sort", "topk", "max", "min", "median", "mode", "searchsorted", "bucketize"),
        *("nonzero", "_local_scalar_dense"),
    }
)
# The tags of operators that give Python a number, or a tensor as long as their operands say.
READING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


@cache
def rule(operator: OpOverload) -> Rule | None:
    """How to count an operator; None for one that is in no table."""
    name = _name(operator)
    if name in COUNTED:
        return COUNTED[name]
    free = operator.is_view or name in FREE
    element_wise = {torch.Tag.pointwise, torch.Tag.reduction} & set(operator.tags)
    return _nothing if free or element_wise else None


def written(operator: OpOverload, output: Tensor | tuple[Tensor, ...]) -> int:
    """Elements of the new map that an operator fills; none for one that changes a map in place.

    Products, convolutions, look-ups, pooling, resizing and reductions (pooling over all positions
    is one) fill a new map. Element-wise functions, sums of two maps and normalization can write
    over what they read, whether torch does so or not; views and copies compute nothing.
    """
    if not _fills_a_map(operator):
        return 0
    values = output[0] if isinstance(output, tuple) else output  # pooling gives indices as well
    return values.numel()


@cache
def _fills_a_map(operator: OpOverload) -> bool:
    name = _name(operator)
    return name in NEW_MAPS or name in RESAMPLED or torch.Tag.reduction in operator.tags


def reads(operator: OpOverload, args: Arguments) -> bool:
    """Whether an operator tells Python, by a number or a length, what its operands hold."""
    if operator is torch.ops.aten.index.Tensor:  # by whole numbers, there is a row for each
        return any(rows is not None and not rows.dtype.is_signed for rows in args[1])
    return not READING.isdisjoint(operator.tags)


def _name(operator: OpOverload) -> str:
    return operator._schema.name.removeprefix("aten::").removesuffix("_")


def _nothing(_args: Arguments, _out: object) -> Cost:
    return Cost()
