"""A linear layer whose weight matrix is a tensor train: a few small cores, multiplied in turn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labsupport.core.errors import LabError

Sizes = tuple[int, ...]


class TTLinear(nn.Module):
    """A linear layer in tensor-train form (Novikov et al. 2015, "Tensorizing neural networks").

    Inputs and outputs are numbered by as many digits as there are cores, of the sizes `inputs` and
    `outputs`; core k holds (rank before, output digit, input digit, rank behind). Features beyond
    `in_features` are zeros, outputs beyond `out_features` are cut off; both are the products of
    the sizes by default. Cores that `order` puts together are multiplied with each other first:
    (1, 1, 1, 1) goes core by core, (2, 2) by halves, (4,) rebuilds the dense matrix. The cheapest
    order for one input is the default. Raises LabError for sizes, ranks or features that do not
    fit.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        ranks: Sequence[int],
        in_features: int | None = None,
        out_features: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.ranks = tuple(inputs), tuple(outputs), tuple(ranks)
        _check_ranks(self.ranks, full_ranks(inputs, outputs))
        self.in_features = _within(in_features, math.prod(inputs), "inputs")
        self.out_features = _within(out_features, math.prod(outputs), "outputs")
        for k, shape in enumerate(self.shapes()):
            self.register_parameter(f"core{k}", nn.Parameter(torch.empty(shape)))
        self.bias = nn.Parameter(torch.zeros(self.out_features)) if bias else None
        self.reset_parameters()
        self.order = cheapest_order(self, batch=1)

    def shapes(self) -> list[Sizes]:
        """The shapes of the cores."""
        bonds = pairwise((1, *self.ranks, 1))
        digits = zip(self.outputs, self.inputs, bonds, strict=True)
        return [(before, n, m, behind) for n, m, (before, behind) in digits]

    def reset_parameters(self) -> None:
        """Draw cores so that weights have the variance 2 / inputs (He et al. 2015, eq. 10)."""
        variance = 2 / self.in_features / math.prod(self.ranks)
        for core in self.cores():
            nn.init.normal_(core, std=variance ** (0.5 / len(self.inputs)))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def cores(self) -> list[Tensor]:
        """The cores, the first first."""
        return [self.get_parameter(f"core{k}") for k in range(len(self.inputs))]

    def dense_weight(self) -> Tensor:
        """The weight (out_features, in_features) of the linear layer that this one is."""
        (core,) = grouped(self.cores(), (len(self.inputs),))
        weight: Tensor = core[0, : self.out_features, : self.in_features, 0]
        return weight

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        rows = x.reshape(-1, self.in_features)
        if beyond := math.prod(self.inputs) - self.in_features:
            rows = F.pad(rows, (0, beyond))
        y = contract(rows, grouped(self.cores(), self.order))[:, : self.out_features]
        y = y if self.bias is None else y + self.bias
        return y.reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """What torch prints of it."""
        return f"inputs={self.inputs}, outputs={self.outputs}, ranks={self.ranks}"


def contract(rows: Tensor, cores: Sequence[Tensor]) -> Tensor:
    """Rows (N, inputs) times the matrix of a train, (N, outputs), one core after another.

    Between two cores numbers lie as (output digits so far; rank and next input digit; input digits
    behind and N), which the next product takes without moving any. With N innermost these are few
    products of large matrices, also where a digit is small.
    """
    images, inner = rows.shape
    outer, left = 1, rows.T
    for core in cores:
        before, n, m, behind = core.shape
        inner //= m
        matrix = core.permute(1, 3, 0, 2).reshape(n * behind, before * m)
        left = matrix.expand(outer, -1, -1).bmm(left.reshape(outer, before * m, inner * images))
        outer *= n
    return left.reshape(outer, images).T


def grouped(cores: Sequence[Tensor], order: Sizes) -> list[Tensor]:
    """Fewer cores of the same matrix, each of as many neighbors as `order` says."""
    rest, made = iter(cores), []
    for number in order:
        core = next(rest)
        for _ in range(number - 1):
            core = joined(core, next(rest))
        made.append(core)
    return made


