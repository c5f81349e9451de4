import pytest
import torch
from safetensors.torch import save_file

from labsupport.core.tensors import UNREADABLE, read_tensors, write_tensors


def test_what_is_written_is_read(tmp_path):
    tensors = {"a": torch.randn(3, 2).double(), "b": torch.arange(6).view(2, 3).T}
    about = {"shape": [1, 2], "of": {"it": None}, "text": "seed,value\n1,0.5\n"}
    write_tensors(tmp_path / "new" / "file", tensors, about)
    read, told = read_tensors(tmp_path / "new" / "file")
    assert told == about
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype


def test_a_value_that_is_no_json_leaves_no_file(tmp_path):
    with pytest.raises(TypeError):
        write_tensors(tmp_path / "file", {"a": torch.zeros(1)}, {"x": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"no tensors", b"\xff" * 40])
def test_other_files_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(UNREADABLE):
        read_tensors(tmp_path / "file")


def test_a_file_without_metadata_tells_nothing_and_one_of_other_metadata_is_unreadable(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "file")
    assert read_tensors(tmp_path / "file")[1] == {}
    save_file({"a": torch.zeros(1)}, tmp_path / "file", {"about": "no JSON"})
    with pytest.raises(UNREADABLE):
        read_tensors(tmp_path / "file")
