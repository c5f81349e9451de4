"""Work on its way to other processes, to whom networks and images go in files."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError, summarize
from labsupport.core.tensors import read_tensors, write_tensors
from labsupport.data import Split, Splits
from labsupport.network.storage import load, read_about, save

PARTS = ("train", "val", "test")
UNSENDABLE = (pickle.PicklingError, AttributeError, RuntimeError, TypeError)  # by pickle.dumps
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Work(Protocol[Result_co]):
    """What leaves its result in the cache in a folder, made from networks and images."""

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The networks that it starts from."""

    @property
    def splits(self) -> Splits[Any]:
        """The images."""

    def using(self, networks: tuple[nn.Module, ...], splits: Splits[Any]) -> Work[Result_co]:
        """The same work with other networks and images."""

    def run(self, folder: Path) -> Result_co:
        """The result, read back from the folder if it is there."""


@dataclass(frozen=True)
class Sent(Generic[Result_co]):
    """Work without its networks, which are in a file as masked ones cannot be pickled.

    Its images are in another, for their size.
    """

    work: Work[Result_co]
    networks: Path
    images: Path | None

    def __call__(self, folder: Path) -> Result_co:
        """The result of the work, with all that it needs read back."""
        networks = _networks(self.networks, self.work.splits.device)
        splits = _with_images(self.work.splits, self.images) if self.images else self.work.splits
        return self.work.using(networks, splits).run(folder)


def sent(works: Sequence[Work[Result]], place: Path) -> list[Sent[Result]]:
    """Some work with its networks in files, and images that several share in one.

    Raises LabError for work that cannot be pickled without them.
    """
    images: dict[int, tuple[Splits[Any], Path | None]] = {}
    on_the_way = []
    for number, work in enumerate(works):
        if id(work.splits) not in images:
            images[id(work.splits)] = _without_images(work.splits, place / f"images-{number}")
        splits, path = images[id(work.splits)]
        _write_networks(work.networks, networks := place / f"networks-{number}")
        on_the_way.append(Sent(work.using((nn.Identity(),), splits), networks, path))
        _check_sendable(on_the_way[-1])
    return on_the_way


def _check_sendable(work: Sent[Any]) -> None:
    """By a pickle that is thrown away, as each kind of executor would fail in a way of its own."""
    try:
        pickle.dumps(work)
    except UNSENDABLE as error:
        problem = f"a {type(work.work).__name__} cannot be sent to a worker ({summarize(error)})"
        remedy = "train without workers, or give a teacher without masks, and functions of a module"
        raise LabError(problem, remedy) from None


def _write_networks(networks: tuple[nn.Module, ...], path: Path) -> None:
    """The networks in one file, with each module's mode: one in eval mode may be so on purpose."""
    together = nn.ModuleList(networks)
    modes = {name: module.training for name, module in together.named_modules()}
    save(together, path, {"modes": modes})


def _networks(path: Path, device: torch.device) -> tuple[nn.Module, ...]:
    together, modes = cast(nn.ModuleList, load(path, device)), read_about(path)["modes"]
    for name, module in together.named_modules():
        module.training = modes[name]
    return tuple(together)


def _without_images(splits: Splits[Any], path: Path) -> tuple[Splits[Any], Path | None]:
    """The splits with empty parts and the file that has their images; streamed ones stay whole."""
    parts = {name: getattr(splits, name) for name in PARTS}
    if not all(isinstance(part, Split) for part in parts.values()):
        return splits, None
    write_tensors(path, {f"{n} {key}": t for n in parts for key, t in _tensors(parts[n])}, {})
    none = torch.tensor([], dtype=torch.int64, device=splits.device)  # a view would be sent whole
    return _with_parts(splits, {name: part.select(none) for name, part in parts.items()}), path


def _with_images(splits: Splits[Split], path: Path) -> Splits[Split]:
    """The splits with the images of a file in their empty parts."""
    tensors, _ = read_tensors(path, splits.device)
    parts = {}
    for name in PARTS:
        extras = {key: tensors[f"{name} extra {key}"] for key in getattr(splits, name).extras}
        parts[name] = Split(tensors[f"{name} x"], tensors[f"{name} y"], extras)
    return _with_parts(splits, parts)


def _with_parts(splits: Splits[Any], parts: Mapping[str, Split]) -> Splits[Split]:
    return replace(splits, train=parts["train"], val=parts["val"], test=parts["test"])


def _tensors(part: Split) -> list[tuple[str, Tensor]]:
    extras = [(f"extra {key}", tensor) for key, tensor in part.extras.items()]
    return [("x", part.x), ("y", part.y), *extras]
