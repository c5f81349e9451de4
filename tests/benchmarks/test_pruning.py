"""What removed filters gain on this machine, in torch and under onnxruntime; a mask beside them."""

from __future__ import annotations

import pytest
import torch

from labsupport.measure.latency import clock
from labsupport.methods import pruning, surgery
from labsupport.models import build
from labsupport.runtimes.onnx import exported

pytestmark = pytest.mark.benchmark
SHAPE = (1, 28, 28)
WIDTHS = {"headline": {"0": 4, "2": 4, "5": 32}, "extreme": {"0": 2, "2": 2, "5": 32}}


@pytest.fixture(scope="module")
def nets():
    """Weights do not matter to the clock, so none of them is trained."""
    base = build("pruning_cnn", SHAPE).eval()
    small = {name: surgery.shrink(base, SHAPE, widths) for name, widths in WIDTHS.items()}
    gone = {layer: range(width, 16) for layer, width in (("0", 4), ("2", 4))}
    masked = surgery.mask_channels(base, SHAPE, gone)
    zeros = pruning.without_masks(pruning.magnitude(base, 0.99))
    return {"base": base, "masked": masked, "zeros, dense": zeros, **small}


def report(runtime, clocking):
    print(f"\n{runtime}")
    print(clocking.table[["name", "image_ms", "images_fps", "base_ratio_clocked"]].to_string())
    for name in [name for name in clocking.turns if name != "base"]:
        ratio = clocking.ratio("base", name)
        print(f"  base / {name} {ratio.value:.1f} [{ratio.low:.1f}, {ratio.high:.1f}]")


def test_one_image_in_torch(nets):
    clocking = clock(nets, torch.randn(1, *SHAPE), rounds=20)
    report("torch", clocking)
    assert clocking.ratio("base", "extreme").value > clocking.ratio("base", "masked").value


def test_one_image_under_onnxruntime(nets, tmp_path):
    outside = exported({name: nets[name] for name in ("base", *WIDTHS)}, SHAPE, tmp_path)
    clocking = clock(outside, torch.randn(1, *SHAPE), rounds=20)
    report("onnxruntime", clocking)
    assert clocking.ratio("base", "extreme").value > 1
