import copy

import pytest
import torch
from made_rules import rules_by_chance, same, snapshot, toy_images, toy_network, used

from labsupport import models
from labsupport.core.errors import LabError
from labsupport.data import Split
from labsupport.methods.early_exit import (
    NEVER,
    BranchedNetwork,
    Chunked,
    RulesRecipe,
    calibrate,
    fit_rules,
)
from labsupport.training import evaluate, predict

MARGINS = (0.6, 0.8, NEVER)
SOONER = (0.6, 0.6, 0.6)
SIZES = (0, 1, 7, 50, 51, 120)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def images(n, seed=0):
    return toy_images(n, seed).x.double()


@pytest.fixture
def model():
    # In double precision no confidence lies within rounding of its margin.
    return toy_network().double()


def branched(model, layer=2, margins=MARGINS, chunk=50):
    rules = rules_by_chance(model, layer).with_margins(tensor(*margins))
    return BranchedNetwork(model, layer, rules, chunk)


def by_hand(model, rules, x):
    """Image by image, everything computed: output and whether a rule fires."""
    model, layer = copy.deepcopy(model).eval(), rules.origin.layer
    rows, fired = [], []
    for image in x.split(1):
        scores = (rules.weight @ model[:layer](image).view(-1) + rules.bias).view(1, -1)
        shares = scores.softmax(1)[0].tolist()
        fires = [share >= m for share, m in zip(shares, rules.margins.tolist(), strict=True)]
        fired.append(any(fires))
        rows.append(scores if any(fires) else model(image))
    return torch.cat(rows), torch.tensor(fired)


@pytest.mark.parametrize("chunk", [1, 3, 50])
@pytest.mark.parametrize("layer", [0, 2, 4])
def test_it_is_what_one_gets_image_by_image(model, layer, chunk):
    net, x = branched(model, layer, chunk=chunk), images(120)
    expected, fired = by_hand(model, net.rules, x)
    assert 0 < fired.sum() < len(x)
    for n in SIZES[1:]:
        scores, left = net.exits(x[:n])
        assert torch.equal(left, fired[:n])
        torch.testing.assert_close(scores, expected[:n])
        torch.testing.assert_close(net(x[:n]), expected[:n])


def test_single_images_leave_or_stay_as_in_a_batch(model):
    net, x = branched(model), images(60)
    expected, _ = by_hand(model, net.rules, x)
    torch.testing.assert_close(torch.cat([net(image) for image in x.split(1)]), expected)


@pytest.mark.parametrize("net", [branched, Chunked])
def test_an_empty_batch_gives_empty_logits(model, net):
    assert net(model)(images(0)).shape == (0, 3)


def test_an_empty_batch_has_no_exits(model):
    scores, fired = branched(model).exits(images(0))
    assert scores.shape == (0, 3)
    assert fired.tolist() == []
    assert fired.dtype == torch.bool


@pytest.mark.parametrize("n", SIZES)
def test_rules_that_never_fire_leave_the_network(model, n):
    net, x = branched(model, margins=(NEVER,) * 3), images(n)
    torch.testing.assert_close(net(x), model.eval()(x))
    assert not net.exits(x)[1].any()


def watched(module):
    """How many images each call of the module gets."""
    sizes = []
    module.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    return sizes


@pytest.mark.parametrize("n", SIZES[1:])
def test_the_rest_runs_only_for_those_left_over(model, n):
    net, x = branched(model, chunk=10), images(n)
    stayed = n - int(net.exits(x)[1].sum())
    stem, rest = watched(net.stem), watched(net.rest)
    net(x)
    assert sum(stem) == n
    assert sum(rest) == stayed
    assert max(stem) <= 10
    assert max(rest, default=0) < 15  # fewer than 5 wait when the last 10 join them
    assert min(rest[:-1], default=5) >= 5


@pytest.mark.parametrize("n", SIZES[1:])
def test_where_all_leave_the_rest_never_runs(model, n):
    net = branched(model, margins=SOONER)
    net.rules.bias[1] = 1e4
    rest = watched(net.rest)
    scores, fired = net.exits(images(n))
    assert fired.all()
    assert (net(images(n)).argmax(1) == 1).all()
    assert rest == []
    assert len(scores) == n


@pytest.mark.parametrize("n", [1, 5])
def test_an_image_that_is_no_number_gets_the_networks_own_output(model, n):
    net, x = branched(model, margins=SOONER), images(n)
    x[-1, 0, 3, 3] = float("nan")
    scores, fired = net.exits(x)
    assert not fired[-1]
    expected = model.eval()(x)
    assert expected[-1].isnan().any()
    for out in (scores, net(x)):
        torch.testing.assert_close(out[-1], expected[-1], equal_nan=True)
        assert not out[:-1].isnan().any()


