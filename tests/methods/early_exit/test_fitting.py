import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_rules import same, snapshot, toy_images, toy_network, used
from torch import nn
from torch.nn.functional import avg_pool2d, linear
from torch.nn.modules.module import register_module_forward_hook

from labsupport import models
from labsupport.core.errors import LabError
from labsupport.data import Split, Splits
from labsupport.methods.early_exit import RulesRecipe, cut, fit_rules
from labsupport.methods.early_exit.fitting import unpooled
from labsupport.network.fingerprint import fingerprint
from labsupport.training import Recipe, fit, predict

SHORT = RulesRecipe(epochs=2, batch_size=32, lr=0.01)
TRAIN, TEST = toy_images(300, 0), toy_images(200, 1)


@pytest.fixture(scope="module")
def trained():
    splits = Splits("toy", TRAIN, toy_images(50, 2), TEST, ("a", "b", "c"), (0.0,), (1.0,), "f")
    return fit(toy_network(), splits, Recipe(8, 32, 0.02)).model


@given(st.integers(1, 3), st.integers(3, 7), st.integers(3, 7), st.integers(1, 3), st.integers(0))
def test_weights_on_pooled_maps_spread_over_the_maps_are_the_same_function(
    pool, height, width, channels, seed
):
    generator = torch.Generator().manual_seed(seed % 2**32)
    maps = torch.randn(4, channels, height, width, generator=generator, dtype=torch.float64)
    pooled = avg_pool2d(maps, pool).flatten(1)
    weight = torch.randn(3, pooled.shape[1], generator=generator, dtype=torch.float64)
    spread = unpooled(weight, (channels, height, width), pool)
    assert spread.shape == (3, channels * height * width)
    torch.testing.assert_close(linear(maps.flatten(1), spread), linear(pooled, weight))


@pytest.mark.parametrize("shape", [(12,), (3, 4)])
def test_features_that_are_no_maps_are_not_pooled(shape):
    weight = torch.randn(2, 12)
    assert torch.equal(unpooled(weight, shape, 2), weight)


def agreement(rules, model, split):
    stem, _ = cut(model, rules.origin.layer)
    with torch.no_grad():
        ruled = rules(stem(split.x)).argmax(1)
    return (ruled == predict(model, split).argmax(1)).double().mean().item()


@pytest.mark.parametrize("layer", [0, 2, 5])
def test_the_rules_give_the_networks_answers(trained, layer):
    rules = fit_rules(trained, layer, TRAIN, RulesRecipe(epochs=8, batch_size=32, lr=0.02))
    assert agreement(rules, trained, TEST) > 0.9
    assert agreement(fit_rules(toy_network(), layer, TRAIN, SHORT), trained, TEST) < 0.8


def test_it_is_the_network_that_is_followed_not_the_labels(trained):
    mistaken = nn.Sequential(*trained[:-1], nn.Linear(12, 3)).eval()
    mistaken[-1].weight.data = trained[-1].weight.data.roll(1, 0)
    mistaken[-1].bias.data = trained[-1].bias.data.roll(1, 0)
    rules = fit_rules(mistaken, 2, TRAIN, RulesRecipe(epochs=8, batch_size=32, lr=0.02))
    assert agreement(rules, mistaken, TEST) > 0.9
    assert agreement(rules, trained, TEST) < 0.1


def test_labels_are_not_looked_at(trained):
    others = Split(TRAIN.x, torch.full_like(TRAIN.y, -7))
    expected = snapshot(fit_rules(trained, 2, TRAIN, SHORT))
    assert same(expected, snapshot(fit_rules(trained, 2, others, SHORT)))


def test_where_the_network_is_linear_its_soft_answers_are_found_again():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    split = Split(torch.randn(200, 1, 2, 2), torch.zeros(200, dtype=torch.int64))
    recipe = RulesRecipe(epochs=40, batch_size=20, lr=0.1, weight_decay=0, shift=0)
    rules = fit_rules(model, 1, split, recipe)
    expected = predict(model, split).softmax(1)
    assert expected.max() < 0.98
    torch.testing.assert_close(rules(split.x.flatten(1)).softmax(1), expected, atol=0.01, rtol=0)


def test_the_seed_decides(trained):
    first, second, third = (snapshot(fit_rules(trained, 2, TRAIN, SHORT, s)) for s in (1, 1, 2))
    assert same(first, second)
    assert not same(first, third)


