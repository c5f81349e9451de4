"""Trained networks on disk, found again by all that determines them; never a pickle."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import labsupport
from labsupport.core.tensors import UNREADABLE, read_tensors, write_tensors
from labsupport.data import Splits
from labsupport.models import ModelSpec
from labsupport.training.loop import Trained, fit, seeded
from labsupport.training.recipe import Recipe

DETERMINING = ("data", "models", "training")


def train_or_load(
    spec: ModelSpec,
    splits: Splits[Any],
    recipe: Recipe,
    seed: int,
    folder: Path,
    progress: bool = False,
) -> Trained:
    """The network that `spec`, data, recipe and seed determine: trained once, then read back.

    The key also holds the code of data, models and training, torch's version, the device and
    the number of threads, since each may change the last digits. A file that cannot be read is
    trained anew. `seconds` and `history` are those of the training that took place.
    """
    path = Path(folder) / f"{spec.name}-{key(spec, splits, recipe, seed)}.safetensors"
    return _read(path, spec, splits) or _train(path, spec, splits, recipe, seed, progress)


def key(spec: ModelSpec, splits: Splits[Any], recipe: Recipe, seed: int) -> str:
    """Sixteen hexadecimal digits that change with anything that determines a trained network."""
    determines = {
        "spec": spec.describe(),
        "data": splits.fingerprint,
        "recipe": repr(recipe),
        "seed": seed,
        "code": code_fingerprint(),
        "torch": torch.__version__,
        "device": str(splits.device),
        "threads": torch.get_num_threads(),
    }
    return hashlib.sha256(json.dumps(determines, sort_keys=True).encode()).hexdigest()[:16]


@cache
def code_fingerprint() -> str:
    """A hash of the source of data, models and training."""
    root = Path(labsupport.__file__).parent
    sources = sorted(path for room in DETERMINING for path in (root / room).rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()


def _train(
    path: Path, spec: ModelSpec, splits: Splits[Any], recipe: Recipe, seed: int, progress: bool
) -> Trained:
    with seeded(seed):
        model = spec.build()
    result = fit(model, splits, recipe, seed, progress=progress)
    about: dict[str, Any] = {
        "spec": spec.describe(),
        "recipe": repr(recipe),
        "seed": seed,
        "seconds": result.seconds,
    }
    history = result.history.to_csv(index=False)
    write_tensors(path, result.model.state_dict(), {"about": about, "history": history})
    return result


def _read(path: Path, spec: ModelSpec, splits: Splits[Any]) -> Trained | None:
    if not path.exists():
        return None
    try:
        state, metadata = read_tensors(path)
        about, history = metadata["about"], pd.read_csv(StringIO(metadata["history"]))
        with seeded(0):  # the weights drawn here are replaced; the caller's random state is not
            model = spec.build()
        model.load_state_dict(state)
    except (*UNREADABLE, RuntimeError):
        return None
    return Trained(model.to(splits.device).eval(), history, about["seconds"], about["seed"])
