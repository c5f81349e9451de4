"""The clock, driven by a false time so that every figure is known."""

import gc

import pytest
import torch
from torch import nn

from labsupport.core.errors import LabError
from labsupport.measure import anchor, clocking
from labsupport.measure.clocking import Turn, clock_turns
from labsupport.measure.intervals import Interval
from labsupport.measure.latency import (
    batch_sweep,
    clock,
    clock_calls,
    clock_stream,
    moving,
    thread_sweep,
    time_each_image,
)


class FalseTime:
    """A clock that stands still unless a call moves it."""

    def __init__(self) -> None:
        self.now = 0
        self.log: list[str] = []

    def __deepcopy__(self, _) -> "FalseTime":
        return self

    def perf_counter_ns(self) -> int:
        return self.now

    def call(self, name: str, *durations: int):
        """A call that takes the durations in turn, again and again."""
        count = 0

        def call() -> None:
            nonlocal count
            self.now += durations[count % len(durations)]
            count += 1
            self.log.append(name)

        return call


@pytest.fixture
def false_time(monkeypatch):
    """A false time, in which an inference of the anchor takes half a millisecond."""
    clock = FalseTime()
    monkeypatch.setattr(clocking, "time", clock)
    monkeypatch.setattr(anchor, "build", lambda *_: Taking(clock, 0.5 / (0.5 * 28 * 28)))
    anchor._lenet5.cache_clear()
    yield clock
    anchor._lenet5.cache_clear()


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))


def test_medians_spread_and_speed(false_time):
    slow = false_time.call("slow", 4_000_000)
    fast = false_time.call("fast", 1_000_000, 3_000_000)
    clocked = clock_calls({"slow": slow, "fast": fast}, rounds=6, repeats=5, warmup=0, batch=2)
    table = clocked.table.set_index("name")
    assert list(table.index) == ["slow", "fast"]
    assert table.loc["slow", "median_ms"] == 4
    assert table.loc["slow", "iqr_ms"] == 0
    assert table.loc["slow", "image_ms"] == 2
    assert table.loc["slow", "images_fps"] == 500
    assert table.loc["fast", "iqr_ms"] == 2
    assert table.loc["slow", "calls"] == 30


def test_quantiles(false_time):
    clocked = clock_calls({"a": false_time.call("a", 1)}, rounds=101, repeats=1)
    times = range(1_000_000, 102_000_000, 1_000_000)
    clocked.samples.loc[clocked.samples["name"] == "a", "ns"] = times
    row = clocked.table.iloc[0]
    assert list(row[["median_ms", "iqr_ms", "p05_ms", "p95_ms"]]) == [51, 50, 6, 96]


def test_the_interval_of_a_steady_call_is_a_point(false_time):
    clocked = clock_calls({"a": false_time.call("a", 1_000_000)}, rounds=7)
    assert clocked.interval_ms("a") == Interval(1, 1, 1)
    assert clocked.table.loc[0, ["low_ms", "high_ms"]].tolist() == [1, 1]


def test_an_interval_is_over_rounds_however_many_calls_they_have(false_time):
    """Nine rounds of 1 to 9 ms: the sign test leaves the second to the eighth."""
    clocked = clock_calls({"a": false_time.call("a", 1_000_000)}, rounds=9, repeats=50)
    clocked.samples["ns"] *= 1 + clocked.samples["round"]
    assert clocked.interval_ms("a") == Interval(5, 2, 8)


def test_times_are_compared_with_the_anchor_and_with_the_base(false_time):
    calls = {"base": false_time.call("base", 1_000_000), "half": false_time.call("half", 500_000)}
    clocked = clock_calls(calls, rounds=6)
    table = clocked.table.set_index("name")
    assert clocked.base == "base"
    assert table["anchor_ratio_clocked"].tolist() == pytest.approx([2, 1])
    assert table["base_ratio_clocked"].tolist() == pytest.approx([1, 0.5])
    assert list(clocked.turns) == ["base", "half"]
    with pytest.raises(LabError, match="cannot be called anchor"):
        clock_calls({"anchor": false_time.call("a", 1)})


def test_rounds_clock_copies_at_several_places_in_memory():
    net, places = nn.Linear(64, 64), []
    net.register_forward_hook(
        lambda module, inputs, _: places.append((module.weight.data_ptr(), inputs[0].data_ptr()))
    )
    clock({"net": net}, torch.zeros(1, 64), rounds=10, calls=3, warmup=1)
    rounds = [set(places[start : start + 4]) for start in range(0, 40, 4)]
    assert [len(places) for places in rounds] == [1] * 10  # one copy for all calls of a round
    assert len(set.union(*rounds)) >= 3
    assert net.weight.data_ptr() not in {weights for weights, _ in places}


