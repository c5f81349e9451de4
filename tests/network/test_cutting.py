import copy
import weakref

import pytest
import torch
from made_rules import Doubled, Named, same, snapshot, toy_images, toy_network, used
from torch import nn

from labsupport import models
from labsupport.core.errors import LabError
from labsupport.network.cutting import collect, cut, cut_points, in_order


@pytest.fixture
def model():
    return toy_network()


def in_eval(model):
    return not any(module.training for module in model.modules())


@pytest.mark.parametrize("layer", range(10))
def test_stem_and_rest_are_the_network(layer):
    torch.manual_seed(0)
    model = models.build("rules_cnn", (1, 12, 12), 3)
    x = torch.randn(5, 1, 12, 12)
    stem, rest = cut(model, layer)
    assert len(stem) == layer
    assert in_eval(stem)
    assert in_eval(rest)
    assert torch.equal(rest(stem(x)), model.eval()(x))


def test_the_parts_are_copies(model):
    used(model)
    before = snapshot(model)
    for part in cut(model, 2):
        for parameter in part.parameters():
            parameter.data.fill_(9)
    assert same(before, snapshot(model))


@pytest.mark.parametrize("layer", [-1, 8, 100])
def test_a_layer_outside_the_network_is_refused(model, layer):
    with pytest.raises(LabError, match=f"no layer {layer} .*choose 0 to 7"):
        cut(model, layer)


