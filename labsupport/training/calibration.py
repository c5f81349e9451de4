"""Whether a network is right as often as it says it is sure.

Guo et al. 2017, "On calibration of modern neural networks", section 2.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from torch import Tensor

from labsupport.core.errors import LabError


def reliability(logits: Tensor, labels: Tensor, bins: int = 15) -> pd.DataFrame:
    """A row per bin of confidence that has images: images, confidence, accuracy (means in [0, 1]).

    The confidence is the largest probability. The bins are equally wide over (0, 1], closed above.
    Raises LabError for less than one bin, no image, another number of labels than logits, and
    logits that are not finite.
    """
    if bins < 1:
        raise LabError(f"{bins} bins of confidence", "give at least one")
    if not len(labels) or len(labels) != len(logits):
        problem = f"{len(logits)} answers for {len(labels)} labels"
        raise LabError(problem, "give logits (N, classes) and labels (N,) of the same images")
    if not bool(logits.isfinite().all()):
        raise LabError("logits that are not finite", "see that the training converged")
    sure, answers = logits.double().softmax(1).max(1)
    images = pd.DataFrame({"confidence": sure.cpu(), "accuracy": (answers == labels).cpu()})
    images["bin"] = np.ceil(images["confidence"] * bins).clip(1, bins).astype(int)
    kinds = {"images": ("accuracy", "size")} | {c: (c, "mean") for c in ("confidence", "accuracy")}
    return images.groupby("bin").agg(**kinds)


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """The mean distance, over images, of a bin's accuracy from its confidence, in [0, 1].

    Guo et al. 2017, equation 3. Raises LabError as `reliability` does.
    """
    table = reliability(logits, labels, bins)
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return float((gaps * table["images"]).sum() / table["images"].sum())
