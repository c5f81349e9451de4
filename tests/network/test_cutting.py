import copy
import weakref

import pytest
import torch
from made_rules import Doubled, Named, same, snapshot, toy_images, toy_network, used
from torch import nn

from labsupport import models
from labsupport.core.errors import LabError
from labsupport.methods.early_exit import collect, cut
from labsupport.network.cutting import fingerprint


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


@pytest.mark.parametrize("other", [nn.Linear(2, 2), Doubled(nn.Linear(2, 2), nn.Linear(2, 2))])
def test_what_does_not_run_its_layers_in_a_row_is_refused(other):
    with pytest.raises(LabError, match="no layers to cut between"):
        cut(other, 0)


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


def test_equal_networks_have_the_same_fingerprint_in_any_mode(model):
    mark = fingerprint(model)
    assert len(mark) == 16
    assert int(mark, 16) >= 0
    assert mark == fingerprint(toy_network()) == fingerprint(copy.deepcopy(model))
    assert mark == fingerprint(model.eval()) == fingerprint(model.train())
    assert mark == fingerprint(model.to(memory_format=torch.channels_last))


@pytest.mark.parametrize("name", list(toy_network().state_dict()))
def test_any_changed_weight_changes_the_fingerprint(model, name):
    mark = fingerprint(model)
    value = model.state_dict()[name].view(-1)
    value[-1] = torch.nextafter(value[-1], torch.tensor(9.0))
    assert fingerprint(model) != mark


def test_what_is_no_weight_changes_the_fingerprint_too(model):
    marks = {fingerprint(model), fingerprint(copy.deepcopy(model).double())}
    model[0].stride = (2, 2)
    marks.add(fingerprint(model))
    model[0].stride, model[6].p = (1, 1), 0.1
    marks.add(fingerprint(model))
    assert len(marks) == 4


def test_running_statistics_count():
    model = nn.Sequential(nn.BatchNorm1d(2))
    mark = fingerprint(model)
    model(torch.randn(4, 2))
    assert fingerprint(model) != mark
