import pytest
import torch
from safetensors.torch import save_file

from labsupport.core.tensors import (
    UNREADABLE,
    hash_tensors,
    raw_bytes,
    read_metadata,
    read_tensors,
    tensors_size,
    write_tensors,
)


def test_what_is_written_is_read(tmp_path):
    tensors = {"a": torch.randn(3, 2).double(), "b": torch.arange(6).view(2, 3).T}
    about = {"shape": [1, 2], "of": {"it": None}, "text": "seed,value\n1,0.5\n"}
    write_tensors(tmp_path / "new" / "file", tensors, about)
    read, known = read_tensors(tmp_path / "new" / "file")
    assert known == about
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


def test_a_file_without_a_checksum_or_with_another_is_unreadable(tmp_path):
    for metadata in (None, {"about": "1"}, {"about": "1", "checksum": "0"}):
        save_file({"a": torch.zeros(1)}, tmp_path / "file", metadata)
        with pytest.raises(UNREADABLE):
            read_tensors(tmp_path / "file")


def test_any_other_byte_is_noticed(tmp_path):
    path = tmp_path / "file"
    write_tensors(path, {"a": torch.arange(3.0), "b": torch.tensor([True])}, {"x": 1})
    whole = path.read_bytes()
    assert len(whole) == tensors_size({"a": torch.arange(3.0), "b": torch.tensor([True])}, {"x": 1})
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UNREADABLE):
            read_tensors(path)


def test_metadata_can_be_read_alone(tmp_path):
    write_tensors(tmp_path / "file", {"a": torch.zeros(1)}, {"x": [1], "y": None})
    assert read_metadata(tmp_path / "file") == {"x": [1], "y": None}
    (tmp_path / "file").write_text("no tensors")
    with pytest.raises(UNREADABLE):
        read_metadata(tmp_path / "file")


def test_tensors_that_share_memory_are_written_each(tmp_path):
    whole = torch.arange(6)
    write_tensors(tmp_path / "file", {"a": whole, "b": whole[2:4]}, {})
    assert read_tensors(tmp_path / "file")[0]["b"].tolist() == [2, 3]


def test_what_is_read_lies_where_vectors_can_be_loaded(tmp_path):
    write_tensors(tmp_path / "file", {"a": torch.zeros(1), "b": torch.zeros(64)}, {"x": "odd"})
    assert read_tensors(tmp_path / "file")[0]["b"].data_ptr() % 64 == 0


def test_the_hash_tells_values_shapes_and_types_apart():
    base = torch.arange(6)
    variants = [base, base.view(2, 3), base.flip(0), base.to(torch.uint8)]
    assert len({hash_tensors([variant]) for variant in variants}) == 4
    assert hash_tensors([base]) == hash_tensors([base.clone()])


def test_a_lone_value_of_a_larger_tensor_has_bytes():
    lone = torch.arange(64.0).view(1, 1, 64)[0, :, 3]
    assert lone.stride() == (64,)
    assert bytes(raw_bytes(lone)) == bytes(raw_bytes(torch.tensor([3.0])))
