import copy
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_rules import rules_by_chance, toy_network
from safetensors import safe_open
from safetensors.torch import save_file

from labsupport.core.errors import LabError
from labsupport.methods.early_exit import NEVER, Calibration, Rules, load_rules
from labsupport.methods.early_exit.rules import LEAST, Origin, confidences

ORIGIN = Origin(2, (1, 2, 2), "0123456789abcdef")


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def rules():
    torch.manual_seed(0)
    made = Rules(torch.randn(3, 4), torch.randn(3), ORIGIN)
    return made.with_margins(tensor(LEAST, 0.8, NEVER))


def identity(*margins):
    """Rules whose scores are the features themselves."""
    n = len(margins)
    made = Rules(torch.eye(n, dtype=torch.float64), tensor(*[0] * n), Origin(0, (n,), ""))
    return made.with_margins(tensor(*margins))


def test_the_scores_are_one_product(rules):
    features = torch.randn(5, 1, 2, 2)
    expected = [
        [float(w @ f.view(-1) + b) for w, b in zip(rules.weight, rules.bias, strict=True)]
        for f in features
    ]
    torch.testing.assert_close(rules(features), torch.tensor(expected))
    assert rules.macs == 12


def test_confidences_tell_nearly_sure_from_sure():
    confidence = confidences(torch.tensor([[0.0, 30.0]]))
    assert confidence.dtype == torch.float64
    assert 0 < 1 - confidence[0, 1] < 1e-12


SCORE = st.one_of(st.floats(-50, 50), st.sampled_from([0.0, 1e-20, 1.0, 2.0, -800.0]))
MARGIN = st.sampled_from([LEAST, 0.6, 0.9, 1.0, NEVER])


@given(st.lists(SCORE, min_size=3, max_size=3), st.lists(MARGIN, min_size=3, max_size=3))
def test_one_rule_at_most_fires_and_it_is_the_highest_scores(scores, margins):
    scores = tensor(scores)
    fired = [bool(identity(*margins).only(c).fired(scores)) for c in range(3)]
    assert sum(fired) <= 1
    assert bool(identity(*margins).fired(scores)) == any(fired)
    for c in range(3):
        sure = bool(scores.softmax(1)[0, c] >= margins[c])
        assert fired[c] == (sure and int(scores.argmax()) == c)


def test_of_two_classes_that_are_equally_sure_none_is_sure_enough():
    scores = tensor([0.0, 0.0], [1e-20, 0.0], [0.0, 1e-15])
    assert confidences(scores)[:2].tolist() == [[0.5, 0.5]] * 2
    assert identity(LEAST, LEAST).fired(scores).tolist() == [False, False, True]


def test_a_rule_fires_at_its_margin_and_not_below():
    scores = tensor([1.0, 0.0])
    margin = confidences(scores)[0, 0].item()
    assert identity(margin, NEVER).fired(scores).item()
    assert not identity(margin + 1e-15, NEVER).fired(scores).item()


def test_new_rules_never_fire():
    rules = Rules(torch.eye(2), torch.zeros(2), Origin(0, (2,), ""))
    sure = torch.tensor([[1e30, -1e30], [0.0, 1e4]])
    assert confidences(sure).max() == 1
    assert not rules.fired(sure).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_rule_fires_on_features_that_are_no_numbers(bad):
    rules = identity(LEAST, LEAST, LEAST)
    scores = rules(tensor([9.0, 0.0, 0.0], [9.0, bad, 0.0], [bad, bad, bad]))
    assert rules.fired(scores).tolist() == [True, False, False]


def test_only_some_classes(rules):
    assert rules.only(1).margins.tolist() == [NEVER, 0.8, NEVER]
    assert rules.only(0, 2).margins.tolist() == [LEAST, NEVER, NEVER]
    assert rules.margins.tolist() == [LEAST, 0.8, NEVER]
    for classes in [(), (3,), (-1,), (0, 7)]:
        with pytest.raises(LabError, match="choose from 0 to 2"):
            rules.only(*classes)


@pytest.mark.parametrize(
    "margins",
    [
        (0.5, 0.9, 0.9),
        (0.1, 0.9, 0.9),
        (0.9, float("nan"), 0.9),
        (0.9, 0.9),
        (0.9,) * 4,
        (-NEVER, 0.9, 0.9),
    ],
)
def test_margins_that_cannot_be_are_refused(rules, margins):
    with pytest.raises(LabError, match="one per class, each above"):
        rules.with_margins(tensor(*margins))


def test_other_margins_are_other_rules_and_belong_to_them_alone(rules):
    margins = tensor(0.6, 0.7, 0.9)
    other = rules.with_margins(margins)
    margins.zero_()
    assert rules.margins.tolist() == [LEAST, 0.8, NEVER]
    assert other.margins.tolist() == [0.6, 0.7, 0.9]
    assert torch.equal(other.weight, rules.weight)
    assert other.origin == rules.origin


@pytest.mark.parametrize("shape", [(1, 2, 3), (4,), (2, 2), ()])
def test_features_of_another_shape_are_refused(rules, shape):
    with pytest.raises(LabError, match="image"):
        rules(torch.zeros(5, *shape))


