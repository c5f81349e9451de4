"""The branched network: rules first, and only the images they leave over go on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.methods.early_exit.rules import Rules
from labsupport.network.cutting import cut
from labsupport.network.places import Place

CHUNK = 50

# Of a batch: the answers (N, classes), which images leave with them, bool (N,), and features.
Judged = tuple[Tensor, Tensor, Tensor]
Judge = Callable[[Tensor], Judged]
Rows = tuple[Tensor, Tensor]  # which rows of the input, int64 (N,), and their features
Stream = Iterable[Rows]
Left = tuple[Tensor, int, Tensor]  # rows, the stage at which they left, their answers


class BranchedNetwork(nn.Module):
    """A network that answers by rules where they are sure and runs its rest for the others.

    A batch goes through in chunks of `chunk` images, whose feature maps stay in the processor's
    cache; the images that no rule is sure of are gathered and only they run on. An image that
    exits gets the rules' scores in place of logits, the others the network's own logits. An empty
    batch gives empty logits; NaN features never exit. In training mode every image runs to the
    end; rules have to be fitted anew to what training changed. Raises LabError for rules of
    another network or layer.
    """

    conditional = True

    def __init__(self, model: nn.Module, layer: Place, rules: Rules, chunk: int = CHUNK) -> None:
        super().__init__()
        self.stem, self.rest = cut(model, layer)
        if rules.origin.layer != layer:
            problem = f"rules of layer {rules.origin.layer} at layer {layer}"
            raise LabError(problem, "fit rules for this layer")
        rules.check_network(model)
        self.rules = copy.deepcopy(rules)
        self.chunk = at_least_one(chunk)
        self.eval()

    def all_logits(self, x: Tensor) -> list[Tensor]:
        """The rules' scores and the network's logits (N, classes) for every image."""
        features = self.stem(x)
        return [self.rules(features), self.rest(features)]

    def forward(self, x: Tensor) -> Tensor:
        """Logits or scores (N, classes)."""
        if self.training:
            return cast(Tensor, self.rest(self.stem(x)))
        return self._single(x) if len(x) == 1 else self.exits(x)[0]

    def exits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits or scores (N, classes), and which images left early, bool (N,)."""
        answers, exits = run_stages([self._judge], self.rest, x, self.chunk)
        return answers, exits == 0

    def _judge(self, x: Tensor) -> Judged:
        features = self.stem(x)
        scores = self.rules(features)
        return scores, self.rules.fired(scores), features

    def _single(self, x: Tensor) -> Tensor:
        # One image needs no gathering, which would take longer than the stem.
        features = self.stem(x)
        scores: Tensor = self.rules(features)
        return scores if self.rules.fires(scores) else self.rest(features)


class Chunked(nn.Module):
    """A network that works through a batch in chunks: the fair rival of `BranchedNetwork`."""

    def __init__(self, model: nn.Module, chunk: int = CHUNK) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.chunk = at_least_one(chunk)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        if len(x) <= self.chunk:
            return cast(Tensor, self.model(x))
        return torch.cat([self.model(part) for part in torch.split(x, self.chunk)])


def run_stages(
    judges: Sequence[Judge], last: nn.Module, x: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """Answers (N, classes) of a batch, and the stage at which each image left, int64 (N,).

    The images that one stage leaves over are gathered for the next, and run on before more are
    fetched, while their features are still in the cache. Those that no judge lets go leave with
    the answer of `last`, at stage `len(judges)`.
    """
    left: list[Left] = []
    rows = torch.arange(len(x), device=x.device)
    stream: Stream = zip(torch.split(rows, chunk), torch.split(x, chunk), strict=True)
    for stage, judge in enumerate(judges):
        stream = gathered(_staying(judge, stage, stream, left), enough=chunk // 2)
    left += [(rows, len(judges), last(features)) for rows, features in stream]
    order = torch.cat([rows for rows, _, _ in left]).argsort()
    exits = torch.cat([torch.full_like(rows, stage) for rows, stage, _ in left])
    return torch.cat([answers for _, _, answers in left])[order], exits[order]


def gathered(stream: Stream, enough: int) -> Stream:
    """Small batches joined until there are `enough` images; what remains comes last."""
    waiting: list[Rows] = []
    for batch in stream:
        waiting.append(batch)
        if sum(len(rows) for rows, _ in waiting) >= enough:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[Rows]) -> Rows:
    if len(batches) == 1:
        return batches[0]
    rows, features = zip(*batches, strict=True)
    return torch.cat(rows), torch.cat(features)


def _staying(judge: Judge, stage: int, stream: Stream, left: list[Left]) -> Stream:
    """The images that stay; those that leave are noted in `left` with their answers."""
    for rows, x in stream:
        answers, leaves, features = judge(x)
        if leaves.any():
            left.append((rows[leaves], stage, answers[leaves]))
            rows, features = rows[~leaves], features[~leaves]
        if len(rows) or not len(x):  # an empty batch runs through, for its empty logits
            yield rows, features


def at_least_one(chunk: int) -> int:
    """The chunk size as given. Raises LabError below 1."""
    if chunk < 1:
        raise LabError(f"chunks of {chunk} images", "take at least 1")
    return chunk
