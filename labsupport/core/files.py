"""Files that are either whole or absent, and files that grow by whole lines."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from labsupport.core.errors import LabError

REMEDIES = {
    errno.ENOSPC: "free some disk space, then run again with --resume",
    errno.EDQUOT: "your disk quota is used up: free some space, then run again with --resume",
    errno.EROFS: "choose a folder you can write to",
    errno.EACCES: "choose a folder you can write to",
    errno.EPERM: "choose a folder you can write to",
    errno.ENOTDIR: "a file stands where a folder is needed: move it or choose another place",
    errno.EEXIST: "a file stands where a folder is needed: move it or choose another place",
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write `path` into a LabError with a way out."""
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        raise LabError(f"cannot write {path}: {error.strerror}", REMEDIES[error.errno]) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary neighbor of `path`; on success it takes the place of `path` at once.

    On any failure, also a full disk, the temporary file is removed and `path` is as it was.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _unused_neighbor(path)
        mode = _usual_mode(temporary)
        try:
            yield temporary
            temporary.chmod(mode)  # safetensors makes files that only their owner may read
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary neighbor of the folder `path`, which takes its place on success.

    On any failure it is removed and `path` is as it was. A kill leaves the old or the new folder;
    right between the two renames, both of them beside `path`.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, former = _unused_neighbor(path), _unused_neighbor(path)
        temporary.mkdir()
        try:
            yield temporary
            if path.exists():  # Python cannot exchange two folders in one step
                path.rename(former)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if former.exists() and not path.exists():
                former.rename(path)
            shutil.rmtree(former, ignore_errors=True)


def _unused_neighbor(path: Path) -> Path:
    """A name that no other writer has: threads share a process id, and containers reuse them."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")


def _usual_mode(path: Path) -> int:
    """The permissions of new files there; os.umask would change them for all threads to tell."""
    try:
        path.touch()
        return stat.S_IMODE(path.stat().st_mode)
    finally:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as a whole file in UTF-8."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, on the disk when this returns.

    What an earlier stop has torn off is closed by a line feed, so that it spoils no other line.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if file.tell() and not _ends_a_line(file):
                file.write(b"\n")
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's content. Raises OSError for one that cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_hash(paths: Iterable[Path]) -> str:
    """What stands for files, by their content, and for folders, by the files in them.

    Of these only names, sizes and times count, as reading many images would take long.
    Raises OSError for what is not there or cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        known = "\n".join(sorted(_listed(path))) if path.is_dir() else file_hash(path)
        digest.update(known.encode())
    return digest.hexdigest()[:12]


def _listed(folder: Path) -> Iterator[str]:
    """A line for each file below a folder: its path there, its bytes, when it was written."""
    for place, _, names in os.walk(folder, followlinks=True):
        for file in [Path(place, name) for name in names]:
            if file.exists():  # a link may lead nowhere
                of = file.stat()
                yield f"{file.relative_to(folder)} {of.st_size} {of.st_mtime_ns}"


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
