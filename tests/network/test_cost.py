"""What a pass costs: closed forms, work outside layers, means over images, and what is unknown."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_networks import Calls, OneHead, Residual, Twice, mixed, mlp
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F

from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.measure import formulas
from labsupport.measure.energy import energy
from labsupport.methods.pruning import magnitude, with_sparse_linears
from labsupport.network.cost import (
    Cost,
    batch_cost,
    cost,
    layer_costs,
    mean_cost,
    parameter_count,
    predict_with_cost,
)
from labsupport.training import predict


def split(n=7, shape=(4, 9, 9)):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n, *shape, generator=generator)
    return Split(images, torch.zeros(n, dtype=torch.int64))


def numbers(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_costs_add_and_scale_kind_by_kind():
    one = Cost(fp_macs=6, int8_macs=4, binary_ops=2, additions=8, lookups=10)
    assert one + Cost(fp_macs=1, lookups=2) == Cost(7, 4, 2, 8, 12)
    assert one * 3 / 6 == Cost(3, 2, 1, 4, 5)
    assert one + Cost() == one


@settings(max_examples=40)
@given(
    side=st.integers(4, 12),
    channels=st.integers(1, 3),
    filters=st.integers(1, 3),
    groups=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    units=st.integers(1, 5),
)
def test_small_networks_cost_their_closed_form(
    side, channels, filters, groups, kernel, stride, padding, dilation, bias, units
):
    channels, filters = channels * groups, filters * groups
    place = {"stride": stride, "padding": padding, "dilation": dilation}
    reach = dilation * (kernel - 1) + 1
    side = max(side, reach)
    conv = nn.Conv2d(channels, filters, kernel, groups=groups, bias=bias, **place)
    size = formulas.conv2d_output_size(side, kernel, **place)
    features = filters * math.prod(size)
    net = nn.Sequential(
        conv, nn.BatchNorm2d(filters), nn.ReLU(), nn.Flatten(), nn.Linear(features, units)
    )
    assert cost(net, (channels, side, side)) == Cost(
        fp_macs=formulas.conv2d_macs(channels, filters, kernel, size, groups=groups)
        + formulas.linear_macs(features, units),
        additions=bias * features + units,
    )


@pytest.mark.parametrize(
    ("net", "shape", "macs", "additions"),
    [
        (nn.Linear(5, 6), (7, 5), 7 * 5 * 6, 7 * 6),
        (nn.Linear(5, 6, bias=False), (5,), 5 * 6, 0),
        (nn.Conv1d(4, 8, 3, groups=4, stride=2), (4, 11), 5 * 8 * 3, 5 * 8),
        (nn.Conv3d(2, 3, 2, bias=False), (2, 4, 4, 4), 27 * 3 * 2 * 8, 0),
        # Transposed, each input element meets each filter's whole kernel.
        (nn.ConvTranspose2d(2, 3, 4, stride=2), (2, 5, 5), 2 * 5 * 5 * 3 * 16, 3 * 12 * 12),
        (nn.BatchNorm2d(3), (3, 4, 4), 0, 0),
        (Residual(nn.Linear(6, 6, bias=False)), (6,), 36, 6),
        (Residual(Residual(nn.Identity())), (2, 3), 0, 2 * 2 * 3),
        (Twice(), (6,), 72, 12),
        (nn.Sequential(nn.Softmax(-1), nn.LayerNorm(6), nn.GELU()), (2, 6), 0, 0),
    ],
)
def test_layers_cost_their_closed_form(net, shape, macs, additions):
    assert cost(net, shape) == Cost(fp_macs=macs, additions=additions)


def test_normalization_and_pooling_are_free():
    assert cost(mixed(), (4, 9, 9)) == Cost(fp_macs=4 * 4 * 8 * 2 * 9 + 8 * 3, additions=3)


A, B, C = numbers(6, 4), numbers(4, 3), numbers(3)


@pytest.mark.parametrize(
    ("function", "macs", "additions"),
    [
        (lambda x: x @ A, 2 * 6 * 4, 0),
        (lambda x: A.T @ x[0, 0], 6 * 4, 0),
        (lambda x: torch.addmv(C, (A @ B).T, x[0, 0]), 6 * 4 * 3 + 6 * 3, 3),
        (lambda x: torch.dot(x[0, 0], x[0, 1]), 6, 0),
        (lambda x: torch.bmm(x, x.mT), 2 * 2 * 6, 0),
        (lambda x: torch.baddbmm(x @ x.mT, x, x.mT), 2 * 2 * 2 * 6, 4),
        (lambda x: torch.einsum("nsd,de->nse", x, A), 2 * 6 * 4, 0),
        (lambda x: F.linear(x, A.T, numbers(4)), 2 * 6 * 4, 2 * 4),
        (lambda x: F.conv1d(x, numbers(5, 2, 3), numbers(5)), 4 * 5 * 2 * 3, 4 * 5),
        (lambda x: F.scaled_dot_product_attention(x, x, x), 2 * (2 * 2 * 6), 0),
        (lambda x: x - x.mean(), 0, 12),
        (lambda x: x * 3 + 1, 0, 0),
        (lambda x: x.argmax(-1) + x.argmin(-1), 0, 0),
    ],
)
@pytest.mark.parametrize("grad", [torch.no_grad, torch.inference_mode])
def test_functions_outside_layers_are_counted(function, macs, additions, grad):
    def call(x):
        with grad():  # in inference mode torch hands over larger operators, which are taken apart
            return function(x)

    assert cost(Calls(call), (2, 6)) == Cost(fp_macs=macs, additions=additions)


def test_integers_and_tables_are_kinds_of_their_own():
    def product(x):
        return torch.mm(x.to(torch.int32)[0], torch.ones(6, 3, dtype=torch.int32))

    assert cost(Calls(product), (2, 6)) == Cost(int8_macs=2 * 6 * 3)
    table = nn.Sequential(Calls(lambda x: x.long()), nn.Embedding(2, 5))
    assert cost(table, (3,)) == Cost(lookups=3 * 5)


def attention(length, width):
    """MACs of self-attention: four projections, the scores, the mean of the values."""
    return 4 * length * width**2 + 2 * length**2 * width


def test_attention_costs_the_same_however_it_is_written():
    written = OneHead(8)
    torch_s = nn.MultiheadAttention(8, 2, batch_first=True)
    called = Calls(lambda x: torch_s(x, x, x, need_weights=False)[0])
    assert cost(written, (5, 8)).fp_macs == attention(5, 8)
    assert cost(called, (5, 8)).fp_macs == attention(5, 8)


def test_torchs_fast_path_of_a_transformer_hides_nothing():
    block = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    assert torch.backends.mha.get_fastpath_enabled()
    assert cost(block.eval(), (5, 8)).fp_macs == attention(5, 8) + 2 * 5 * 8 * 16
    assert torch.backends.mha.get_fastpath_enabled()


@torch.library.custom_op("labs_test::third", mutates_args=())
def third(x: torch.Tensor) -> torch.Tensor:
    return x / 3


@pytest.mark.parametrize(
    ("function", "operator"),
    [(third, "labs_test.third"), (torch.fft.fft, "_fft_r2c"), (torch.linalg.svdvals, "svd")],
)
def test_an_unknown_operator_is_named_with_its_layer(function, operator):
    net = nn.Sequential(nn.ReLU(), nn.Sequential(Calls(function)))
    with pytest.raises(LabError, match=rf"layer 1\.0 computes \S*{operator}"):
        cost(net, (4, 4))


def test_a_sparse_product_outside_a_layer_that_knows_it_is_refused():
    sparse = torch.eye(6).to_sparse()
    with pytest.raises(LabError, match="layer Calls computes aten"):
        cost(Calls(lambda x: torch.mm(sparse, x[0])), (6, 2))


class Stated(nn.Module):
    """Says that it costs nothing but look-ups, whatever it computes and calls."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return third(self.inner(x))

    def forward_cost(self, x, output):
        assert torch.equal(self.inner(x) / 3, output)  # what it computes here costs nothing
        return Cost(lookups=len(x) * 10)


