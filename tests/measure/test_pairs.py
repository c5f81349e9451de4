from dataclasses import dataclass, field

import torch
from torch import nn

from labsupport.measure.pairs import SPEEDUP, clock_pairs


@dataclass
class Multiplied:
    """One product beside a number of them."""

    times: int
    x: torch.Tensor = field(default_factory=lambda: torch.randn(2, 64, 64))

    @property
    def both(self):
        many = nn.Sequential(*(nn.Linear(64, 64) for _ in range(self.times)))
        return {"many": many, "one": nn.Linear(64, 64)}

    @property
    def about(self):
        return {"times": self.times}


def test_less_work_is_faster_and_stands_beside_what_is_known_of_it():
    found = clock_pairs([Multiplied(1), Multiplied(100)], rounds=5).set_index("times")
    assert [*found] == SPEEDUP
    assert found["speedup_low_clocked"][100] > found["speedup_high_clocked"][1]
    assert (
        (found[SPEEDUP[1]] <= found[SPEEDUP[0]]) & (found[SPEEDUP[0]] <= found[SPEEDUP[2]])
    ).all()


def test_without_pairs_the_table_is_empty():
    assert [*clock_pairs([])] == SPEEDUP
    assert clock_pairs([]).empty
