"""Peak memory against closed forms: counted, so two calls agree to the byte."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint_sequential

from labsupport.core.errors import LabError
from labsupport.data import Batch
from labsupport.measure.memory import (
    activation_peak,
    inference_peak,
    training_peak,
    transient_bytes,
)
from labsupport.methods.early_exit import attach_branches
from labsupport.training import CrossEntropy, InBfloat16

WIDTH = 512
CPU = torch.device("cpu")


@pytest.fixture
def mlp():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()),
        nn.Linear(WIDTH, 10),
    )


def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(size, 64), torch.zeros(size, dtype=torch.long)


def test_transient_is_the_most_alive_at_once():
    def call() -> None:
        first = torch.zeros(1000)
        second = torch.zeros(500)
        del first
        third = torch.zeros(250)
        del second, third

    assert transient_bytes(call, CPU) == 4 * 1500
    assert transient_bytes(lambda: None, CPU) == 0


@pytest.mark.parametrize("size", [1, 32, 100])
def test_inference_holds_two_consecutive_activations(mlp, size):
    peak = inference_peak(mlp, batch(size)[0])
    assert peak.weights == 4 * sum(p.numel() for p in mlp.parameters())
    assert peak.inputs == 4 * 64 * size
    assert peak.optimizer == 0
    assert peak.transient == 2 * 4 * WIDTH * size
    assert peak.total == peak.weights + peak.inputs + peak.transient


def test_training_holds_weights_gradients_and_two_moments(mlp):
    x, y = batch(1)
    peak = training_peak(mlp, x, y)
    weights = 4 * sum(p.numel() for p in mlp.parameters())
    counters = 4 * len(list(mlp.parameters()))  # AdamW counts its steps, a number per tensor
    assert peak.optimizer == 2 * weights + counters
    assert peak.transient >= weights
    assert peak.total >= 4 * weights


def test_training_without_moments(mlp):
    x, y = batch(4)
    assert training_peak(mlp, x, y, lambda p: torch.optim.SGD(p, lr=0.1)).optimizer == 0


def test_training_a_network_of_several_exits_trains_them_all(mlp):
    """At batch 1 the transient is the gradients, of trunk and branches: as large as the weights."""
    x, y = batch(1)
    net = attach_branches(mlp, {place: nn.Linear(WIDTH, 10) for place in (2, 4)})
    trunk, branched = training_peak(mlp, x, y), training_peak(net, x, y)
    branches = 2 * 4 * (WIDTH + 1) * 10
    assert branched.weights == trunk.weights + branches
    assert branched.optimizer == trunk.optimizer + 2 * branches + 4 * 4  # four counters of steps
    assert branched.transient - trunk.transient == pytest.approx(branches, rel=0.1)


class Checkpointed(nn.Module):
    """Keeps what goes from segment to segment, and computes the rest again."""

    def __init__(self, layers: nn.Sequential, segments: int) -> None:
        super().__init__()
        self.layers, self.segments = layers, segments

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        how = {"use_reentrant": False, "preserve_rng_state": False}
        return checkpoint_sequential(self.layers, self.segments, x, **how)


def deep(layers: int) -> nn.Sequential:
    """Layers that keep two maps each for the backward pass: a product's input and a SiLU's."""
    blocks = [nn.Sequential(nn.Linear(32, 32), nn.SiLU()) for _ in range(layers)]
    return nn.Sequential(*blocks)


IMAGES = 1024
MAP = 4 * 32 * IMAGES  # bytes of what one layer puts out
labeled = Batch(torch.ones(IMAGES, 32), torch.zeros(IMAGES, dtype=torch.long))


def test_activations_grow_by_what_a_layer_keeps():
    peaks = [activation_peak(deep(layers), labeled) for layers in (8, 12, 16)]
    assert peaks[1] - peaks[0] == peaks[2] - peaks[1] == 4 * 2 * MAP
    assert 16 * 2 * MAP <= peaks[2] <= (16 * 2 + 4) * MAP


def test_gradients_of_weights_are_no_activations():
    x, y = batch(1)
    wide = nn.Sequential(nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, 10))
    # One layer's gradient on its way, not all of them at once.
    assert activation_peak(wide, Batch(x, y)) < 4 * (65 * 4096 + 3 * 4096)


@pytest.mark.parametrize("segments", [2, 4, 8])
def test_checkpoints_hold_the_ends_of_segments_and_one_segment(segments):
    peak = activation_peak(Checkpointed(deep(16), segments), labeled)
    expected = segments - 1 + 2 * 16 // segments
    assert expected * MAP <= peak <= (expected + 4) * MAP


def test_bfloat16_halves_what_is_kept():
    full, half = (activation_peak(deep(16), labeled, o) for o in objectives())
    assert 0.45 * full <= half <= 0.6 * full


def objectives():
    return CrossEntropy(), InBfloat16(CrossEntropy())


def test_counting_activations_leaves_the_model_and_repeats():
    net = deep(4).eval()
    assert activation_peak(net, labeled) == activation_peak(net, labeled)
    assert not net.training
    assert all(p.grad is None for p in net.parameters())


def test_training_grows_linearly_in_the_batch(mlp):
    totals = [training_peak(mlp, *batch(size)).total for size in (2048, 4096, 8192)]
    per_image = (totals[1] - totals[0]) / 2048
    assert totals[2] - totals[1] == pytest.approx(4096 * per_image, rel=0.02)
    # At least the input, the label and what backward needs: the two hidden layers' outputs.
    assert per_image >= 4 * (64 + 2 * WIDTH) + 8


def test_training_needs_more_than_inference(mlp):
    x, y = batch(256)
    assert training_peak(mlp, x, y).total > inference_peak(mlp, x).total


def test_two_calls_agree_to_the_byte(mlp):
    convolutional = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    x, y = torch.zeros(16, 1, 8, 8), torch.zeros(16, dtype=torch.long)
    assert inference_peak(convolutional, x) == inference_peak(convolutional, x)
    assert training_peak(convolutional, x, y) == training_peak(convolutional, x, y)


def test_the_model_is_left_as_it_was(mlp):
    before = {name: tensor.clone() for name, tensor in mlp.state_dict().items()}
    mlp.eval()
    training_peak(mlp, *batch(8))
    assert not mlp.training
    assert all(p.grad is None for p in mlp.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in mlp.state_dict().items())


def test_an_input_that_does_not_fit_is_one_line(mlp):
    with pytest.raises(LabError, match="does not accept"):
        inference_peak(mlp, torch.zeros(1, 3))


def test_the_profiler_prints_nothing(mlp, capfd):
    inference_peak(mlp, batch(1)[0])
    assert capfd.readouterr() == ("", "")


class TwoExits(nn.Module):
    """Scores that nothing trains, of the image itself, and a network behind them."""

    def __init__(self, rest: nn.Module) -> None:
        super().__init__()
        self.register_buffer("rules", torch.ones(64, 10))
        self.rest = rest

    def all_logits(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x @ self.rules, self.rest(x)]


def test_an_exit_that_cannot_be_trained_takes_no_part_in_a_step(mlp):
    x, y = batch(8)
    plain, with_rules = training_peak(mlp, x, y), training_peak(TwoExits(mlp), x, y)
    assert with_rules.optimizer == plain.optimizer
    assert with_rules.weights == plain.weights + 4 * 64 * 10
    assert plain.transient <= with_rules.transient <= plain.transient + 8 * 1000


def test_a_step_of_a_network_that_nothing_trains_is_refused(mlp):
    with pytest.raises(LabError, match="no loss has a gradient"):
        training_peak(mlp.requires_grad_(False), *batch(2))