class Block(nn.Module):
    """A residual block whose ReLU is called twice, in place."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.second(self.relu(self.first(x))) + x)


class Residual(nn.Module):
    """A stem, two blocks, a head; the sizes for its reshape come from the features."""

    def __init__(self):
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(1, 3, 3), nn.Sequential(Block(3), Block(3))
        self.pool, self.head = nn.AvgPool2d(2), nn.Linear(27, 3)

    def forward(self, x):
        x = self.pool(self.blocks(self.stem(x)))
        return self.head(x.view(x.size(0), -1))


PLACES = ["stem", "blocks.0", "blocks", "pool"]  # and the sums in the blocks, the reshape


@pytest.fixture
def residual():
    torch.manual_seed(0)
    return Residual()


def test_a_residual_network_is_cut_between_its_blocks(residual):
    points = cut_points(residual, (1, 8, 8))
    assert [name for name in points if not name.startswith(("add", "view"))] == PLACES
    assert points["blocks.0"] == (3, 6, 6)
    x = torch.randn(5, 1, 8, 8)
    for place in points:
        stem, rest = cut(residual, place)
        assert tuple(stem(x).shape[1:]) == points[place]
        assert torch.equal(rest(stem(x)), residual.eval()(x))
        assert in_eval(stem)
        assert in_eval(rest)


def test_parts_are_cut_at_several_places_and_hold_their_own_layers(residual):
    parts = cut(residual, "stem", "blocks.0", "blocks")
    x = expected = torch.randn(2, 1, 8, 8)
    for part in parts:
        x = part(x)
    assert torch.equal(x, residual.eval()(expected))
    names = [name for part in parts for name in part.state_dict()]
    assert names == list(residual.state_dict())


def test_a_part_can_be_cut_again(residual):
    stem, rest = cut(residual, "blocks.0")
    middle, last = cut(rest, "pool")
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(last(middle(stem(x))), residual.eval()(x))


def test_the_parts_leave_the_features_and_the_network_as_they_are(residual):
    residual.train()
    before = copy.deepcopy(residual.state_dict())
    stem, rest = cut(residual, "add")
    features = stem(torch.randn(2, 1, 8, 8)).detach()
    kept = features.clone()
    rest(features)  # begins with a ReLU in place
    assert features.min() < 0
    assert torch.equal(features, kept)
    for part in (stem, rest):
        for parameter in part.parameters():
            parameter.data.fill_(9)
    assert all(torch.equal(before[name], now) for name, now in residual.state_dict().items())
    assert residual.blocks[0].relu.inplace
    assert all(module.training for module in residual.modules())


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("blocks.0.first", "cannot be cut behind blocks.0.first: later layers need"),
        ("nothing", "has no layer 'nothing'"),
        ("head", "head gives the answer of the Residual"),
        (2, "layers of a Residual have no numbers"),
    ],
)
def test_places_that_would_do_are_named(residual, place, problem):
    with pytest.raises(LabError, match=f"{problem}.*") as error:
        cut(residual, place)
    if place != 2:
        assert error.value.remedy == "choose from stem, blocks.0, blocks, pool"


def test_places_out_of_order_are_refused(residual, model):
    for network, places in ((residual, ("pool", "stem")), (model, (4, 2)), (model, (2, 2))):
        with pytest.raises(LabError, match="out of order"):
            cut(network, *places)
    assert in_order(residual, ["pool", "stem", "blocks"]) == ["stem", "blocks", "pool"]
    assert in_order(model, [4, "1", 3]) == ["1", 3, 4]


def test_a_forward_of_its_own_is_followed():
    torch.manual_seed(0)
    model, x = Doubled(nn.Linear(2, 2), nn.Linear(2, 2)), torch.randn(3, 2)
    stem, rest = cut(model, "0")
    assert torch.equal(rest(stem(x)), model(x))
    stem, rest = cut(model, 0)
    assert torch.equal(stem(x), x)
    assert torch.equal(rest(x), model(x))


def test_a_residual_network_is_collected_too(residual):
    split = toy_images(25, 0)
    rows = list(collect(residual, "blocks.0", split, 10))
    stem, _ = cut(residual, "blocks.0")
    for (features, logits), (x, _) in zip(rows, split.batches(10), strict=True):
        assert torch.equal(features, stem(x))
        assert torch.equal(logits, residual.eval()(x))


def test_a_sequential_by_another_name_can_be_cut():
    model, x = Named(4), torch.randn(2, 3)
    stem, rest = cut(model, 1)
    assert torch.equal(rest(stem(x)), model(x))


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_collected_are_the_features_and_logits_in_order(model, layer):
    split = toy_images(25, 0)
    before = snapshot(model)
    rows = list(collect(model, layer, split, 10))
    assert same(before, snapshot(model))
    assert [len(logits) for _, logits in rows] == [10, 10, 5]
    model.eval()
    for (features, logits), (x, _) in zip(rows, split.batches(10), strict=True):
        assert torch.equal(features, model[:layer](x))
        assert torch.equal(logits, model(x))


def test_a_rest_that_works_in_place_does_not_touch_the_features():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(72, 3))
    split = toy_images(4, 0)
    ((features, logits),) = collect(model, 1, split)
    assert features.min() < 0
    assert torch.equal(features, model[0](split.x))
    assert torch.equal(logits, model(split.x))


def test_nothing_runs_before_it_is_asked_for_and_one_batch_is_held_at_a_time(model):
    class Watched:
        """A split that looks, before each batch, whether the last features are let go."""

        given = 0
        features = staticmethod(lambda: None)

        def batches(self, batch_size):
            for batch in toy_images(30, 0).batches(batch_size):
                assert self.features() is None
                self.given += 1
                yield batch

    split = Watched()
    rows = collect(model, 2, split, 10)
    assert split.given == 0
    for asked in (1, 2, 3):
        features, logits = next(rows)
        assert split.given == asked
        split.features = weakref.ref(features)
        del features, logits
    assert next(rows, None) is None


class InPlace(nn.Module):
    """A layer, a call in place, and a head that takes what the call left."""

    def __init__(self, call):
        super().__init__()
        self.first, self.call, self.head = nn.Linear(4, 4), call, nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x)
        self.call(x)
        return self.head(x)


CALLS = [
    lambda x: x.relu_(),
    lambda x: x.add_(1),
    lambda x: nn.functional.relu(x, inplace=True),
    torch.relu_,
    lambda x: x.view(-1).relu_(),
    nn.ReLU(inplace=True),
]


@pytest.mark.parametrize("call", CALLS)
def test_what_works_in_place_behind_a_cut_leaves_the_features(call):
    torch.manual_seed(0)
    model, x = InPlace(call), torch.randn(8, 4)
    stem, rest = cut(model, "first")
    features = stem(x)
    before = features.detach().clone()
    logits = rest(features)
    assert torch.equal(features, before)
    assert torch.equal(logits, model.eval()(x))
    (logits.sum() + features.square().sum()).backward()


class Optional(nn.Module):
    """A network that may be given a second thing, which it usually is not."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x, scale=None, *, shift=1.0):
        x = self.first(x) + shift
        return self.head(x if scale is None else x * scale)


def test_what_a_network_may_be_given_keeps_its_default():
    model, x = Optional().eval(), torch.randn(2, 4)
    stem, rest = cut(model, "first")
    assert torch.equal(rest(stem(x)), model(x))
    assert list(cut_points(model, (4,))) == ["first", "add"]


def test_a_network_of_two_inputs_is_refused():
    with pytest.raises(LabError, match="a Bilinear takes input1, input2"):
        cut(nn.Bilinear(2, 2, 2), "x")


@pytest.mark.parametrize("place", [1.5, None])
def test_what_is_no_place_is_refused(model, place):
    with pytest.raises(LabError, match=f"{place} is no place to cut at"):
        cut(model, place)