def test_a_module_may_state_its_cost():
    net = nn.Sequential(nn.Linear(4, 4), Stated(), nn.Linear(4, 2))
    expected = Cost(fp_macs=4 * 4 + 4 * 2, additions=4 + 2, lookups=10)
    assert cost(net, (4,)) == expected
    assert batch_cost(net, numbers(3, 4)) == expected * 3
    table = layer_costs(net, (4,))
    assert list(table["kind"]) == ["Linear", "Stated", "Linear", "Linear"]  # the inner one last
    assert list(table["lookups"]) == [0, 10, 0, 0]
    assert table["parameters"].sum() == parameter_count(net)


def test_sparse_layers_multiply_their_non_zero_weights_alone():
    pruned = magnitude(mlp(16, 8, 3), 0.75)
    sparse = with_sparse_linears(pruned)
    weights = 16 * 8 + 8 * 3
    assert cost(pruned, (16,)) == Cost(fp_macs=weights, additions=11)
    assert cost(sparse, (16,)) == Cost(fp_macs=weights / 4, additions=11)
    assert batch_cost(sparse, numbers(5, 16)) == cost(sparse, (16,)) * 5


def test_masks_are_part_of_the_layer_whose_weights_they_make():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))
    masked, shape = magnitude(net, 0.5), (2, 6, 6)
    plain = layer_costs(net, shape)
    pd.testing.assert_frame_equal(layer_costs(masked, shape), plain)
    assert energy(layer_costs(masked, shape)) == energy(plain)
    assert list(layer_costs(nn.utils.parametrizations.weight_norm(net[3]), (48,))["name"]) == [
        "Linear"
    ]