def joined(left: Tensor, right: Tensor) -> Tensor:
    """Two neighboring cores as one, its digits numbered by theirs."""
    (before, n, m, _), (_, p, q, behind) = left.shape, right.shape
    product = torch.tensordot(left, right, dims=1)  # (before, n, m, p, q, behind)
    core: Tensor = product.permute(0, 1, 3, 2, 4, 5).reshape(before, n * p, m * q, behind)
    return core


def orders(cores: int) -> list[Sizes]:
    """All orders of so many cores: the ways to put neighbors together before inputs come in."""
    if cores == 0:
        return [()]
    return [(first, *rest) for first in range(1, cores + 1) for rest in orders(cores - first)]


def order_macs(layer: TTLinear, order: Sizes, batch: int) -> int:
    """MACs of a batch in an order, those of putting cores together included."""
    shapes = iter(layer.shapes())
    macs, outer, inner = 0, batch, math.prod(layer.inputs)
    for number in order:
        before, n, m, behind = next(shapes)
        for _ in range(number - 1):
            _, p, q, last = next(shapes)
            macs += before * n * m * behind * p * q * last
            n, m, behind = n * p, m * q, last
        inner //= m
        macs += outer * n * behind * before * m * inner
        outer *= n
    return macs


def cheapest_order(layer: TTLinear, batch: int) -> Sizes:
    """The order of the fewest MACs for a batch; of equal ones that with the fewest products."""
    each = orders(len(layer.inputs))
    return min(each, key=lambda order: (order_macs(layer, order, batch), len(order)))


def full_ranks(inputs: Sequence[int], outputs: Sequence[int]) -> Sizes:
    """The ranks between cores at which every matrix of these sizes is a train.

    Raises LabError for sizes that make none.
    """
    return train_ranks(core_sizes(inputs, outputs))


def core_sizes(inputs: Sequence[int], outputs: Sequence[int]) -> Sizes:
    """The size of each core of a matrix, both digits together.

    Raises LabError for sizes that make no train.
    """
    if not 0 < len(inputs) == len(outputs) or min(*inputs, *outputs) < 1:
        problem = f"sizes {inputs} and {outputs} make no tensor train"
        raise LabError(problem, "give as many sizes of outputs as of inputs, each at least 1")
    return tuple(n * m for n, m in zip(outputs, inputs, strict=True))


def train_ranks(shape: Sequence[int]) -> Sizes:
    """The ranks at which every tensor of a shape is a train."""
    bonds = range(1, len(shape))
    return tuple(min(math.prod(shape[:k]), math.prod(shape[k:])) for k in bonds)


def digits(features: int, count: int) -> Sizes:
    """So many sizes whose product is at least `features`, by as little as can be.

    None is more than twice another; the large ones are at the ends, where a core has one rank, not
    two: 784 = 7 x 4 x 4 x 7. Raises LabError for a number that does not factor so.
    """
    if count < 1 or features < 2**count:
        problem = f"{features} features do not factor into {count} sizes above 1"
        raise LabError(problem, "take fewer cores")
    root = features ** (1 / count)
    within = range(max(2, math.floor(root / 2)), 2 * math.ceil(root) + 1)
    rising = min(_rising(within, count, features), key=lambda of: (math.prod(of), sum(of)))
    return (*rising[::-1][::2], *rising[count % 2 :: 2])


def _rising(within: range, count: int, features: int) -> Iterator[Sizes]:
    """Rising sizes, the last at most twice the first, of a product of at least `features`."""
    for sizes in combinations_with_replacement(within, count):
        if math.prod(sizes) >= features and sizes[-1] <= 2 * sizes[0]:
            yield sizes


def _check_ranks(ranks: Sizes, full: Sizes) -> None:
    fits = len(ranks) == len(full) and all(1 <= r <= f for r, f in zip(ranks, full, strict=True))
    if not fits:
        raise LabError(
            f"a tensor train of ranks {ranks}", f"give 1 to {full}, one between two cores"
        )


def _within(features: int | None, most: int, what: str) -> int:
    features = most if features is None else features
    if not 1 <= features <= most:
        raise LabError(f"{features} {what} do not fit into {most}", "give larger sizes")
    return features
