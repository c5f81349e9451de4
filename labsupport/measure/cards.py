"""The scorecard filled in: accuracy, cost, bytes, memory and clocked latency of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from labsupport.data import Splits
from labsupport.measure.anchor import ANCHOR
from labsupport.measure.clocking import Clocking
from labsupport.measure.latency import clock, clock_stream
from labsupport.measure.memory import inference_peak, training_peak
from labsupport.network.calls import device_of, exit_logits, is_conditional
from labsupport.network.cost import Cost, predict_with_cost
from labsupport.network.modes import evaluating
from labsupport.network.storage import file_bytes
from labsupport.network.weights import weights_of
from labsupport.runtimes.runtime import TORCH, runtime_of

CALLS, LARGE_CALLS = 10, 3  # clocked in each round, for one image and for many
STREAM = 100  # images, one by one, where some take longer than others
PEAK_IMAGES = 20  # of which the one that takes the most memory counts, where they differ

Figures = dict[str, float | int | str | None]


def measure(
    models: Mapping[str, nn.Module],
    splits: Splits,
    *,
    large_batch: int = 256,
    train_batch: int = 128,
    rounds: int = 20,
    threads: int = 1,
    stream: int = STREAM,
) -> dict[str, Figures]:
    """The figures of each network for `Results.score`, networks clocked against each other.

    The first network is the base of all. Accuracy, agreement with the base and the mean cost of an
    image are on the test part; latencies are for `large_batch` images and for one, training memory
    for a step of `train_batch`. Where some images take longer than others, the time of one is the
    mean of `stream` that follow one another, and its memory the most that one of 20 takes.
    """
    figures: dict[str, Figures] = {}
    answers = {}
    base = next(iter(models))
    for name, model in models.items():
        logits, cost = predict_with_cost(model, splits.test)
        answers[name] = labels = logits.argmax(1)
        figures[name] = {
            "base": base,
            "threads": threads,
            "accuracy": (labels == splits.test.y).double().mean().item(),
            "agreement": (labels == answers[base]).double().mean().item(),
            **counted_columns(model, cost),
            **_peaks(model, splits, train_batch),
        }
    large = _drawn(splits, large_batch)
    ones = _drawn(splits, stream if any(map(is_conditional, models.values())) else 1)
    single = clock_stream(
        models, ones, rounds=rounds, calls=-(-CALLS // len(ones)), threads=threads
    )
    batched = clock(models, large, rounds=rounds, calls=LARGE_CALLS, threads=threads)
    for name in models:
        figures[name] |= clocked_columns(single, name, "b1", images=len(ones))
        figures[name] |= clocked_columns(batched, name, "large")
    return {name: row | {"large_batch": len(large)} for name, row in figures.items()}


def _drawn(splits: Splits, images: int) -> Tensor:
    """So many test images, or all, drawn without regard to their order: files may be sorted."""
    chance = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(splits.test), generator=chance)[:images]
    return splits.test.x[chosen.to(splits.device)]


def counted_columns(model: nn.Module, cost: Cost) -> Figures:
    """What a scorecard says of a network that costs so much: engine, weights, work and bytes."""
    weights, runtime = weights_of(model), runtime_of(model)
    return {
        "runtime": runtime.name,
        "device": device_of(model).type,
        "weight_bits": weights.bits,
        "activation_bits": weights.activation_bits,
        "parameters": weights.count,
        "macs": cost.fp_macs,
        "int8_macs": cost.int8_macs,
        "binary_ops": cost.binary_ops,
        "additions": cost.additions,
        "lookups": cost.lookups,
        "disk_bytes": file_bytes(model),
        "resident_bytes": runtime.resident_bytes(model),
    }


def clocked_columns(clocking: Clocking, name: str, size: str, images: int = 1) -> Figures:
    """A scorecard's latency in ms with its spread, and its ratios, of what was clocked as `name`.

    `size` ("b1" or "large") goes into the columns' names. Where a clocked call ran `images` inputs
    one by one, as in `clock_stream`, latency, spread and the ratio to the anchor are for one of
    them. Raises LabError for a name that was not clocked.
    """
    ratio = clocking.ratio(name, clocking.base)
    return {
        f"latency_{size}_ms": clocking.median_ms(name) / images,
        f"latency_{size}_iqr_ms": clocking.iqr_ms(name) / images,
        f"latency_{size}_anchor_ratio_clocked": clocking.ratio(name, ANCHOR).value / images,
        **ratio.columns(f"latency_{size}_base_ratio"),
    }


def _peaks(model: nn.Module, splits: Splits, train_batch: int) -> Figures:
    batch = splits.train.take(train_batch)
    trains = _has_gradients(model, batch.x[:1])
    in_torch = runtime_of(model) is TORCH  # other engines take memory that torch does not see
    images = torch.split(_drawn(splits, PEAK_IMAGES if is_conditional(model) else 1), 1)
    return {
        "memory_train_bytes": training_peak(model, batch.x, batch.y).total if trains else None,
        "memory_infer_bytes": _largest_inference(model, images) if in_torch else None,
    }


def _largest_inference(model: nn.Module, images: Sequence[Tensor]) -> int:
    return max(inference_peak(model, image).total for image in images)


def _has_gradients(model: nn.Module, x: Tensor) -> bool:
    """Whether a loss of the logits of one of its exits could train anything in it."""
    with evaluating(model), torch.enable_grad():
        return any(logits.requires_grad for logits in exit_logits(model, x))