def test_pool_and_shift_make_other_rules(trained):
    recipes = [RulesRecipe(2, 32, 0.01, pool=p, shift=s) for p in (1, 2) for s in (0, 1)]
    made = [fit_rules(trained, 2, TRAIN, recipe).weight for recipe in recipes]
    assert all(weight.shape == (3, 4 * 6 * 6) for weight in made)
    assert not any(torch.equal(a, b) for i, a in enumerate(made) for b in made[:i])


def test_pooled_rules_weigh_the_pixels_of_a_block_the_same(trained):
    maps = fit_rules(trained, 2, TRAIN, RulesRecipe(1, 32, 0.01, pool=4)).weight.view(3, 4, 6, 6)
    blocks = maps[..., :4, :4].flatten(2)
    assert torch.equal(blocks, blocks[..., :1].expand_as(blocks))
    assert maps[..., 4:, :].abs().max() == maps[..., :, 4:].abs().max() == 0


def test_rules_may_look_at_the_first_maps_alone(trained):
    recipe = RulesRecipe(epochs=8, batch_size=32, lr=0.02, maps=2)
    rules = fit_rules(trained, 2, TRAIN, recipe)
    assert rules.weight.shape == (3, 2 * 6 * 6)
    assert agreement(rules, trained, TEST) > 0.85
    everything = RulesRecipe(2, 32, 0.01, maps=9)  # of four maps
    assert same(snapshot(fit_rules(trained, 2, TRAIN, everything)), snapshot(
        fit_rules(trained, 2, TRAIN, RulesRecipe(2, 32, 0.01))))  # fmt: skip


def test_the_rules_know_where_they_belong(trained):
    rules = fit_rules(trained, 2, TRAIN, SHORT)
    assert rules.origin.layer == 2
    assert rules.origin.feature_shape == (4, 6, 6)
    assert rules.origin.network == fingerprint(trained)
    assert not any(tensor.requires_grad for tensor in rules.state_dict().values())


def test_the_course_network(trained):
    torch.manual_seed(0)
    model = models.build("rules_cnn", (1, 12, 12), 3)
    split = Split(torch.randn(10, 1, 12, 12), torch.zeros(10, dtype=torch.int64))
    rules = fit_rules(model, 2, split, RulesRecipe(epochs=1))
    assert rules.macs == 3 * 32 * 10 * 10


def test_no_rule_fires_before_its_margin_is_set(trained):
    rules = fit_rules(trained, 2, TRAIN, SHORT)
    with torch.no_grad():
        scores = rules(trained[:2](100 * TEST.x))
    assert scores.softmax(1).max() == 1
    assert not rules.fired(scores).any()


def test_the_network_and_the_random_state_stay_as_they_were():
    model = used(toy_network())
    before, images = snapshot(model), TRAIN.x.clone()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit_rules(model, 2, TRAIN, SHORT, seed=9)
    assert torch.equal(torch.rand(3), expected)
    assert same(before, snapshot(model))
    assert torch.equal(TRAIN.x, images)


@pytest.mark.parametrize("layer", [2, 7])
def test_dropout_is_off_in_answers_and_features_whatever_the_mode(layer):
    one, other = toy_network().eval(), toy_network().train()
    rules = fit_rules(one, layer, TRAIN, SHORT)
    assert same(snapshot(rules), snapshot(fit_rules(other, layer, TRAIN, SHORT)))


def test_features_are_made_batch_by_batch(trained):
    sizes = []

    def note(module, _inputs, out):
        if isinstance(module, nn.Conv2d):
            sizes.append(len(out))

    hook = register_module_forward_hook(note)
    fit_rules(trained, 2, TRAIN, SHORT)
    hook.remove()
    assert max(sizes) == 100
    assert sum(sizes) == 300 + 1 + 2 * 300


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"weight_decay": -0.1},
        {"pool": 0},
        {"shift": -1},
    ],
)
def test_recipes_that_cannot_be_followed_are_refused(wrong):
    with pytest.raises(LabError):
        RulesRecipe(**wrong)


def test_shift_and_weight_decay_may_be_zero():
    assert RulesRecipe(shift=0, weight_decay=0.0).shift == 0


@pytest.mark.parametrize(
    ("layer", "recipe", "problem"),
    [
        (2, RulesRecipe(pool=7), "pooling 7 x 7 of 6 x 6 maps"),
        (2, RulesRecipe(shift=8), "shift of"),
        (8, SHORT, "no layer 8"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(layer, recipe, problem):
    with pytest.raises(LabError, match=problem):
        fit_rules(toy_network(), layer, TRAIN, recipe)


def test_no_image_is_too_few():
    with pytest.raises(LabError, match="no image"):
        fit_rules(toy_network(), 2, TRAIN.take(0))