@settings(max_examples=10)
@given(batch_size=st.integers(1, 9))
def test_the_mean_over_a_split_is_that_of_one_image_where_all_cost_the_same(batch_size):
    net, images = mixed().train(), split()
    assert mean_cost(net, images, batch_size) == cost(net, (4, 9, 9))


def test_logits_come_with_the_cost_of_the_same_pass():
    net, images = mixed(), split()
    logits, mean = predict_with_cost(net, images, 3)
    torch.testing.assert_close(logits, predict(net, images, 3), rtol=0, atol=0)
    assert mean == mean_cost(net, images)


def test_a_row_per_layer():
    table = layer_costs(mlp(784, 32, 10), (1, 28, 28)).set_index("name")
    assert list(table["kind"]) == ["Flatten", "Linear", "ReLU", "Linear"]
    hidden = table.loc["1"]
    assert (hidden["output_shape"], hidden["macs"], hidden["additions"]) == ("32", 784 * 32, 32)
    assert (hidden["parameters"], hidden["activations"]) == (784 * 32 + 32, 32)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (mixed(), (4, 9, 9)),
        (Twice(), (6,)),
        (OneHead(8), (5, 8)),
        (nn.Sequential(Residual(nn.Linear(6, 6)), Calls(lambda x: x @ A)), (6,)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8)),
        (with_sparse_linears(magnitude(mlp(9, 4, 3), 0.5)), (9,)),
        (magnitude(mlp(9, 4, 3), 0.5), (9,)),
    ],
)
def test_rows_add_up_to_the_whole(net, shape):
    table, whole = layer_costs(net, shape), cost(net, shape)
    kinds = ["macs", "int8_macs", "binary_ops", "additions", "lookups"]
    assert list(table[kinds].sum()) == list(vars(whole).values())
    assert table["parameters"].sum() == parameter_count(net)


def test_work_outside_layers_has_a_row_of_the_module_around_it():
    net = nn.Sequential(Residual(nn.Linear(6, 6)), nn.ReLU())
    table = layer_costs(net, (6,))
    assert list(table["name"]) == ["0.inside", "0", "1"]
    assert list(table["additions"]) == [6, 6, 0]
    assert list(table["activations"]) == [6, 0, 0]  # a sum and a ReLU write where they read


