import copy
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from labsupport.core.errors import LabError
from labsupport.methods.surgery import load_pruned, remove_channels, save_pruned
from labsupport.models import ModelSpec

SPEC = ModelSpec("lenet5")
REMOVED = {"0": range(15), "3": range(0, 50, 2), "7": range(400)}


@pytest.fixture
def pruned():
    torch.manual_seed(0)
    return remove_channels(SPEC.build(), SPEC.input_shape, REMOVED).eval()


def test_a_fresh_process_gives_the_same_outputs(pruned, tmp_path):
    save_pruned(pruned, SPEC, tmp_path / "net.safetensors")
    x = torch.randn(3, *SPEC.input_shape)
    save_file({"x": x}, tmp_path / "x.safetensors")
    code = """
import sys
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from labsupport.methods.surgery import load_pruned
folder = Path(sys.argv[1])
net = load_pruned(folder / "net.safetensors")
with torch.inference_mode():
    save_file({"y": net(load_file(folder / "x.safetensors")["x"])}, folder / "y.safetensors")
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    with torch.inference_mode():
        torch.testing.assert_close(load_file(tmp_path / "y.safetensors")["y"], pruned(x))


def test_the_file_holds_the_pruned_weights_alone(pruned, tmp_path):
    path = tmp_path / "net.safetensors"
    save_pruned(pruned, SPEC, path)
    weights = 4 * sum(p.numel() for p in pruned.parameters())
    assert weights < path.stat().st_size < weights + 2000


@pytest.mark.parametrize("content", [b"", b"not a file of tensors", None])
def test_a_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "net.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LabError, match="holds no pruned network"):
        load_pruned(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    for metadata in (None, {"spec": "{}"}, {"spec": "["}):
        save_file({"weight": torch.zeros(2)}, path, metadata=metadata)
        with pytest.raises(LabError, match="holds no pruned network"):
            load_pruned(path)


def test_weights_of_another_shape_are_refused(pruned, tmp_path):
    other = ModelSpec("lenet5", (1, 32, 32))
    save_pruned(pruned, SPEC, tmp_path / "net.safetensors")
    with pytest.raises(LabError):
        save_pruned(pruned, other, tmp_path / "net.safetensors")
    assert load_pruned(tmp_path / "net.safetensors")[0].out_channels == 5


def test_precision_and_the_random_state_are_kept(pruned, tmp_path):
    path = tmp_path / "net.safetensors"
    save_pruned(pruned.double(), SPEC, path)
    before = torch.get_rng_state()
    loaded = load_pruned(path)
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.randn(2, *SPEC.input_shape).double()
    assert torch.equal(loaded(x), pruned(x))


def test_another_network_of_the_same_weights_is_refused(pruned, tmp_path):
    other = copy.deepcopy(pruned)
    other[1] = nn.Tanh()
    with pytest.raises(LabError, match="no lenet5 with fewer channels"):
        save_pruned(other, SPEC, tmp_path / "net.safetensors")
    with pytest.raises(LabError, match="belong to another network"):
        save_pruned(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), SPEC, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []
