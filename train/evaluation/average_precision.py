# ruff: noqa: N803, N806
"""Mean average precision of videos with many labels, in both definitions used for Charades.

The average precision of a class is the mean, over its positive videos, of the precision among
all videos that score at least as well. Two programs compute it:

    mAP, wAP                    Charades' own (gsig/charades-algorithms, pytorch/utils/map.py): a
                                sort without interpolation; a video without labels ranks last in
                                every class, whatever its scores
    mAP_sklearn, wAP_sklearn    scikit-learn's, as in SlowFast: equal scores are one threshold, and
                                videos without labels count like any other

mAP is the mean over classes. wAP weights classes by their positives: Σ AP_c·n_c / Σ n_c. The two
definitions differ only where videos have no label (the first is then never lower) or scores are
equal.

Deviations: the official program returns NaN for a class without positives, and so for the mean.
Here, as in its forks, such classes do not count. The official order of equal scores depends on its
sort. Here negatives come first, so that equal scores never help.

    N C  videos, classes
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from train.runs.run import RunError

F64 = npt.NDArray[np.float64]


def measure_average_precision(
    scores_NC: npt.ArrayLike, targets_NC: npt.ArrayLike
) -> dict[str, float]:
    """Measure the mean average precision.

    Args:
        scores_NC: Finite numbers (N, C); higher means likelier.
        targets_NC: 0 and 1, (N, C).

    Returns:
        mAP, wAP, mAP_sklearn and wAP_sklearn in [0, 1]; n, the number of videos; classes, the
        number of classes with positives.

    Raises:
        ValueError: The shapes differ, or a target is not 0 or 1.
        RunError: A score is not finite, or no video has a label.
    """
    from sklearn.metrics import average_precision_score  # takes a second to import

    scores, targets = check(scores_NC, targets_NC)
    positives = targets.sum(axis=0)
    present = np.flatnonzero(positives)
    if not len(present):
        raise RunError(
            f"expected labels to measure against, got {len(targets)} videos without any; choose "
            "a subset with labels"
        )
    official = compute_official_precisions(scores, targets)[present]
    sklearn = np.array([average_precision_score(targets[:, c], scores[:, c]) for c in present])
    weights = positives[present]
    return {
        "mAP": float(official.mean()),
        "wAP": float(np.average(official, weights=weights)),
        "mAP_sklearn": float(sklearn.mean()),
        "wAP_sklearn": float(np.average(sklearn, weights=weights)),
        "n": len(targets),
        "classes": len(present),
    }


def compute_official_precisions(scores_NC: F64, targets_NC: npt.NDArray[np.bool_]) -> F64:
    """Compute the official average precision of each class, (C,); NaN for one without positives."""
    unlabelled = ~targets_NC.any(axis=1, keepdims=True)
    scores_NC = np.where(unlabelled, -np.inf, scores_NC)
    precisions = np.full(scores_NC.shape[1], np.nan)
    for c in np.flatnonzero(targets_NC.any(axis=0)):
        # Best score first; negatives first among equal scores.
        order = np.lexsort((targets_NC[:, c], -scores_NC[:, c]))
        ranks = np.flatnonzero(targets_NC[order, c]) + 1
        precisions[c] = (np.arange(1, len(ranks) + 1) / ranks).mean()
    return precisions


def check(scores_NC: npt.ArrayLike, targets_NC: npt.ArrayLike) -> tuple[F64, npt.NDArray[np.bool_]]:
    """Check scores and targets and convert them to arrays; see `measure_average_precision`."""
    scores, targets = np.asarray(scores_NC, np.float64), np.asarray(targets_NC)
    if scores.ndim != 2 or scores.shape != targets.shape or not scores.size:
        raise ValueError(
            "expected scores and targets of one shape (videos, classes), got "
            f"{scores.shape} and {targets.shape}"
        )
    other: Any = targets[(targets != 0) & (targets != 1)]
    if len(other):
        raise ValueError(f"expected targets of 0 and 1, got {other[0]}")
    broken = np.argwhere(~np.isfinite(scores))
    if len(broken):
        row, c = broken[0]
        raise RunError(
            f"expected finite scores, got {len(broken)} others, the first {scores[row, c]} for "
            f"video {row}, class {c}: the training diverged, or the scores are damaged"
        )
    return scores, targets.astype(bool)
