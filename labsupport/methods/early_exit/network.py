"""The branched network: rules first, and only the images they leave over go on."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from labsupport.errors import LabError
from labsupport.methods.early_exit.features import split_at
from labsupport.methods.early_exit.rules import Rules

CHUNK = 50

# Of a batch: the answers (N, classes), which images leave with them, bool (N,), and features.
Judged = tuple[Tensor, Tensor, Tensor]


class BranchedNetwork(nn.Module):
    """A network that answers by rules where they are sure and runs its rest for the others.

    A batch goes through in chunks of `chunk` images, whose feature maps stay in the processor's
    cache; the images that no rule is sure of are gathered and only they run on. An image that
    exits gets the rules' scores in place of logits, the others the network's own logits. An empty
    batch gives empty logits; NaN features never exit. Raises LabError for rules of another
    network or layer.
    """

    def __init__(self, model: nn.Module, layer: int, rules: Rules, chunk: int = CHUNK) -> None:
        super().__init__()
        self.stem, self.rest = split_at(model, layer)
        if rules.origin.layer != layer:
            problem = f"rules of layer {rules.origin.layer} at layer {layer}"
            raise LabError(problem, "fit rules for this layer")
        rules.check_network(model)
        self.rules = copy.deepcopy(rules)
        self.chunk = at_least_one(chunk)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits or scores (N, classes)."""
        return self._single(x) if len(x) == 1 else self.exits(x)[0]

    def exits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits or scores (N, classes), and which images left early, bool (N,)."""
        scores, fired, left = who_leaves(self._judge, x, self.chunk)
        if len(left):
            scores[~fired] = in_chunks(self.rest, left, self.chunk)
        return scores, fired

    def _judge(self, x: Tensor) -> Judged:
        features = self.stem(x)
        scores = self.rules(features)
        return scores, self.rules.fired(scores), features

    def _single(self, x: Tensor) -> Tensor:
        # One image needs no gathering, which would take longer than the stem.
        scores, fired, features = self._judge(x)
        return scores if fired else self.rest(features)


class Chunked(nn.Module):
    """A network that works through a batch in chunks: the fair rival of `BranchedNetwork`."""

    def __init__(self, model: nn.Module, chunk: int = CHUNK) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.chunk = at_least_one(chunk)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return in_chunks(self.model, x, self.chunk)


def who_leaves(judge: Callable[[Tensor], Judged], x: Tensor, chunk: int) -> Judged:
    """The batch judged `chunk` images at a time, with the features of those alone who stay."""
    parts = []
    for part in torch.split(x, chunk):
        answers, leaves, features = judge(part)
        parts.append((answers, leaves, features[~leaves]))
    answers, leaves, features = (torch.cat(column) for column in zip(*parts, strict=True))
    return answers, leaves, features


def in_chunks(model: nn.Module, x: Tensor, chunk: int) -> Tensor:
    """The model's output for a batch, `chunk` images at a time."""
    return torch.cat([model(part) for part in torch.split(x, chunk)])


def at_least_one(chunk: int) -> int:
    """The chunk size as given. Raises LabError below 1."""
    if chunk < 1:
        raise LabError(f"chunks of {chunk} images", "take at least 1")
    return chunk
