"""The cells of a lab that show the same on every machine, compared to the letter."""

import re

import nbformat


def texts_of(cell):
    """What a cell shows as text, streams by name; addresses of objects differ from run to run."""
    found = {}
    for output in cell.outputs:
        data = output.get("data", {output.get("name", output.output_type): output.get("text", "")})
        for kind, text in data.items():
            if not kind.startswith(("image/", "application/")):
                found[kind] = found.get(kind, "") + re.sub(r"0x[0-9a-f]+", "0x", text)
    return found


def compared_cells(path):
    """Source and shown texts of the code cells that repeat to the letter."""
    cells = nbformat.read(path, as_version=4).cells
    ignored = {"nbval-ignore-output", "injected-parameters"}
    compared = [
        c for c in cells if c.cell_type == "code" and not ignored & set(c.metadata.get("tags", []))
    ]
    return [(cell.source, texts_of(cell)) for cell in compared]


def check_cells(executed, committed):
    """Assert that an executed notebook shows what the committed one shows, in these cells."""
    found, expected = compared_cells(executed), compared_cells(committed)
    assert len(found) == len(expected) > 0
    for (source, shown), (_, wanted) in zip(found, expected, strict=True):
        assert shown == wanted, source
