"""Modules that keep little in a file, and make of it what a kernel reads."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from labsupport.network.weights import Weights, few_bit_weights


class Prepared(nn.Module):
    """A module with attributes, those named in `made`, that are made of its buffers.

    They are in no file and no copy, but made anew there.
    """

    made: tuple[str, ...] = ()
    shape: tuple[int, ...] = (0,)  # of its signs, which are kept in the buffer `bits`
    activation_bits = 32.0

    def prepare(self) -> None:
        """Make them."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """All but what is made."""
        return {name: value for name, value in vars(self).items() if name not in self.made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.prepare()

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        super()._load_from_state_dict(*args, **options)
        self.prepare()

    @property
    def weight_count(self) -> int:
        """Signs, and every other number that is stored: alphas, biases, limits."""
        return self._weights.count

    @property
    def weight_bits(self) -> float:
        """Mean bits of both."""
        return self._weights.bits

    @property
    def _weights(self) -> Weights:
        others = [buffer for name, buffer in self.named_buffers() if name != "bits"]
        return few_bit_weights(math.prod(self.shape), 1, others)

    @property
    def made_bytes(self) -> int:
        """Bytes of what is made."""
        return sum(getattr(self, name).nbytes for name in self.made)
