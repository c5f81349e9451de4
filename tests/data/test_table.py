from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from labsupport.core.errors import LabError
from labsupport.data.images import Framing
from labsupport.data.table import ROWS, read_csv, read_file

HEADERS = {
    "none": lambda n: None,
    "names": lambda n: ["label", *(f"pixel{i}" for i in range(n))],
    "kaggle": lambda n: ["label", *(f"{i}x1" for i in range(n))],
    "label and numbers": lambda n: ["label", *map(str, range(n))],
    "label and numbers from 1": lambda n: ["label", *map(str, range(1, n + 1))],
    "same names": lambda n: ["label", *["p"] * n],
}


def write(file, table, header=None, ending="\n", bom=False):
    with file.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as lines:
        writer = csv.writer(lines, lineterminator=ending)
        if header:
            writer.writerow(header)
        writer.writerows(np.asarray(table).tolist())
    return file


tables = st.tuples(st.integers(1, 8), st.sampled_from([1, 3]), st.integers(1, 4)).flatmap(
    lambda shape: arrays.arrays(
        np.uint8, (shape[0], 1 + shape[1] * shape[2] ** 2), elements=st.integers(0, 255)
    )
)


@given(tables, st.sampled_from(sorted(HEADERS)), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_every_row_that_is_written_is_read(tmp_path_factory, table, header, ending, bom):
    file = tmp_path_factory.mktemp("csv") / "set.csv"
    write(file, table, HEADERS[header](table.shape[1] - 1), ending, bom)
    pool = read_file(file)
    assert torch.equal(pool.labels, torch.from_numpy(table[:, 0]).long())
    assert torch.equal(pool.pixels.flatten(1), torch.from_numpy(table[:, 1:]))


@given(st.data(), st.integers(2, 4), st.integers(1, 3), st.sampled_from(["oops", "1o", "", "-"]))
def test_a_wrong_cell_is_named_in_every_row_the_first_too(tmp_path_factory, data, side, rows, cell):
    table = np.full((rows, 1 + side**2), 7).astype(object)
    row, column = (data.draw(st.integers(0, length - 1)) for length in table.shape)
    table[row, column] = cell
    file = write(tmp_path_factory.mktemp("csv") / "set.csv", table)
    what = f"pixel {column}" if column else "label"
    with pytest.raises(LabError, match=f"row {row + 1} of the data: {what} is"):
        read_file(file)


@pytest.mark.parametrize("rows", [ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 5])
@pytest.mark.parametrize("header", ["none", "names"])
def test_no_row_is_lost_between_blocks(tmp_path, rows, header):
    table = np.arange(2 * rows).reshape(rows, 2) % 200
    pool = read_file(write(tmp_path / "set.csv", table, HEADERS[header](1)))
    assert pool.labels.tolist() == table[:, 0].tolist()
    assert pool.pixels.flatten().tolist() == table[:, 1].tolist()


@pytest.mark.parametrize("side", [4, 8, 28])
def test_column_numbers_that_pandas_writes_are_a_header(tmp_path, side):
    table = np.random.default_rng(0).integers(0, 256, (3, side * side + 1))
    pd.DataFrame(table).to_csv(tmp_path / "set.csv", index=False)
    assert len(read_file(tmp_path / "set.csv").labels) == 3


def test_color_is_read_plane_by_plane(tmp_path):
    table = [[0, *[10] * 4, *[20] * 4, *[30] * 4]]
    pool = read_file(write(tmp_path / "set.csv", table))
    assert pool.pixels[0].float().mean((1, 2)).tolist() == [10, 20, 30]


def test_whole_numbers_written_with_a_point_and_quotes_are_read(tmp_path):
    (tmp_path / "set.csv").write_text('"3","255.0","0.0","1","2"\n')
    pool = read_file(tmp_path / "set.csv")
    assert (int(pool.labels[0]), pool.pixels.flatten().tolist()) == (3, [255, 0, 1, 2])


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("1,2,3,4,256", "row 2 of the data: pixel 4 is .*256"),
        ("1,2,3,4,-1", "row 2 of the data: pixel 4 is .*-1"),
        ("1,2,3,4,0.5", "row 2 of the data: pixel 4 is .*0.5"),
        ("1,2,3,4,", "row 2 of the data: pixel 4 is .*nan"),
        ("1,2,3,4", "row 2 of the data: pixel 4 is .*nan"),
        ("1,2,x,4,5", "row 2 of the data: pixel 2 is 'x'"),
        ("cat,2,3,4,5", "row 2 of the data: label is 'cat'"),
        ("-1,2,3,4,5", "row 2 of the data: label is .*-1"),
        ("1.5,2,3,4,5", "row 2 of the data: label is .*1.5"),
        ("1,2,3,4,5,6", "line [23]"),
    ],
)
@pytest.mark.parametrize("header", ["", "label,a,b,c,d\n"])
def test_a_wrong_row_is_named(tmp_path, row, problem, header):
    (tmp_path / "set.csv").write_text(f"{header}0,1,2,3,4\n{row}\n0,1,2,3,4\n")
    with pytest.raises(LabError, match=problem):
        read_file(tmp_path / "set.csv")


def test_the_row_is_named_in_later_blocks_too(tmp_path):
    table = np.zeros((ROWS + 10, 2), dtype=int)
    table[ROWS + 4, 1] = 999
    with pytest.raises(LabError, match=f"row {ROWS + 5} of the data: pixel 1 is .*999"):
        read_file(write(tmp_path / "set.csv", table))


@pytest.mark.parametrize("pixels", [0, 2, 5, 783])
def test_pixels_that_make_no_square_are_refused(tmp_path, pixels):
    file = write(tmp_path / "set.csv", np.zeros((2, pixels + 1), dtype=int))
    with pytest.raises(LabError, match=f"{pixels} pixels per row, not a square"):
        read_file(file)


@pytest.mark.parametrize("content", [b"", b"label,a\n", b"\n\n", b"\xff\xfe\x00\x01"])
def test_a_file_without_rows_or_text_is_refused(tmp_path, content):
    (tmp_path / "set.csv").write_bytes(content)
    with pytest.raises(LabError, match=r"cannot read .*set\.csv"):
        read_file(tmp_path / "set.csv")


def test_a_folder_gives_each_part_its_file(tmp_path):
    for part, rows in (("train", 5), ("test", 3), ("val", 2)):
        write(tmp_path / f"{part}.csv", [[row % 2, *[row] * 4] for row in range(rows)])
    raw = read_csv(tmp_path)
    assert [len(pool.labels) for pool in (raw.train, raw.val, raw.test)] == [5, 2, 3]
    assert raw.classes == ("0", "1")
    assert raw.train.shape(Framing()) == (1, 2, 2)


def test_a_folder_needs_train_and_labels_that_train_has(tmp_path):
    write(tmp_path / "test.csv", [[7, 1]])
    with pytest.raises(LabError, match=r"train\.csv"):
        read_csv(tmp_path)
    write(tmp_path / "train.csv", [[0, 1], [1, 1]])
    with pytest.raises(LabError, match="label 7 of image 1 in the test part is out of range"):
        read_csv(tmp_path)
