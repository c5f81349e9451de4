"""What early exit by rules gains on this machine: image by image, and in a large batch."""

from __future__ import annotations

import pytest
import torch

from labsupport.data import load
from labsupport.measure.latency import clock, clock_stream
from labsupport.methods.early_exit import (
    BranchedNetwork,
    Chunked,
    RulesRecipe,
    calibrate,
    fit_rules,
)
from labsupport.models import build
from labsupport.training import Recipe, fit

pytestmark = pytest.mark.benchmark
LAYER = 2  # after the first ReLU
STREAM, BATCH = 200, 1000


@pytest.fixture(scope="module")
def splits():
    return load("mnist5k")


@pytest.fixture(scope="module")
def nets(splits):
    torch.manual_seed(0)
    model = fit(build("rules_cnn", splits.input_shape), splits, Recipe(epochs=2)).model
    rules = fit_rules(model, LAYER, splits.train, RulesRecipe(epochs=4))
    sure = calibrate(rules, model, splits.val, required=0.99)
    return {
        "full": model,
        "full, in chunks": Chunked(model),
        "branched": BranchedNetwork(model, LAYER, sure),
    }


def report(what, clocking, share):
    print(f"\n{what}: {share:.1%} of the images leave early")
    print(clocking.table[["name", "image_ms", "images_fps", "base_ratio_clocked"]].to_string())
    for name in [name for name in clocking.turns if name != "branched"]:
        ratio = clocking.ratio(name, "branched")
        print(f"  {name} / branched {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")


def early(nets, x):
    """Share of the images that leave early."""
    with torch.inference_mode():
        return nets["branched"].exits(x)[1].double().mean().item()


def test_a_stream_of_single_images(nets, splits):
    x = splits.test.x[:STREAM]
    chosen = {name: nets[name] for name in ("full", "branched")}
    clocking = clock_stream(chosen, x)
    report(f"{STREAM} images one by one", clocking, early(nets, x))
    assert clocking.ratio("full", "branched").value > 1


def test_a_large_batch(nets, splits):
    x = splits.test.x[:BATCH]
    clocking = clock(nets, x, rounds=7, calls=1, warmup=1)
    report(f"a batch of {len(x)}", clocking, early(nets, x))
    assert clocking.ratio("full", "branched").value > 1
