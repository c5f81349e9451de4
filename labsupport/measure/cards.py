"""The scorecard filled in: accuracy, cost, bytes, memory and clocked latency of networks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from labsupport.data import Splits
from labsupport.measure.clocking import Clocking
from labsupport.measure.latency import clock
from labsupport.measure.memory import inference_peak, training_peak
from labsupport.network.cost import parameter_count, predict_with_cost
from labsupport.network.storage import file_bytes

Figures = dict[str, float | int]


def measure(
    models: Mapping[str, nn.Module],
    splits: Splits,
    *,
    large_batch: int = 256,
    train_batch: int = 128,
    rounds: int = 20,
    threads: int = 1,
) -> dict[str, Figures]:
    """The figures of each network for `Results.score`, networks clocked against each other.

    Accuracy, agreement (with the first network) and the mean MACs of an image are on the test
    part; latencies are for one image and for `large_batch` images, training memory for a step of
    `train_batch`.
    """
    figures, answers = {}, {}
    for name, model in models.items():
        logits, cost = predict_with_cost(model, splits.test)
        answers[name] = logits.argmax(1)
        figures[name] = _sizes(model, splits, train_batch) | {"macs": round(cost.fp_macs)}
    first = next(iter(answers.values()))
    for name, labels in answers.items():
        figures[name]["accuracy"] = (labels == splits.test.y).double().mean().item()
        figures[name]["agreement"] = (labels == first).double().mean().item()
    large = splits.test.take(large_batch).x
    for size, x in (("b1", large[:1]), ("large", large)):
        clocking = clock(models, x, rounds=rounds, threads=threads)
        for name in models:
            figures[name] |= clocked_columns(clocking, name, size)
    return {name: row | {"large_batch": len(large)} for name, row in figures.items()}


def clocked_columns(clocking: Clocking, name: str, size: str, images: int = 1) -> Figures:
    """A scorecard's latency, spread and noise in ms, of what was clocked under `name`.

    `size` ("b1" or "large") goes into the columns' names. Where a clocked call ran `images` inputs
    one by one, as in `clock_stream`, the figures are for one of them. Raises LabError for a name
    that was not clocked.
    """
    median = clocking.median_ms(name)
    (row,) = clocking.table.query("name == @name").to_dict("records")
    return {
        f"latency_{size}_ms": median / images,
        f"latency_{size}_iqr_ms": row["iqr_ms"] / images,
        f"latency_{size}_noise_ms": row["noise_ms"] / images,
    }


def _sizes(model: nn.Module, splits: Splits, train_batch: int) -> Figures:
    batch = splits.train.take(train_batch)
    return {
        "parameters": parameter_count(model),
        "disk_bytes": file_bytes(model),
        "memory_train_bytes": training_peak(model, batch.x, batch.y).total,
        "memory_infer_bytes": inference_peak(model, batch.x[:1]).total,
    }
