"""What labs need from outside, looked for before anything runs: data, device, cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from labsupport.core.errors import LabError
from labsupport.runs.record import LabRecord, Value


def relative_data(
    values: Mapping[str, Value], runs: Path, data_dir: str | Path | None
) -> dict[str, Value]:
    """A lab's values with the path in `data` as the folder of a run in `runs` sees it.

    As given if it is absolute or in the data folder, else relative to the run's folder: labs run
    there, and an absolute path would put its user's name into the notebooks.
    Raises LabError for a csv:PATH or folder:PATH that is not there.
    """
    kind, colon, path = str(values.get("data", "")).partition(":")
    if not colon:
        return dict(values)
    from labsupport.data.sources import data_folder, find_path  # torch comes along: seconds

    given, found = Path(path).expanduser(), find_path(path, data_folder(data_dir))
    if not given.is_absolute() and found == given:
        path = os.path.relpath(found.resolve(), runs.resolve() / "run")
    return {**values, "data": f"{kind}:{path}"}


def check_devices(labs: Mapping[str, LabRecord]) -> None:
    """Raises LabError if one of the labs still to run asks for a device that is not there."""
    for name, lab in labs.items():
        device = lab.parameters.get("device", "cpu")
        if device == "cpu" or lab.status == "done":
            continue
        import torch  # here, because it takes seconds

        if not torch.cuda.is_available():
            problem = f"{name} asks for device={device}, but PyTorch finds no CUDA device here"
            raise LabError(problem, "start a new run with -p device=cpu")


def check_scheduler(address: str | None) -> None:
    """Raises LabError if no Dask scheduler answers at the address; None asks for none."""
    if address:
        from labsupport.sweep import connected  # torch comes along: seconds

        with connected(address):
            pass
