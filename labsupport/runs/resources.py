"""What labs need beside this course, looked for before anything runs: data, device, cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from labsupport.core.errors import LabError
from labsupport.runs.parameters import Value
from labsupport.runs.record import LabRecord


def placed(
    values: Mapping[str, Value], runs: Path, data_dir: str | Path | None
) -> dict[str, Value]:
    """A lab's values with `data` as it is found from the folder of a run in `runs`.

    Raises LabError for a csv:PATH or folder:PATH that is not there.
    """
    kind, colon, path = str(values.get("data", "")).partition(":")
    return {**values, "data": f"{kind}:{_placed(path, runs, data_dir)}"} if colon else dict(values)


def check_devices(labs: Mapping[str, LabRecord]) -> None:
    """Raises LabError if one of the labs still to run asks for a device that is not there."""
    asked = {
        name: lab.parameters["device"]
        for name, lab in labs.items()
        if lab.status != "done" and lab.parameters.get("device", "cpu") != "cpu"
    }
    if not asked:
        return
    import torch  # here, because it takes seconds

    if not torch.cuda.is_available():
        lab, device = next(iter(asked.items()))
        raise LabError(
            f"{lab} asks for device={device}, but PyTorch finds no CUDA device here",
            "start a new run with -p device=cpu",
        )


def check_scheduler(address: str | None) -> None:
    """Raises LabError if no Dask scheduler answers at the address; None asks for none."""
    if address:
        from labsupport.sweep import connected  # torch comes along: seconds

        with connected(address):
            pass


def _placed(path: str, runs: Path, data_dir: str | Path | None) -> str:
    """`path` as given if absolute or in the data folder, else relative to the run's folder.

    Labs run in that folder, and an absolute path would put its user's name into the notebooks.
    """
    from labsupport.data.sources import data_folder, resolved  # torch comes along: seconds

    given, found = Path(path).expanduser(), resolved(path, data_folder(data_dir))
    if given.is_absolute() or found != given:
        return path
    return os.path.relpath(found.resolve(), runs.resolve() / "run")