def test_weights_that_do_not_fit_are_refused():
    for weight in (torch.zeros(2, 4), torch.zeros(3, 5), torch.zeros(4, 3), torch.zeros(12)):
        with pytest.raises(LabError, match="one row of weights per class"):
            Rules(weight, torch.zeros(3), ORIGIN)


def test_the_network_they_belong_to():
    model = toy_network()
    rules = rules_by_chance(model, 2)
    rules.check_network(copy.deepcopy(model).train())
    model[0].bias.data[0] += 1e-3
    with pytest.raises(LabError, match="another network"):
        rules.check_network(model)


def test_saved_and_loaded_rules_are_the_same_to_the_bit(rules, tmp_path):
    path = tmp_path / "new" / "rules.safetensors"
    rules.save(path)
    loaded = load_rules(path)
    assert loaded.origin == rules.origin
    assert loaded.calibration is None
    state, state_loaded = rules.state_dict(), loaded.state_dict()
    assert state.keys() == state_loaded.keys()
    for name, values in state.items():
        assert state_loaded[name].dtype == values.dtype
        assert torch.equal(state_loaded[name], values)
    assert [file.name for file in path.parent.iterdir()] == ["rules.safetensors"]


CALIBRATION = Calibration(0.999, 500, 9)


def test_rules_remember_how_their_margins_came_about(rules, tmp_path):
    sure = rules.with_margins(tensor(0.6, 0.7, NEVER), CALIBRATION)
    sure.save(tmp_path / "r")
    assert load_rules(tmp_path / "r").calibration == CALIBRATION
    assert sure.only(1).calibration == CALIBRATION
    assert sure.with_margins(tensor(0.6, 0.7, 0.8)).calibration is None  # set by hand since
    assert rules.calibration is None


def test_rules_print_where_they_belong_and_how_sure_they_are(rules):
    assert "layer=2" in repr(rules)
    assert "not calibrated" in repr(rules)
    sure = rules.with_margins(rules.margins, CALIBRATION)
    assert "required=0.999, images=500, copies=9" in repr(sure)


@pytest.mark.parametrize(
    "wrong", [{"required": 0.0}, {"required": 1.1}, {"images": 0}, {"copies": 0}]
)
def test_calibrations_that_cannot_be_are_refused(wrong):
    with pytest.raises(LabError, match="cannot be"):
        Calibration(**{"required": 0.9, "images": 5, **wrong})


def test_the_file_says_where_its_rules_belong(rules, tmp_path):
    rules.save(tmp_path / "r")
    with safe_open(tmp_path / "r", framework="pt") as file:
        about = json.loads(file.metadata()["rules"])
    assert about == {"layer": 2, "feature_shape": [1, 2, 2], "network": "0123456789abcdef"}


ABOUT = {"layer": 2, "feature_shape": [1, 2, 2], "network": "f"}


def parts():
    margins = torch.full((3,), 0.9, dtype=torch.float64)
    return {"weight": torch.zeros(3, 4), "bias": torch.zeros(3), "margins": margins}


def test_what_is_written_by_hand_is_read(tmp_path):
    save_file(parts(), tmp_path / "r", {"rules": json.dumps(ABOUT)})
    assert load_rules(tmp_path / "r").margins.tolist() == [0.9] * 3


@pytest.mark.parametrize(
    "changed",
    [
        {"weight": torch.zeros(3, 5)},
        {"weight": torch.zeros(12)},
        {"bias": torch.zeros(2)},
        {"bias": torch.tensor(0.0)},
        {"bias": torch.zeros(3, 1)},
        {"margins": torch.zeros(3)},
        {"margins": torch.full((2,), 0.9)},
        {"margins": torch.full((3,), float("nan"))},
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path, changed):
    save_file(parts() | changed, tmp_path / "r", {"rules": json.dumps(ABOUT)})
    with pytest.raises(LabError):
        load_rules(tmp_path / "r")


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"other": "x"},
        {"rules": "no json"},
        {"rules": "[]"},
        {"rules": json.dumps({"layer": 2, "network": "f"})},
        {"rules": json.dumps(ABOUT | {"layer": "two"})},
        {"rules": json.dumps(ABOUT | {"feature_shape": 4})},
        {"rules": json.dumps(ABOUT | {"feature_shape": ["a", "b"]})},
        {"rules": json.dumps(ABOUT), "calibration": "no json"},
        {"rules": json.dumps(ABOUT), "calibration": '{"required": 2, "images": 5, "shift": 0}'},
        {"rules": json.dumps(ABOUT), "calibration": '{"required": 0.9}'},
    ],
)
def test_a_file_that_does_not_say_where_it_belongs_is_refused(tmp_path, metadata):
    save_file(parts(), tmp_path / "r", metadata)
    with pytest.raises(LabError):
        load_rules(tmp_path / "r")


def test_other_files_are_refused(rules, tmp_path):
    save_file({"weight": torch.zeros(3, 4)}, tmp_path / "part", {"rules": json.dumps(ABOUT)})
    (tmp_path / "text").write_text("no rules here")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    rules.save(tmp_path / "whole")
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-8])
    for name in ("part", "text", "empty", "folder", "cut", "missing"):
        with pytest.raises(LabError, match=f"{name} holds no rules.*fit the rules again"):
            load_rules(tmp_path / name)
