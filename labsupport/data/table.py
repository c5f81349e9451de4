"""Images in CSV files: one row per image, first its label, then its pixels."""

from __future__ import annotations

import csv
from math import isqrt
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from labsupport.core.errors import LabError
from labsupport.data.images import InMemory, Raw

ROWS = 4096  # read at a time, so that only the uint8 pixels of a large file are ever held
RAMP = 17  # a first row 0, 1, 2, ... of at least this length is taken for column numbers
LAYOUT = "each row is a label and its pixels, 0 to 255, separated by commas (data/README.md)"
MAX_LABEL = 99_999  # the largest label; more is a sign that columns are mixed up


def read_csv(path: Path) -> Raw:
    """A CSV file, or a folder with train.csv and, as far as there are any, val.csv and test.csv.

    The label is a whole number from 0, the classes are 0 to the largest one in train. Pixels are
    row by row; three times a square of them is a color image, all red, all green, all blue.
    Raises LabError naming file and row for anything else.
    """
    files = {"train": path}
    if path.is_dir():
        files = {part: path / f"{part}.csv" for part in ("train", "val", "test")}
    pools = {
        part: read_file(file) for part, file in files.items() if part == "train" or file.exists()
    }
    classes = tuple(str(label) for label in range(int(pools["train"].labels.max()) + 1))
    return Raw(pools["train"], pools.get("val"), pools.get("test"), classes)


def read_file(file: Path) -> InMemory:
    """All images of one CSV file, with or without a header. Raises LabError naming the row."""
    try:
        skipped = _header_lines(file)
        rows = pd.read_csv(file, header=None, skiprows=skipped, chunksize=ROWS, low_memory=False)
        with rows as frames:
            found = [_labels_and_pixels(file, frame) for frame in frames]
    except (OSError, ValueError, csv.Error) as error:  # also pandas' errors and wrong characters
        raise LabError(f"cannot read {file}: {error}", LAYOUT) from error
    labels, pixels = (torch.cat(parts) for parts in zip(*found, strict=True))
    return InMemory(pixels.reshape(-1, *_image_shape(file, pixels.shape[1])), labels)


def _header_lines(file: Path) -> int:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        first = next((row for row in reader if row), [])
        return reader.line_num if _is_header(first) else 0


def _is_header(row: list[str]) -> bool:
    """Whether a first row names columns: most of its cells are names, or its pixels are numbered.

    Numbered is label, 0, 1, ... or label, 1, 2, ... and also 0, 1, 2, ... alone, which pandas
    writes for columns without names. Any other row is an image: a wrong cell in it is reported,
    where a row taken for a header would be lost without a word.
    """
    names = [cell for cell in row if cell and np.isnan(pd.to_numeric(cell, errors="coerce"))]
    numbered = [str(number) for number in range(len(row))]
    if names == row[:1] and row[1:] in (numbered[:-1], numbered[1:]):
        return True
    return 2 * len(names) > len(row) or (len(row) >= RAMP and row == numbered)


def _labels_and_pixels(file: Path, frame: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """Labels (n,), pixels (n, P). Raises LabError naming the first cell that is neither."""
    numbers = frame.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    largest = np.full(numbers.shape[1], 255)
    largest[0] = MAX_LABEL
    right = (numbers >= 0) & (numbers <= largest) & (numbers == np.floor(numbers))
    if not right.all():
        row, column = np.argwhere(~right)[0]
        cell, what = frame.iat[row, column], f"pixel {column}" if column else "label"
        raise LabError(
            f"{file}, row {frame.index[row] + 1} of the data: {what} is {cell!r}",
            f"a whole number from 0 to {largest[column]} belongs there: {LAYOUT}",
        )
    labels, pixels = numbers[:, 0].astype(np.int64), numbers[:, 1:].astype(np.uint8)
    return torch.from_numpy(labels), torch.from_numpy(pixels)


def _image_shape(file: Path, pixels: int) -> tuple[int, int, int]:
    """(C, H, W) of a square image of so many pixels. Raises LabError if there is none."""
    for channels in (1, 3):
        side = isqrt(pixels // channels)
        if pixels and side * side * channels == pixels:
            return channels, side, side
    raise LabError(f"{file} has {pixels} pixels per row, not a square, nor three times one", LAYOUT)
