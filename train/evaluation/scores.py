# ruff: noqa: N803
"""Scores of videos: computed view by view, kept as files, fused and measured.

A video's score is the mean over all its views (segments × crops) of logits, and of
probabilities. Fusion is the weighted sum of RGB's and flow's. Chi et al. 2019, §4.4, fuse frame
by frame and then average, which is the same: both are sums. What matters is whether logits or
probabilities are averaged, so both are kept.

    N C  videos, classes
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from train.evaluation.average_precision import measure_many
from train.runs.run import RunError

Labels = Literal["one", "many"]
Views = Literal["mean", "max"]
# What `measure` gives, best known first, and how tables call it.
METRICS: dict[Labels, dict[str, str]] = {
    "one": {"top1": "top-1", "top5": "top-5", "mean_class": "class mean"},
    "many": {"mAP": "mAP", "wAP": "wAP", "mAP_sklearn": "mAP (sklearn)"},
}
F32 = npt.NDArray[np.float32]
TOP = 5


@dataclass(frozen=True)
class Scores:
    """Of one network on one subset: ``ids`` (N,), ``labels`` (N,) or (N, C), the rest (N, C).

    ``softmax`` are probabilities: with many labels each class's own.
    """

    ids: tuple[str, ...]
    labels: npt.NDArray[Any]
    logits: F32
    softmax: F32

    def save(self, path: Path) -> None:
        """Write as .npz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(
            part,
            ids=np.array(self.ids),
            labels=self.labels,
            logits=self.logits,
            softmax=self.softmax,
        )
        part.replace(path)

    def of(self, over: Literal["logits", "softmax"]) -> F32:
        """The averages of one kind."""
        return self.logits if over == "logits" else self.softmax


def load_scores(path: Path) -> Scores:
    """Read a file of `Scores.save`; RunError where it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Scores(
                tuple(file["ids"].tolist()), file["labels"], file["logits"], file["softmax"]
            )
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"no scores at {path} ({error}); run flowkit evaluate first") from error


def fuse_scores(
    rgb: Scores,
    flow: Scores,
    weights: tuple[float, float],
    over: Literal["logits", "softmax"] = "logits",
) -> Scores:
    """The weighted sum of two networks' scores of the same videos, in both kinds of average.

    Raises RunError where the videos differ.
    """
    if rgb.ids != flow.ids:
        raise RunError(
            f"scores of {len(rgb.ids)} and {len(flow.ids)} different videos cannot be fused; "
            "evaluate both on one store"
        )
    a, b = (np.float32(weight) for weight in weights)
    fused = a * rgb.of(over) + b * flow.of(over)
    return Scores(rgb.ids, rgb.labels, fused, fused)


def average_views(
    logits_VC: torch.Tensor, labels: Labels = "one", views: Views = "mean"
) -> tuple[F32, F32]:
    """Scores of one video's views → mean (or highest) logits and probabilities, (C,) each."""
    logits = logits_VC.float().cpu()
    both = logits, logits.softmax(dim=1) if labels == "one" else logits.sigmoid()
    if views == "max":
        return both[0].amax(dim=0).numpy(), both[1].amax(dim=0).numpy()
    return both[0].mean(dim=0).numpy(), both[1].mean(dim=0).numpy()


# --- metrics -------------------------------------------------------------------------------------


def measure(scores: F32, labels: npt.NDArray[Any]) -> dict[str, float]:
    """top1, top5 and mean_class accuracy in [0, 1], and n, the number of videos.

    With many labels (N, C): what `measure_many` gives.

    The mean over classes is over those that have videos. Equal scores count as wrong, so that a
    network that says the same of all classes is not right.
    """
    if labels.ndim == 2:
        return measure_many(scores, labels)
    from sklearn.metrics import recall_score  # a second to import; training needs none of it

    own = np.take_along_axis(scores, labels[:, None], axis=1)
    rank = (scores >= own).sum(axis=1) - 1
    return {
        "top1": float((rank < 1).mean()),
        "top5": float((rank < TOP).mean()),
        "mean_class": float(
            recall_score(
                labels, predict(scores, rank, labels), labels=np.unique(labels), average="macro"
            )
        ),
        "n": len(labels),
    }


def predict(
    scores: F32, rank: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The class that each video is taken for; of equal scores a wrong one."""
    best = scores.argmax(axis=1)
    tied = (best == labels) & (rank > 0)
    other = scores.copy()
    other[np.arange(len(labels)), labels] = -np.inf
    taken: npt.NDArray[np.int64] = np.where(tied, other.argmax(axis=1), best)
    return taken


def per_class(scores: F32, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Accuracy of each class, (C,); NaN where it has no video."""
    matrix = count_confusions(scores, labels)
    with np.errstate(invalid="ignore"):
        accuracy: npt.NDArray[np.float64] = np.diag(matrix) / matrix.sum(axis=1)
    return accuracy


def count_confusions(scores: F32, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Videos by (class, class that they are taken for), (C, C)."""
    from sklearn.metrics import confusion_matrix

    matrix: Any = confusion_matrix(labels, scores.argmax(axis=1), labels=np.arange(scores.shape[1]))
    return np.asarray(matrix, np.int64)
