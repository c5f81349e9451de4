"""Descriptions are JSON, the same for equal values, and can be read back."""

import enum
import functools
import json
import math
import operator
import os
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labsupport.core.description import describe, references, restore
from labsupport.core.errors import LabError

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.just("$tuple"), inner)
        | st.frozensets(scalars)
    ),
    max_leaves=12,
)


@dataclass(frozen=True)
class Rate:
    peak: float
    warm_up: int = 0


@dataclass(frozen=True)
class Plan:
    rate: Rate
    act: object = torch.relu
    steps: tuple[int, ...] = ()
    total: int = field(init=False, default=0)

    def __post_init__(self):
        object.__setattr__(self, "total", sum(self.steps))


class Mode(enum.Enum):
    FAST = 1


class Holder:
    @staticmethod
    def inner():
        pass


def outer():
    def inner():
        pass

    return inner


@given(values)
def test_plain_values_come_back_through_json(value):
    text = json.dumps(describe(value), allow_nan=False)
    assert equal(restore(json.loads(text)), value)


def equal(a, b):
    """Equality that knows NaN, and tells 1 from True and 0.0 from -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return repr(a) == repr(b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return a == b or repr(sorted(map(repr, a))) == repr(sorted(map(repr, b)))


OTHERS = [
    Path("a/b"),
    torch.bfloat16,
    torch.channels_last,
    torch.sparse_csr,
    torch.device("cpu"),
    torch.Size((1, 2)),
    slice(1, None, 2),
    ...,
    Rate(0.1),
    Plan(Rate(math.inf, 3), nn.functional.max_pool2d, (1, 2)),
    Mode.FAST,
    nn.BatchNorm2d,
    Holder,
    Holder.inner,
    torch.flatten,
    nn.functional.relu,
    nn.functional.linear,
    operator.add,
    getattr,
    math.floor,
]


@pytest.mark.parametrize("value", OTHERS, ids=range(len(OTHERS)))
def test_other_values_come_back(value):
    again = restore(json.loads(json.dumps(describe(value))))
    assert again == value
    assert type(again) is type(value)


def test_a_partial_function_comes_back():
    norm = restore(describe(functools.partial(nn.BatchNorm2d, eps=0.1)))
    assert norm(3).eps == 0.1


def test_a_partial_of_any_function_has_a_description_and_comes_back_only_if_it_computes():
    described = describe(functools.partial(outer))
    assert described == {"$partial": ["test_description:outer", {"$tuple": []}, {}]}
    with pytest.raises(LabError, match="does not compute"):
        restore(described)


def test_what_is_read_is_readable():
    assert describe(Plan(Rate(0.5), steps=(1,))) == {
        "$dataclass": [
            "test_description:Plan",
            {
                "rate": {"$dataclass": ["test_description:Rate", {"peak": 0.5, "warm_up": 0}]},
                "act": {"$reference": "torch:relu"},
                "steps": {"$tuple": [1]},
            },
        ]
    }


def test_values_that_are_the_same_to_a_reader_have_the_same_description():
    assert describe(np.float64(0.5)) == 0.5
    assert describe(np.int8(3)) == 3
    pairs = {"a": 1, "b": [2]}
    assert describe(OrderedDict(pairs)) == describe(MappingProxyType(pairs)) == pairs
    assert describe({3, 1, 2}) == describe({2, 3, 1})
    assert describe({3: "a", 1: "b"}) == describe({1: "b", 3: "a"})


def test_a_set_has_the_same_description_in_every_process():
    words = "{str(n) for n in range(50)}"
    code = f"from labsupport.core.description import describe; print(describe({words}))"
    fresh = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"}
    run = [sys.executable, "-c", code]
    answer = subprocess.run(run, capture_output=True, check=True, text=True, env=fresh).stdout
    assert answer.strip() == str(describe(eval(words)))


def test_different_values_have_different_descriptions():
    alike = [1, True, 1.5, "1", [1], (1,), {"1": 1}, {1: 1}, None, Rate(1), Rate(1, 1), b"1", {1}]
    alike += [float("nan"), float("inf"), "Infinity", torch.float32, torch.float16, Path("1")]
    assert len({json.dumps(describe(value)) for value in alike}) == len(alike)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (lambda x: x, "a lambda has no name"),
        (outer(), "cannot be found by its name"),
        (functools.partial(print, "x"), "cannot be found|for networks"),
        (np.zeros(3), "has no description"),
        (torch.zeros(3), "has no description"),
        (object(), "has no description"),
        ([1, {"a": object()}], "<object object"),
        (nn.ReLU().forward, "has no description"),
    ],
)
def test_what_cannot_be_described_is_named(value, reason):
    with pytest.raises(LabError, match=reason):
        describe(value)


def test_what_a_notebook_defines_is_refused(monkeypatch):
    monkeypatch.setattr(Rate, "__module__", "__main__")
    with pytest.raises(LabError, match=r"Rate is defined in the notebook.*into a module"):
        describe(Rate(1.0))


@pytest.mark.parametrize(
    "description",
    [
        {"$unknown": 1},
        {"$float": "x"},
        {"$torch": "load"},
        {"$torch": "nothing"},
        {"$dataclass": ["test_description:Rate", {}]},
        {"$dataclass": ["test_description:Rate", {"peak": 1, "other": 2}]},
        {"$dataclass": ["test_description:outer", {}]},
        {"$dataclass": ["subprocess:Popen", {"args": "true"}]},
        {"$dataclass": "test_description:Rate"},
        {"$member": ["test_description:Mode", "SLOW"]},
        {"$member": ["test_description:Rate", "peak"]},
        {"$partial": ["test_description:outer", {"$tuple": []}, {}]},
        {"$partial": ["torch:load", {"$tuple": ["x"]}, {}]},
        {"$reference": "os:system"},
        {"$reference": "builtins:exec"},
        {"$reference": "test_description:nothing"},
        {"$reference": "no colon"},
        {"$slice": []},
        {"$pairs": [[{"$pairs": []}, 1]]},
        {"$device": "moon"},
    ],
    ids=str,
)
def test_what_describe_does_not_write_is_refused(description):
    with pytest.raises(LabError):
        restore(description)


def test_further_types_can_be_described_and_restored():
    special = {torch.Tensor: lambda tensor: {"$tensor": tensor.tolist()}}
    described = describe([torch.arange(2), Rate(1.0)], special)
    assert described[0] == {"$tensor": [0, 1]}
    assert torch.equal(restore(described, {"$tensor": torch.tensor})[0], torch.arange(2))


def test_names_in_a_description_are_found_at_any_depth():
    described = describe([Plan(Rate(1.0)), {"a": functools.partial(nn.Linear, 3)}, Mode.FAST])
    assert sorted(references(described)) == [
        "test_description:Mode",
        "test_description:Plan",
        "test_description:Rate",
        "torch.nn.modules.linear:Linear",
        "torch:relu",
    ]