class OfModules(nn.Module):
    """A convolution, two kinds of pooling and a linear layer, all as modules."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5)),
        )

    def forward(self, x):
        return self.body(x)


class OfFunctions(OfModules):
    """The same with a ReLU that works in place, pooling and flattening as functions."""

    def forward(self, x):
        x = F.relu(self.body[1](self.body[0](x)), inplace=True)
        x = F.max_pool2d(x, 2).mean((2, 3))
        return self.body[-1](x)


def test_activations_are_what_products_and_pooling_write_in_modules_or_functions():
    modules, functions = (layer_costs(net, (1, 8, 8)) for net in (OfModules(), OfFunctions()))
    assert list(modules["activations"]) == [2 * 8 * 8, 0, 0, 2 * 4 * 4, 2, 0, 5]
    assert functions["activations"].sum() == modules["activations"].sum()
    assert energy(functions) == energy(modules)


def test_a_module_that_states_its_cost_writes_its_output():
    assert list(layer_costs(Stated(), (4,))["activations"]) == [4, 0]


class PassedOn(nn.Module):
    """Gives back what it gets, and says that this is free."""

    def forward(self, x):
        return x

    def forward_cost(self, x, output):
        return Cost()


def test_a_module_that_gives_back_its_input_writes_nothing():
    table = layer_costs(nn.Sequential(nn.Linear(4, 3), PassedOn()), (4,))
    assert list(table["activations"]) == [3, 0]


def test_a_layer_used_twice_computes_twice_and_is_stored_once():
    table = layer_costs(Twice(), (6,))
    assert list(table["macs"]) == [36, 36]
    assert list(table["parameters"]) == [42, 0]
    shared = nn.Sequential(layer := nn.Linear(6, 6), layer)
    assert parameter_count(shared) == 42


def test_parameters_that_no_call_uses_are_not_lost():
    net = Twice()
    net.unused = nn.Linear(2, 2)
    net.scale = nn.Parameter(torch.ones(3))
    table = layer_costs(net, (6,))
    assert table["parameters"].sum() == parameter_count(net) == 42 + 6 + 3
    assert table["macs"].sum() == 72


def test_layers_of_several_tensors_are_rows_as_well():
    class Halves(nn.Module):
        def forward(self, x):
            return x.chunk(2, -1)

    table = layer_costs(nn.Sequential(Halves(), Calls(torch.cat)), (6,))
    assert list(table["output_shape"]) == ["3, 3", "3"]
    assert list(table["activations"]) == [0, 0]


def state_of(net):
    modules = list(net.modules())
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in modules]
    names = [sorted(vars(m)) for m in modules]
    return [m.training for m in modules], hooks, names


def test_the_model_is_left_as_it_was():
    net = mixed().train()
    net[1].eval()  # frozen on purpose
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = state_of(net)
    cost(net, (4, 9, 9))
    layer_costs(net, (4, 9, 9))
    mean_cost(net, split())
    assert state_of(net) == state
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize(("shape", "said"), [((5,), "does not accept"), ((4,), "cost is unknown")])
def test_the_model_is_left_as_it_was_after_a_failure(shape, said):
    net = nn.Sequential(mlp(4, 3), Calls(third)).train()
    state = state_of(net)
    with pytest.raises(LabError, match=said):
        cost(net, shape)
    assert state_of(net) == state
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.is_grad_enabled()


def test_no_images_have_no_mean():
    with pytest.raises(LabError, match="no images"):
        mean_cost(mixed(), split(0))


def test_a_module_that_states_its_cost_may_be_called_by_keyword():
    stated = Stated()
    net = Calls(lambda x: stated(x=x))
    net.stated = stated
    assert cost(net, (4,)) == Cost(lookups=10)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_what_torchscript_hides_is_refused():
    scripted = torch.jit.trace(mlp(4, 3), torch.zeros(1, 4))
    for net in (scripted, nn.Sequential(scripted)):
        with pytest.raises(LabError, match="TorchScript"):
            cost(net, (4,))


def in_numpy(x):
    return torch.from_numpy(x.numpy() @ np.ones((4, 3), np.float32))


def in_prepared_memory(x):
    out = torch.empty(len(x), 3)
    np.matmul(x.numpy(), np.ones((4, 3), np.float32), out=out.numpy())
    return out


@pytest.mark.parametrize(
    "function",
    [
        in_numpy,
        in_prepared_memory,
        lambda x: in_numpy(x) + torch.ones(3),
        lambda x: in_numpy(x.relu()).relu(),
        lambda x: torch.tensor((x.numpy() * 2).tolist()),
        lambda x: (x, in_numpy(x))[1],
    ],
)
def test_a_layer_that_computes_outside_torch_is_named(function):
    net = nn.Sequential(nn.ReLU(), nn.Sequential(Calls(function)))
    with pytest.raises(LabError, match=r"layer 1\.0 computes outside torch"):
        cost(net, (4,))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,
        lambda x: x.view(2, 2).T,
        lambda x: x.data.clone(),
        lambda x: torch.zeros(len(x), 3),
        lambda x: torch.arange(4) + torch.ones(4),
        lambda x: torch.empty(1, 4).copy_(x),
        lambda x: x @ B,
        lambda x: x * torch.tensor(2.0),
    ],
)
def test_a_layer_that_computes_nothing_or_in_torch_alone_is_not_refused(function):
    cost(nn.Sequential(Calls(function)), (4,))


class InNumpyFirst(nn.Module):
    """A product in NumPy, then a layer of torch's."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(in_numpy(x))


