"""Which target takes which pattern, for any number of MACs saved, in order of harm per MAC.

What saves most for a given harm maximizes saved - multiplier x harm, target by target (Everett
1963, "Generalized Lagrange multiplier method for solving problems of optimum allocation of
resources"). As the multiplier falls, targets walk along the convex hulls of their options (Shoham
and Gersho 1988, "Efficient bit allocation for an arbitrary set of quantizers", section III).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from labsupport.methods.spatial.harm import Effects
from labsupport.methods.spatial.patterns import everything

Codes = dict[str, Tensor]  # of each layer's mask, by its name


@dataclass(frozen=True, eq=False)
class Hull:
    """How each target of a layer goes from computing all to predicting most, step by step.

    `codes` are (steps + 1, c, r, k), all ones before the first step. `gains`, MACs of an image that
    a step saves more, and `prices`, MACs per harm, are (steps, c, r, k); prices fall. A target that
    has no more steps has some of price 0.
    """

    codes: Tensor = field(repr=False)
    gains: Tensor = field(repr=False)
    prices: Tensor = field(repr=False)

    def at(self, price: float) -> Tensor:
        """The codes (c, r, k) after all steps that save at least so much per harm."""
        taken = (self.prices >= price).sum(0, keepdim=True)
        return self.codes.gather(0, taken)[0]


def hull(effects: Effects, patterns: Tensor, p: int) -> Hull:
    """The upper convex hull of what each target's options save over the harm that they do."""
    options = torch.stack([effects.saved, effects.harm])
    now = torch.zeros_like(options[..., :1])
    rows = [(torch.full(now.shape[1:-1], everything(p)), now[0, ..., 0], now[0, ..., 0])]
    while True:
        gain, harm = options - now
        each = torch.where(gain > 0, gain / harm.clamp(min=0), 0)
        price, best = each.max(-1, keepdim=True)
        moves = price > 0
        if not bool(moves.any()):
            break
        now = torch.where(moves, options.gather(-1, best.expand(2, *best.shape)), now)
        codes = torch.where(moves[..., 0], patterns[best[..., 0]], rows[-1][0])
        gained = torch.where(moves, gain.gather(-1, best), 0)
        rows.append((codes, gained[..., 0], price[..., 0]))
    codes, gains, prices = map(torch.stack, zip(*rows, strict=True))
    return Hull(codes, gains[1:], prices[1:])


class Ranking:
    """The steps of all targets of a network, those first that save most per harm.

    Steps of the same price count as one. `saved` are the MACs of an image after 0, 1, ... of them,
    by statistics that take every layer as if it were alone.
    """

    def __init__(self, hulls: Mapping[str, Hull]) -> None:
        self.hulls = hulls
        prices, gains = (
            torch.cat([getattr(one, kind).flatten() for one in hulls.values()])
            for kind in ("prices", "gains")
        )
        unique, which = torch.unique(prices[prices > 0], return_inverse=True)
        self.prices = unique.flip(0)
        sums = torch.zeros(len(unique) + 1, dtype=torch.float64)
        sums.index_add_(0, len(unique) - which, gains[prices > 0].double())
        self.saved = sums.cumsum(0)

    def __len__(self) -> int:
        return len(self.prices)

    def reach(self, start: int, macs: float) -> int:
        """The number of steps that save so many MACs more than the first `start`, one at least."""
        end = int(torch.searchsorted(self.saved, float(self.saved[start]) + macs))
        return min(max(end, start + 1), len(self))

    def codes(self, taken: Iterable[range]) -> Codes:
        """The codes of each layer after some runs of steps, in order; the others are left out."""
        now = self._after(0)
        for part in taken:
            before, after = self._after(part.start), self._after(part.stop)
            now = {
                name: torch.where(after[name] != before[name], after[name], codes)
                for name, codes in now.items()
            }
        return now

    def _after(self, steps: int) -> Codes:
        price = float(self.prices[steps - 1]) if steps else float("nan")  # which nothing reaches
        return {name: one.at(price) for name, one in self.hulls.items()}
