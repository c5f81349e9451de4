"""Networks on disk, found again by all that determines them: trained ones, and derived ones."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import pandas as pd
import torch
from torch import Tensor, nn

from labsupport.core.description import Describe, Json, describe, references
from labsupport.core.errors import LabError
from labsupport.core.randomness import seeded
from labsupport.core.tensors import raw_bytes
from labsupport.data import Splits
from labsupport.data.streaming import StreamedSplit
from labsupport.models import ModelSpec
from labsupport.network.calls import device_of
from labsupport.network.fingerprint import fingerprint
from labsupport.network.storage import check_storable, load, read_about, save
from labsupport.network.structure import class_name
from labsupport.training.loop import AfterStep, Score, Trained, fit
from labsupport.training.objectives import Objective
from labsupport.training.optimizers import Grouping
from labsupport.training.recipe import Recipe
from labsupport.training.snapshots import Snapshots
from labsupport.training.sources import code_fingerprint

# Variables that keep libraries from using some of the processor's instructions.
INSTRUCTION_SETS = ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY")

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Derived(Generic[Network]):
    """A network that was made from others, in eval mode, and the seconds that making it took."""

    network: Network
    seconds: float


def fit_or_load(
    model: nn.Module,
    splits: Splits[Any],
    recipe: Recipe,
    seed: int,
    folder: Path,
    *,
    objective: Objective | None = None,
    groups: Grouping | None = None,
    after_step: AfterStep | None = None,
    score: Score | None = None,
    progress: bool = False,
    name: str | None = None,
) -> Trained:
    """What `fit` gives, trained once and then read back from `folder`.

    The key changes with the given network, the images and what stands beside them, the recipe, the
    seed, everything else that `fit` is given, the code of all that, torch's version, the device,
    the number of threads and the processor's instructions, since each may change the last digits. A
    file that cannot be read is trained anew. `seconds` and `history` are those of the training that
    took place. The file's name begins with `name`, by default the network's class. Snapshots are
    several networks, for `derive` with `snapshots`. Raises LabError for what has no description or
    cannot be saved, before anything is trained.
    """
    check_storable(model)
    if isinstance(after_step, Snapshots):
        problem = "snapshots of a training are several networks"
        raise LabError(problem, "use derive(folder, snapshots, model, splits=..., ...)")
    options: dict[str, Any] = {"objective": objective, "groups": groups}
    options |= {"after_step": after_step, "score": score}
    key = _key(
        {"network": model, "train": splits.train, "val": splits.val, "data": splits.fingerprint}
        | {"recipe": recipe, "seed": seed, "make": fit, **options},
        splits.device,
    )
    path = Path(folder) / f"{name or type(model).__name__}-{key}.safetensors"
    kept = _read(path, splits.device)
    if kept:
        model, about = kept
        return Trained(model, pd.DataFrame(about["history"]), about["seconds"], about["seed"])
    trained = fit(model, splits, recipe, seed, progress=progress, **options)
    about = {"recipe": recipe, "seed": seed, "seconds": trained.seconds}
    save(trained.model, path, about | {"history": trained.history.to_dict("list")})
    return trained


def train_or_load(
    spec: ModelSpec,
    splits: Splits[Any],
    recipe: Recipe,
    seed: int,
    folder: Path,
    progress: bool = False,
) -> Trained:
    """`fit_or_load` of the network that `spec` builds from `seed`."""
    with seeded(seed):
        model = spec.build()
    return fit_or_load(model, splits, recipe, seed, folder, progress=progress, name=spec.name)


def derive(
    folder: Path, make: Callable[..., Network], *parents: nn.Module, **arguments: object
) -> Derived[Network]:
    """The network that `make(*parents, **arguments)` gives, made once and then read back.

    `make` is a function of a module, such as `early_exit.fit_rules`; several networks go into an
    nn.ModuleList. The key changes with the parents, the arguments (images by their values), the
    code of all that, torch's version, the device, the number of threads and the processor's
    instructions. `make` runs from the random state of seed 0. A file that cannot be read is made
    anew; `seconds` are those of the making that took place. Raises LabError for what has no
    description or cannot be saved.
    """
    if not hasattr(make, "__name__"):
        problem = f"a {type(make).__name__} has no name to call the file by"
        raise LabError(problem, "give a function, and its arguments to derive by name")
    device = device_of(parents[0]) if parents else torch.device("cpu")
    key = _key({"make": make, "parents": parents, "arguments": arguments}, device)
    path = Path(folder) / f"{make.__name__}-{key}.safetensors"
    kept = _read(path, device) or _make(path, device, lambda: make(*parents, **arguments))
    return Derived(cast(Network, kept[0]), kept[1]["seconds"])


def _make(
    path: Path, device: torch.device, make: Callable[[], object]
) -> tuple[nn.Module, dict[str, Any]]:
    started = time.perf_counter()
    with seeded(0):
        network = make()
    if not isinstance(network, nn.Module):
        problem = f"a {type(network).__name__} cannot be kept"
        raise LabError(problem, "let the function return a network or an nn.ModuleList")
    save(network, path, {"seconds": time.perf_counter() - started})
    return load(path, device), read_about(path)


def _read(path: Path, device: torch.device) -> tuple[nn.Module, dict[str, Any]] | None:
    try:
        return load(path, device), read_about(path)
    except LabError:
        return None


def _key(determines: Mapping[str, object], device: torch.device) -> str:
    """Sixteen hexadecimal digits that change with anything that determines a network."""
    special: dict[type, Describe] = {}
    special |= {nn.Module: _network, Tensor: _values, StreamedSplit: _streamed}
    given = describe(determines, special)
    modules = {name.partition(":")[0] for name in references(given)}
    surroundings = {
        "code": code_fingerprint(modules),
        "torch": torch.__version__,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "allowed": {name: os.environ.get(name) for name in INSTRUCTION_SETS},
    }
    text = json.dumps([given, surroundings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _network(network: nn.Module) -> Json:
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    # Training wakes a network that is in eval mode as a whole: then its parts make no difference.
    in_eval_mode = [name for name, module in network.named_modules() if not module.training]
    classes = sorted({class_name(module) for module in network.modules()})
    return {
        "fingerprint": fingerprint(network),
        "frozen": frozen,
        "in_eval_mode": in_eval_mode if network.training else [],
        "classes": [{"$reference": name} for name in classes],
    }


def _values(tensor: Tensor) -> Json:
    content = hashlib.sha256(raw_bytes(tensor)).hexdigest()
    return [str(tensor.dtype), list(tensor.shape), content]


def _streamed(part: StreamedSplit) -> Json:
    """Which images of a set: the set's own fingerprint stands for their pixels."""
    return [_values(part.subset.rows), _values(part.subset.labels)]
