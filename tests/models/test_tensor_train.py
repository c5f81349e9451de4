"""The linear layer in tensor-train form against the dense layer that it is."""

import itertools
import math

import pytest
import torch

from labsupport.core.errors import LabError
from labsupport.models.tensor_train import (
    TTLinear,
    cheapest_order,
    digits,
    full_ranks,
    order_macs,
    orders,
)
from labsupport.models.tensornet import tensornet
from labsupport.network.cost import batch_cost
from labsupport.network.tracing import trace
from labsupport.network.weights import parameter_count

TRAINS = {
    "three": ((2, 3, 4), (3, 2, 2), (4, 5), None, None),
    "padded": ((3, 3, 3), (2, 3, 2), (3, 3), 25, 11),
    "four": ((2, 2, 3, 2), (2, 3, 1, 2), (2, 3, 2), None, None),
    "two": ((5, 4), (3, 6), (7,), 19, 17),
    "one": ((6,), (5,), (), None, None),
}


def layer(name, bias=True):
    torch.manual_seed(0)
    made = TTLinear(*TRAINS[name], bias=bias).double()
    if bias:
        torch.nn.init.normal_(made.bias)
    return made


def dense_by_digits(made):
    """Entry by entry, by the definition: a product of a row of small matrices."""
    weight = torch.zeros(math.prod(made.outputs), math.prod(made.inputs), dtype=torch.float64)
    rows = itertools.product(*map(range, made.outputs))
    for i, out in enumerate(rows):
        for j, into in enumerate(itertools.product(*map(range, made.inputs))):
            product = torch.ones(1, 1, dtype=torch.float64)
            for core, n, m in zip(made.cores(), out, into, strict=True):
                product = product @ core[:, n, m]
            weight[i, j] = product.item()
    return weight[: made.out_features, : made.in_features]


@pytest.mark.parametrize("name", TRAINS)
def test_the_dense_weight_is_what_the_digits_say(name):
    made = layer(name)
    with torch.no_grad():
        torch.testing.assert_close(made.dense_weight(), dense_by_digits(made))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", TRAINS)
def test_every_order_gives_the_dense_layers_answers_at_its_macs(name, bias):
    made = layer(name, bias)
    x = torch.randn(7, made.in_features, dtype=torch.float64)
    expected = torch.nn.functional.linear(x, made.dense_weight(), made.bias)
    for order in orders(len(made.inputs)):
        made.order = order
        torch.testing.assert_close(made(x), expected)
        counted = batch_cost(made, x)
        assert counted.fp_macs == order_macs(made, order, 7), order
        assert counted.additions == (expected.numel() if bias else 0)


def test_gradients_are_those_of_the_dense_layer():
    made = layer("padded")
    x = torch.randn(5, 25, dtype=torch.float64)
    of_train = torch.autograd.grad(made(x).square().sum(), made.cores())
    dense = torch.nn.functional.linear(x, made.dense_weight(), made.bias)
    of_dense = torch.autograd.grad(dense.square().sum(), made.cores())
    torch.testing.assert_close(of_train, of_dense)


def test_other_axes_come_first_and_may_be_empty():
    made = layer("three")
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    torch.testing.assert_close(made(x)[1, 3], made(x[1, 3]))
    assert made(x[:0]).shape == (0, 5, 12)


def test_orders_are_all_ways_to_put_neighbors_together():
    assert sorted(orders(3)) == [(1, 1, 1), (1, 2), (2, 1), (3,)]
    assert len(orders(5)) == 2**4


def test_the_cheapest_order_depends_on_the_batch():
    made = TTLinear((4, 7, 7, 4), (4, 8, 8, 4), (8, 8, 8))
    macs = {order: order_macs(made, order, 256) for order in orders(4)}
    assert macs[cheapest_order(made, 256)] == min(macs.values())
    assert macs[(2, 2)] < macs[(4,)] < macs[(1, 1, 1, 1)]
    wide = TTLinear((2, 2, 2, 2), (8, 8, 8, 8), (2, 2, 2))
    assert cheapest_order(wide, 1) != cheapest_order(wide, 10**6)


def test_a_batch_takes_half_the_macs_of_a_dense_layer_in_tensornet():
    made = tensornet((1, 28, 28))[1]
    order = cheapest_order(made, 256)
    assert order_macs(made, order, 256) < 0.55 * 256 * 784 * 256
    assert len(order) > 1


def test_images_in_any_memory_order_give_the_same_answers():
    made = layer("padded")
    x = torch.randn(25, 6, dtype=torch.float64)
    torch.testing.assert_close(made(x.T), made(x.T.contiguous()))


def test_a_new_layer_has_the_variance_of_he_et_al():
    torch.manual_seed(0)
    draws = [TTLinear((5, 8, 7), (6, 8, 5), (6, 6)).dense_weight().var() for _ in range(40)]
    mean = torch.stack(draws).mean().item()
    assert mean == pytest.approx(2 / 280, rel=0.15)


def test_it_is_one_call_of_a_graph_and_has_its_cores_as_parameters():
    made = layer("padded").float()
    graph = trace(torch.nn.Sequential(made, torch.nn.ReLU()), (25,))
    assert [str(n.target) for n in graph.graph.nodes if n.op == "call_module"] == ["0", "1"]
    assert parameter_count(made) == 2 * 3 * 3 + 3 * 3 * 3 * 3 + 3 * 2 * 3 + 11


def test_full_ranks_are_those_of_the_unfoldings():
    assert full_ranks((2, 3, 4), (3, 2, 2)) == (6, 8)
    assert full_ranks((6,), (5,)) == ()


@pytest.mark.parametrize(
    ("features", "count", "sizes"),
    [
        (784, 4, (4, 4, 7, 7)),
        (1024, 4, (4, 4, 8, 8)),
        (300, 3, (5, 6, 10)),
        (10, 3, (2, 2, 3)),
        (257, 2, (13, 20)),
        (101, 2, (8, 13)),
        (7, 1, (7,)),
    ],
)
def test_digits_pad_as_little_as_they_can(features, count, sizes):
    found = digits(features, count)
    assert tuple(sorted(found)) == sizes
    assert math.prod(found) >= features
    assert max(found) <= 2 * min(found)


def test_large_digits_are_at_the_ends():
    assert digits(784, 4) == (7, 4, 4, 7)


@pytest.mark.parametrize(
    "arguments",
    [
        ((2, 3), (3,), (2,)),
        ((), (), ()),
        ((2, 0), (3, 2), (2,)),
        ((2, 3), (3, 2), (0,)),
        ((2, 3), (3, 2), (7,)),
        ((2, 3), (3, 2), (2, 2)),
        ((2, 3), (3, 2), (2,), 7),
        ((2, 3), (3, 2), (2,), 6, 0),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(arguments):
    with pytest.raises(LabError, match="give"):
        TTLinear(*arguments)


@pytest.mark.parametrize(("features", "count"), [(3, 2), (7, 3), (5, 0), (0, 1)])
def test_numbers_that_do_not_factor_are_refused(features, count):
    with pytest.raises(LabError, match=f"{features} features do not factor into {count}"):
        digits(features, count)