def test_the_interval_of_two_copies_holds_their_ratio_of_one():
    """Of 40 clockings of a network against itself 38 should, on any machine; 34 must."""
    net, x = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)), torch.rand(1, 256)
    ratios = [
        clock({"one": net, "twin": net}, x, rounds=10, calls=5).ratio("one", "twin")
        for _ in range(40)
    ]
    assert sum(ratio.low <= 1 <= ratio.high for ratio in ratios) >= 34


def test_turns_are_interleaved_in_changing_order(false_time):
    calls = {name: false_time.call(name, 1) for name in "abc"}
    clock_calls(calls, rounds=8, repeats=2, warmup=1)
    # A turn is three calls: one off the clock, two on it; a round is three turns.
    turns = false_time.log[::3]
    rounds = [turns[start : start + 3] for start in range(0, len(turns), 3)]
    assert len(rounds) == 8
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 1


def test_the_order_is_the_same_every_time(false_time):
    calls = {name: false_time.call(name, 1) for name in "abc"}
    clock_calls(calls, rounds=5, repeats=1)
    first = false_time.log.copy()
    false_time.log.clear()
    clock_calls(calls, rounds=5, repeats=1)
    assert false_time.log == first


def test_the_first_calls_of_a_turn_are_off_the_clock(false_time):
    # Every third call is slow; with two clocked calls a turn it is always the first one.
    cold = false_time.call("cold", 9_000_000, 1_000_000, 1_000_000)
    clocked = clock_calls({"cold": cold}, rounds=4, repeats=2, warmup=1)
    times = clocked.samples.query("name == 'cold'")["ns"]
    assert times.tolist() == [1_000_000] * 8


def test_ratio_over_rounds(false_time):
    calls = {"slow": false_time.call("slow", 3_000), "fast": false_time.call("fast", 1_000)}
    ratio = clock_calls(calls, rounds=5).ratio("slow", "fast")
    assert ratio == Interval(3, 3, 3)


def test_ratio_holds_when_the_machine_slows_down(false_time):
    """Both slow down alike from round to round: the ratio of a round does not change."""
    calls = {"slow": false_time.call("slow", 3_000), "fast": false_time.call("fast", 1_000)}
    clocked = clock_calls(calls, rounds=5)
    clocked.samples["ns"] *= 1 + clocked.samples["round"]
    assert clocked.ratio("slow", "fast").value == 3


def test_the_interval_holds_the_ratio(false_time):
    wild = false_time.call("wild", 1_000, 2_000, 7_000, 3_000, 5_000)
    clocked = clock_calls({"wild": wild, "calm": false_time.call("calm", 1_000)}, rounds=9)
    ratio = clocked.ratio("wild", "calm")
    assert ratio.low <= ratio.value <= ratio.high


def test_an_unknown_name_is_refused_with_the_right_ones(false_time):
    clocked = clock_calls({"a": false_time.call("a", 1)}, rounds=1)
    with pytest.raises(LabError, match=r"'b' was not clocked.*choose from a"):
        clocked.median_ms("b")


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"calls": 0}, {"warmup": -1}])
def test_nothing_to_clock(wrong):
    with pytest.raises(LabError, match="nothing to clock"):
        clock_turns({"a": Turn(lambda: int)}, **wrong)
    with pytest.raises(LabError, match="nothing to clock"):
        clock_turns({})


def test_threads_are_set_for_each_turn_and_put_back(net):
    seen: list[int] = []
    turns = {
        str(n): Turn(lambda: lambda: seen.append(torch.get_num_threads()), 1, n) for n in (1, 2)
    }
    before = torch.get_num_threads()
    clock_turns(turns, rounds=2, calls=1, warmup=1)
    assert set(seen) == {1, 2}
    assert torch.get_num_threads() == before
    with pytest.raises(LabError, match="0 threads"):
        clock({"net": net}, torch.zeros(1, 4), threads=0)
    assert torch.get_num_threads() == before


def test_models_are_clocked_as_they_infer(net):
    """In evaluation mode, without gradients, without garbage collection; put back after."""
    seen: list[tuple[bool, bool, bool]] = []

    def look(module, _inputs, _output):
        seen.append((module.training, torch.is_inference_mode_enabled(), gc.isenabled()))

    net.train()[0].register_forward_hook(look)
    clock({"net": net}, torch.zeros(2, 4), rounds=1, calls=1)
    assert set(seen) == {(False, True, False)}
    assert net.training
    assert net[1].training
    assert gc.isenabled()