def test_a_module_that_computes_outside_torch_before_its_layers_is_named():
    net = nn.Sequential(nn.ReLU(), nn.Sequential(InNumpyFirst()))
    with pytest.raises(LabError, match=r"layer 1\.0 computes outside torch"):
        cost(net, (4,))


class StatedInNumpy(nn.Module):
    """Computes outside torch, and says what it costs."""

    def forward(self, x):
        return in_numpy(x)

    def forward_cost(self, x, output):
        return Cost(fp_macs=x.numel() * 3)


class IntoPrepared(nn.Module):
    """A layer that writes into memory made ready for it, and gives nothing back itself."""

    def __init__(self):
        super().__init__()
        self.fill = Calls(lambda both: (both[1].copy_(both[0] @ B), None)[1])

    def forward(self, x):
        out = x.new_empty(len(x), 3)
        self.fill((x, out))
        return out


@pytest.mark.parametrize("net", [nn.Sequential(StatedInNumpy(), nn.ReLU()), IntoPrepared()])
def test_what_is_stated_or_written_by_a_layer_inside_is_not_foreign(net):
    assert cost(net, (4,)).fp_macs == 4 * 3


def test_feature_maps_are_not_kept_until_the_end():
    maps = []
    look = Calls(lambda x: (maps.append(StorageWeakRef(x.untyped_storage())), x)[1])
    last = Calls(lambda x: (maps.append(maps[0].expired()), x)[1])
    cost(nn.Sequential(nn.Linear(4, 4), look, nn.Linear(4, 4), last), (4,))
    assert maps[1]


class ByNumbers(nn.Module):
    """One way for bright images, another for dark ones; `decide` says how it tells them apart."""

    def __init__(self, decide):
        super().__init__()
        self.decide, self.cheap, self.dear = decide, nn.Linear(4, 2), mlp(4, 8, 2)

    def forward(self, x):
        return self.dear(x) if self.decide(x) else self.cheap(x)


DECISIONS = [
    lambda x: x.mean() > 0.5,
    lambda x: len(x[x > 0.5]),
    lambda x: len(torch.masked_select(x, x > 0.5)),
    lambda x: len(x.relu().nonzero()),
    lambda x: torch.equal(x, x.abs()),
]


@pytest.mark.parametrize("decide", DECISIONS)
def test_a_network_that_decides_by_its_image_is_named_unless_it_says_so(decide):
    net = nn.Sequential(ByNumbers(decide))
    for count in (lambda: cost(net, (4,)), lambda: mean_cost(net, split(shape=(4,)))):
        with pytest.raises(LabError, match=r"what layer 0 computes depends on the image.*condit"):
            count()
    net[0].conditional = True
    bright = Split(torch.tensor([[1.0] * 4, [-1.0] * 4]), torch.zeros(2, dtype=torch.int64))
    assert mean_cost(net, bright, 1).fp_macs == (4 * 8 + 8 * 2 + 4 * 2) / 2


@pytest.mark.parametrize(
    "decide",
    [lambda x: A.mean() > 0.5, lambda x: x.shape[0] > 3, lambda x: len(x[:, torch.tensor([1])])],
)
def test_a_network_that_decides_by_anything_else_is_not_refused(decide):
    cost(ByNumbers(decide), (4,))


def test_a_hook_of_ones_own_is_part_of_its_module():
    net = mlp(4, 3)
    net.register_forward_pre_hook(lambda _, inputs: (inputs[0] + inputs[0],))
    net.register_forward_hook(lambda *call: call[-1] + call[-1])
    assert cost(net, (4,)) == Cost(fp_macs=12, additions=3 + 4 + 3)