def test_rules_of_another_layer_or_network_are_refused(model):
    rules = rules_by_chance(model, 2)
    with pytest.raises(LabError, match="layer 2 at layer 1"):
        BranchedNetwork(model, 1, rules)
    with pytest.raises(LabError, match="another network"):
        BranchedNetwork(toy_network(seed=1).double(), 2, rules)
    model[7].weight.data[0, 0] += 1e-6  # behind the rules' layer
    with pytest.raises(LabError, match="another network"):
        BranchedNetwork(model, 2, rules)


@pytest.mark.parametrize("layer", [-1, 8])
def test_a_layer_outside_the_network_is_refused(model, layer):
    with pytest.raises(LabError, match=f"no layer {layer}"):
        BranchedNetwork(model, layer, rules_by_chance(model, 2))


@pytest.mark.parametrize("n", [0, 1, 7])
def test_images_of_another_size_are_refused(model, n):
    net = branched(model)
    with pytest.raises(LabError, match=r"features of \(4, 7, 7\) for rules on \(4, 6, 6\)"):
        net(torch.zeros(n, 1, 9, 9, dtype=torch.float64))


@pytest.mark.parametrize("chunk", [0, -3])
def test_chunks_without_an_image_are_refused(model, chunk):
    for made in (lambda: branched(model, chunk=chunk), lambda: Chunked(model, chunk)):
        with pytest.raises(LabError, match="at least 1"):
            made()


def test_network_rules_and_images_stay_as_they_were():
    model, x = used(toy_network()), toy_images(20, 0).x
    rules = rules_by_chance(model, 2).with_margins(tensor(*MARGINS))
    before, margins, seen = snapshot(model), rules.margins.clone(), x.clone()
    net = BranchedNetwork(model, 2, rules)
    net(x)
    for parameter in net.parameters():
        parameter.data.zero_()
    net.rules.margins.fill_(NEVER)
    assert same(before, snapshot(model))
    assert torch.equal(rules.margins, margins)
    assert torch.equal(x, seen)


@pytest.mark.parametrize("make", [branched, Chunked])
def test_it_is_predicted_with_and_evaluated_like_any_network(make):
    model = used(toy_network())  # with dropout on
    net, split = make(model), toy_images(150, 0)
    expected = net(split.x)
    torch.testing.assert_close(predict(net, split), expected.detach())
    accuracy = (expected.argmax(1) == split.y).double().mean().item()
    assert evaluate(net, split).accuracy == pytest.approx(accuracy)
    assert not any(module.training for module in net.modules())
    torch.testing.assert_close(net(split.x), expected)


def test_copies_and_saved_states_give_the_same_outputs(model):
    net, x = branched(model), images(30)
    other = branched(model, margins=(NEVER,) * 3)
    assert not torch.equal(other.exits(x)[1], net.exits(x)[1])
    other.load_state_dict(net.state_dict())
    for twin in (copy.deepcopy(net), other):
        assert torch.equal(twin(x), net(x))
        assert torch.equal(twin.exits(x)[1], net.exits(x)[1])


@pytest.mark.parametrize("n", SIZES)
def test_chunks_change_nothing_but_the_size_of_a_call(model, n):
    net, x = Chunked(used(model.float()), 20), toy_images(n, 0).x
    sizes = watched(net.model)
    torch.testing.assert_close(net(x), model.eval()(x))
    assert sum(sizes) == n
    assert max(sizes) <= 20


def test_the_whole_way_on_the_course_network():
    torch.manual_seed(0)
    model = models.build("rules_cnn", (1, 12, 12), 3)
    split = Split(torch.randn(60, 1, 12, 12), torch.zeros(60, dtype=torch.int64))
    model[-1].weight.data *= 20  # so that the answers differ
    rules = fit_rules(model, 2, split, RulesRecipe(epochs=15, batch_size=20))
    sure = calibrate(rules, model, split, 1.0, shift=0)
    net = BranchedNetwork(model, 2, sure)
    assert net.exits(split.x)[1].any()
    assert torch.equal(net(split.x).argmax(1), predict(model, split).argmax(1))


def test_in_training_mode_every_image_runs_to_the_end():
    model = toy_network().eval()
    net = BranchedNetwork(model, 2, rules_by_chance(model, 2).with_margins(torch.full((3,), 0.51)))
    x = toy_images(20, 0).x
    assert net.exits(x)[1].any()
    assert torch.equal(net.train().rest.eval()(net.stem.eval()(x)), model(x))
    assert torch.equal(net(x), model(x))
