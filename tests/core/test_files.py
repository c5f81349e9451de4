import errno
import os
import threading
from pathlib import Path

import pytest
import torch

from labsupport.core.errors import LabError
from labsupport.core.files import (
    append_line,
    atomic_folder,
    atomic_write,
    files_hash,
    write_text,
)
from labsupport.core.tensors import write_tensors


def test_writes_the_whole_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "table.csv"
    write_text(path, "a,b\n")
    assert path.read_text() == "a,b\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ValueError("no")])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, failure):
    path = tmp_path / "table.csv"
    write_text(path, "old")
    with pytest.raises(type(failure)), atomic_write(path) as temporary:
        temporary.write_text("ne")
        raise failure
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_another_and_nothing_is_left_beside_it(tmp_path):
    folder = tmp_path / "new" / "folder"
    for name in ("first", "second"):
        with atomic_folder(folder) as temporary:
            (temporary / name).touch()
            assert not (folder / name).exists()
        assert [path.name for path in folder.iterdir()] == [name]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_cannot_take_its_place_leaves_the_former_one(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").touch()
    rename = Path.rename

    def refuse_the_new(self, target):
        if list(self.glob("added")):
            raise OSError(errno.EACCES, "refused")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(LabError), atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "added").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "kept"]


def test_a_file_is_known_by_its_content(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("0,255\n")
    other.write_text("0,255\n")
    assert files_hash([one]) == files_hash([other])
    times = one.stat().st_mtime_ns
    one.write_text("0,254\n")
    os.utime(one, ns=(times, times))
    assert files_hash([one]) != files_hash([other])


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "cat" / "1.png").write_text("longer"),
        lambda folder: os.utime(folder / "cat" / "1.png", (1, 1)),
        lambda folder: (folder / "cat" / "1.png").rename(folder / "cat" / "2.png"),
        lambda folder: (folder / "cat").rename(folder / "dog"),
        lambda folder: (folder / "cat" / "1.png").unlink(),
    ],
)
def test_a_folder_is_known_by_its_files(tmp_path, change):
    folder = tmp_path / "sets"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.png").write_text("short")
    (folder / "cat" / "nowhere").symlink_to("gone")
    before = files_hash([folder])
    assert files_hash([folder.rename(tmp_path / "moved")]) == before
    change(tmp_path / "moved")
    assert files_hash([tmp_path / "moved"]) != before


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX systems")
def test_a_file_has_the_permissions_that_new_files_have(tmp_path):
    (tmp_path / "usual").touch()
    write_tensors(tmp_path / "net", {"a": torch.zeros(1)}, {})
    assert (tmp_path / "net").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_two_writers_of_one_process_do_not_collide(tmp_path):
    path = tmp_path / "table.csv"
    both_are_writing = threading.Barrier(2)
    seen = []

    def write(text):
        with atomic_write(path) as temporary:
            temporary.write_text(text)
            both_are_writing.wait(timeout=30)
            seen.append(temporary.read_text() == text)

    writers = [threading.Thread(target=write, args=(letter * 1000,)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert seen == [True, True]
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_closed_disk_is_explained(tmp_path, number):
    path = tmp_path / "table.csv"
    with (
        pytest.raises(LabError, match=r"cannot write .*table\.csv"),
        atomic_write(path) as temporary,
    ):
        temporary.write_text("ne")
        raise OSError(number, "the system says no")
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_explained(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(LabError, match="a file stands where a folder is needed"):
        write_text(tmp_path / "runs" / "table.csv", "x")


def test_other_errors_of_the_system_pass_through(tmp_path):
    with pytest.raises(OSError, match="loop"), atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("")
        raise OSError(errno.ELOOP, "loop")


def test_lines_are_added_to_a_file_that_need_not_be_there(tmp_path):
    path = tmp_path / "new" / "lines"
    for line in ("one", "zwei", "três"):
        append_line(path, line)
    assert path.read_text(encoding="utf-8") == "one\nzwei\ntrês\n"


def test_a_torn_line_spoils_no_other(tmp_path):
    path = tmp_path / "lines"
    path.write_text("one\ntw")
    append_line(path, "three")
    assert path.read_text() == "one\ntw\nthree\n"


def test_a_line_that_cannot_be_added_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="cannot write"):
        append_line(tmp_path / "file" / "lines", "one")