def test_each_model_may_have_an_input_of_its_own():
    models = {"four": nn.Linear(4, 1), "two": nn.Linear(2, 1)}
    inputs = {"four": torch.zeros(3, 4), "two": torch.zeros(5, 2)}
    assert list(clock(models, inputs, rounds=1, calls=1).table["batch"]) == [3, 5]


def test_an_input_that_does_not_fit_is_one_line(net):
    with pytest.raises(LabError, match="does not accept"):
        clock({"net": net}, torch.zeros(1, 5))


def test_sweeps_name_what_they_sweep(net):
    x = torch.zeros(4, 4)
    threads = thread_sweep(net, x, (1, 2), rounds=1, calls=1).table
    batches = batch_sweep(net, x, (1, 4), rounds=1, calls=1).table
    assert list(threads["threads"]) == [1, 2]
    assert list(threads["batch"]) == [4, 4]
    assert list(batches["batch"]) == [1, 4]
    with pytest.raises(LabError, match="a batch of 8 of 4 images"):
        batch_sweep(net, x, (1, 8))


class Shared(list):
    """A list that copies of a network share."""

    def __deepcopy__(self, _):
        return self


class Taking(nn.Module):
    """A network that takes as many milliseconds for an image as the image says, times a factor."""

    def __init__(self, clock, factor=1):
        super().__init__()
        self.clock, self.factor = clock, factor
        self.seen = Shared()

    def forward(self, x):
        self.seen.append((len(x), x.sum().item(), self.training, torch.is_inference_mode_enabled()))
        self.clock.now += round(x.sum().item() * 1_000_000 * self.factor)
        return x


def test_a_stream_is_clocked_by_the_mean_of_its_images(false_time):
    x = torch.tensor([[1.0], [2.0], [9.0]])
    models = {"once": Taking(false_time), "twice": Taking(false_time, 2)}
    clocked = clock_stream(models, x, rounds=5)
    table = clocked.table.set_index("name")
    assert table.loc["once", "median_ms"] == 12
    assert table["image_ms"].tolist() == [4, 8]
    assert table["calls"].tolist() == [5, 5]
    assert clocked.ratio("twice", "once").value == 2


def test_a_stream_runs_its_images_one_by_one_as_they_infer(false_time):
    model = Taking(false_time).train()
    clock_stream({"net": model}, torch.tensor([[1.0], [2.0]]), rounds=1)
    assert model.seen[:2] == [(1, 1.0, False, True), (1, 2.0, False, True)]
    assert set(model.seen) == set(model.seen[:2])
    assert model.training


def test_a_stream_with_nothing_to_clock_is_explained(net):
    with pytest.raises(LabError, match="nothing to clock"):
        clock_stream({}, torch.zeros(2, 4))
    with pytest.raises(LabError, match="nothing to clock"):
        clock_stream({"net": net}, torch.zeros(2, 4), rounds=0)
    with pytest.raises(LabError, match="without images"):
        clock_stream({"net": net}, torch.zeros(0, 4))
    with pytest.raises(LabError, match="does not accept"):
        clock_stream({"net": net.train()}, torch.zeros(2, 5))
    assert net.training


def test_a_trace_sees_every_sample_in_order(net):
    seen: list[float] = []
    net[0].register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0][0, 0]))
    x = torch.arange(6.0)[:, None].expand(6, 4)
    traced = time_each_image(net, x, warmup=2)
    assert seen == [0, 0, 0, 1, 2, 3, 4, 5]
    assert list(traced["sample"]) == list(range(6))
    assert (traced["latency_ms"] > 0).all()


def test_moving_mean_and_deviation(net):
    traced = time_each_image(net, torch.zeros(12, 4)).assign(
        latency_ms=[float(i) for i in range(12)]
    )
    smooth = moving(traced, window=5)
    assert smooth["mean_ms"].isna().sum() == 4
    assert list(smooth["mean_ms"].dropna()) == [float(i) for i in range(2, 10)]
    assert smooth["std_ms"].iloc[-1] == pytest.approx(2.5**0.5)
    with pytest.raises(LabError, match="window of 13"):
        moving(traced, window=13)


def test_no_images_cannot_be_timed(net):
    x = torch.zeros(2, 16)
    for time in (
        lambda: clock({"net": net}, x[:0]),
        lambda: batch_sweep(net, x, []),
        lambda: batch_sweep(net, x, [0]),
        lambda: time_each_image(net, x[:0]),
    ):
        with pytest.raises(LabError, match=r"without images|nothing to clock|no image"):
            time()
