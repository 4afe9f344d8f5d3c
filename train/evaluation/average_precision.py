# ruff: noqa: N803, N806
"""Mean average precision of videos with many labels, by both definitions used for Charades.

A video is a positive of a class if it has the label of the class. For a class, the videos are
ranked by their score, best first. The precision at a rank is the share of positives among the
videos up to this rank. The average precision (AP) of a class is the mean, over its positives, of
the precision at their ranks. Two programs in use define it differently:

    mAP, wAP                    the program of the Charades dataset (gsig/charades-algorithms,
                                pytorch/utils/map.py)
    mAP_sklearn, wAP_sklearn    scikit-learn, which SlowFast (FAIR's library of video networks) uses

mAP is the mean of AP over classes. wAP is its mean weighted by the number of positives of each
class: Σ AP_c·n_c / Σ n_c. The definitions differ in two cases:

    case                      Charades                           scikit-learn
    videos without labels     rank last in every class,          rank by their scores
                              whatever their scores
    videos of equal scores    each has a rank of its own         share the last of their ranks

Where only the first case occurs, the AP of Charades is never lower than that of scikit-learn.

Deviations: the Charades program returns NaN as the AP of a class without positives, and so as mAP.
Here, as in its forks, such classes are left out. In the Charades program, the order of videos with
equal scores depends on its sort. Here negatives come first, so that equal scores never help.

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
        scores_NC: Finite scores (N, C); a higher score means a more probable class.
        targets_NC: 1 for positives and 0 for negatives, (N, C).

    Returns:
        mAP, wAP, mAP_sklearn and wAP_sklearn in [0, 1]; n, the number of videos; classes, the
        number of classes that have positives.

    Raises:
        ValueError: The shapes differ, there are no videos, or a target is not 0 or 1.
        RunError: A score is not finite, or no video has a label.
    """
    from sklearn.metrics import average_precision_score  # takes a second to import

    scores, targets = convert_and_check(scores_NC, targets_NC)
    num_positives = targets.sum(axis=0)
    present = np.flatnonzero(num_positives)
    if not len(present):
        raise RunError(
            f"expected videos with labels, got {len(targets)} videos without any; choose a subset "
            "with labels"
        )
    charades = compute_charades_precisions(scores, targets)[present]
    sklearn = np.array([average_precision_score(targets[:, c], scores[:, c]) for c in present])
    weights = num_positives[present]
    return {
        "mAP": float(charades.mean()),
        "wAP": float(np.average(charades, weights=weights)),
        "mAP_sklearn": float(sklearn.mean()),
        "wAP_sklearn": float(np.average(sklearn, weights=weights)),
        "n": len(targets),
        "classes": len(present),
    }


def compute_charades_precisions(scores_NC: F64, targets_NC: npt.NDArray[np.bool_]) -> F64:
    """Compute the AP of each class by the first definition, (C,); NaN without positives."""
    unlabelled = ~targets_NC.any(axis=1, keepdims=True)
    scores_NC = np.where(unlabelled, -np.inf, scores_NC)
    precisions = np.full(scores_NC.shape[1], np.nan)
    for c in np.flatnonzero(targets_NC.any(axis=0)):
        # Best score first; negatives first among equal scores.
        order = np.lexsort((targets_NC[:, c], -scores_NC[:, c]))
        ranks = np.flatnonzero(targets_NC[order, c]) + 1
        precisions[c] = (np.arange(1, len(ranks) + 1) / ranks).mean()
    return precisions


def convert_and_check(
    scores_NC: npt.ArrayLike, targets_NC: npt.ArrayLike
) -> tuple[F64, npt.NDArray[np.bool_]]:
    """Convert scores and targets to arrays and check them; see `measure_average_precision`."""
    scores, targets = np.asarray(scores_NC, np.float64), np.asarray(targets_NC)
    if scores.ndim != 2 or scores.shape != targets.shape or not scores.size:
        raise ValueError(
            "expected scores and targets of the same shape (videos, classes), with at least one "
            f"of each; got {scores.shape} and {targets.shape}"
        )
    invalid: Any = targets[(targets != 0) & (targets != 1)]
    if len(invalid):
        raise ValueError(f"expected targets of 0 and 1, got {invalid[0]}")
    not_finite = np.argwhere(~np.isfinite(scores))
    if len(not_finite):
        row, c = not_finite[0]
        raise RunError(
            f"expected finite scores, but {len(not_finite)} are not finite, such as "
            f"{scores[row, c]} for video {row}, class {c}: the training diverged, or the file of "
            "the scores is damaged"
        )
    return scores, targets.astype(bool)
