# ruff: noqa: N803
"""Combine the scores of videos over views, save and fuse them, and compute metrics.

A video has one score for each class: the mean or the maximum over all its views (segments ×
crops). A branch is the network of one stream. The scores of the branches are fused by a weighted
sum. Chi et al. 2019, §4.4, fuse frame by frame and then average, which is equivalent because both
are sums. Combining logits differs from combining probabilities, so both results are kept.

    N C  videos, classes
"""

from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from train.evaluation.average_precision import measure_average_precision
from train.recipe.recipe import Recipe
from train.runs.run import RunError

LabelKind = Literal["one", "many"]
"""Whether each video has one label, or may have many."""
Views = Literal["mean", "max"]
"""How the scores of the views of a video are combined."""
# Metrics that `measure` returns, with their titles in tables. The first one represents a result.
# average_precision.py defines mAP and wAP (as Charades does), and mAP as scikit-learn does.
METRICS: dict[LabelKind, dict[str, str]] = {
    "one": {"top1": "top-1", "top5": "top-5", "mean_class": "class mean"},
    "many": {"mAP": "mAP", "wAP": "wAP", "mAP_sklearn": "mAP (sklearn)"},
}
F32 = npt.NDArray[np.float32]
TOP = 5


def list_metrics(recipe: Recipe) -> dict[str, str]:
    """List the metrics that tables show, with their titles; top-5 only of more than five classes.

    The first one represents a result.
    """
    metrics = METRICS[recipe.labels]
    if recipe.classes > TOP:
        return metrics
    return {key: title for key, title in metrics.items() if key != "top5"}


def choose_metric(label_kind: LabelKind) -> tuple[str, str]:
    """Return the key and the title of the metric that represents a result.

    It is top1 for recipes with ``labels: one``, and mAP for ``labels: many``.
    """
    return next(iter(METRICS[label_kind].items()))


@dataclass(frozen=True)
class Scores:
    """Scores of one network on one subset."""

    ids: tuple[str, ...]
    """Ids of the N videos."""
    labels: npt.NDArray[Any]
    """Class ids (N,), or 0 and 1 (N, C) with many labels."""
    logits: F32
    """Logits (N, C), combined over views."""
    softmax: F32
    """Probabilities (N, C), combined over views: softmax, or with many labels the sigmoid of each
    class."""

    def save(self, path: Path) -> None:
        """Save the scores as an .npz file, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        incomplete = path.with_suffix(".part.npz")
        np.savez_compressed(incomplete, **asdict(self))
        incomplete.replace(path)

    def get_averages(self, over: Literal["logits", "softmax"]) -> F32:
        """Return the combined logits or probabilities, (N, C)."""
        return self.logits if over == "logits" else self.softmax


def load_scores(path: Path) -> Scores:
    """Load a file written by `Scores.save`.

    Raises:
        RunError: The file is missing, cannot be read, or is damaged.
    """
    try:
        content = path.read_bytes()  # alone: zipfile raises OSErrors about damaged files, too
    except FileNotFoundError as error:
        raise RunError(f"no scores at {path}; run flowkit evaluate first") from error
    except OSError as error:
        raise RunError(
            f"{path}: cannot read the scores ({error.strerror}); check its permissions and the disk"
        ) from error
    except MemoryError as error:
        raise RunError(f"{path}: not enough memory to read the scores; free memory") from error
    try:
        with np.load(BytesIO(content), allow_pickle=False) as file:
            ids = tuple(map(str, file["ids"].tolist()))
            scores = Scores(ids, file["labels"], file["logits"], file["softmax"])
        check_shapes(scores)
    except MemoryError as error:
        raise RunError(
            f"{path}: not enough memory for the scores ({error}); free memory, or, if the file is "
            "damaged, run flowkit evaluate again"
        ) from error
    except Exception as error:  # zipfile, zlib and numpy raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"{path}: expected scores ({reason}); remove it and run flowkit evaluate again"
        ) from error
    return scores


def check_shapes(scores: Scores) -> None:
    """Raise a ValueError if the arrays of scores do not fit one another."""
    videos = (len(scores.ids),)
    shape = scores.logits.shape
    is_valid = (
        len(shape) == 2
        and shape[:1] == videos == scores.labels.shape[:1]
        and scores.softmax.shape == shape
        and scores.logits.dtype.kind == scores.softmax.dtype.kind == "f"
        and scores.labels.shape in (videos, shape)
        and scores.labels.dtype.kind in "iufb"
    )
    if not is_valid:
        raise ValueError(f"logits {shape} and labels {scores.labels.shape} of {len(scores.ids)}")


def fuse_scores(
    rgb: Scores,
    flow: Scores,
    weights: tuple[float, float],
    over: Literal["logits", "softmax"] = "logits",
) -> Scores:
    """Fuse the scores of two networks on the same videos by a weighted sum.

    Args:
        rgb: Scores of the RGB branch.
        flow: Scores of the flow branch.
        weights: Weights of RGB and flow.
        over: Which averages to sum.

    Returns:
        The fused scores. Their fields `logits` and `softmax` both contain the sum.

    Raises:
        RunError: The videos differ.
    """
    if rgb.ids != flow.ids:
        raise RunError(
            f"scores of {len(rgb.ids)} and {len(flow.ids)} different videos cannot be fused; "
            "evaluate both on one store"
        )
    a, b = (np.float32(weight) for weight in weights)
    fused = a * rgb.get_averages(over) + b * flow.get_averages(over)
    return Scores(rgb.ids, rgb.labels, fused, fused)


def combine_views(
    logits_VC: torch.Tensor, label_kind: LabelKind = "one", views: Views = "mean"
) -> tuple[F32, F32]:
    """Combine the logits of one video's views, and the probabilities.

    Args:
        logits_VC: Logits (V, C) of the V views.
        label_kind: "one" uses softmax, "many" sigmoid.
        views: "mean" for the mean over views, "max" for the maximum of each class.

    Returns:
        Logits and probabilities, (C,) each.
    """
    logits = logits_VC.float().cpu()
    probabilities = logits.softmax(dim=1) if label_kind == "one" else logits.sigmoid()
    combine = torch.amax if views == "max" else torch.mean
    return combine(logits, dim=0).numpy(), combine(probabilities, dim=0).numpy()


def convert_to_probabilities(averages: F32, recipe: Recipe) -> F32:
    """Convert the averages by which a recipe is evaluated to probabilities.

    Args:
        averages: Logits (…, C), or probabilities if ``testing.over`` is softmax, which stay as they
            are.
        recipe: The recipe.

    Returns:
        Probabilities (…, C): the softmax, or with many labels the sigmoid of each class.
    """
    if recipe.testing.over == "softmax":
        return averages
    logits = torch.from_numpy(averages)
    converted = logits.softmax(-1) if recipe.labels == "one" else logits.sigmoid()
    probabilities: F32 = converted.numpy()
    return probabilities


def format_gflops(flops: float | None) -> str:
    """Format floating-point operations as 10⁹ (GFLOPs), with three digits; – if unknown."""
    if flops is None:
        return "–"
    billions = flops / 1e9
    return f"{billions:,.0f}" if billions >= 100 else f"{billions:.3g}"


# --- metrics -------------------------------------------------------------------------------------


def measure(scores: F32, labels: npt.NDArray[Any]) -> dict[str, float]:
    """Measure accuracy, or average precision for videos with many labels.

    If another class has the same score as the right one, the prediction counts as wrong, so that a
    network with equal scores for all classes is never right. mean_class is the mean accuracy over
    the classes that have videos.

    Args:
        scores: Scores (N, C).
        labels: Class ids (N,), or 0 and 1 (N, C) with many labels.

    Returns:
        top1, top5 and mean_class in [0, 1], and n, the number of videos. With many labels, the
        result of `measure_average_precision`.
    """
    if labels.ndim == 2:
        return measure_average_precision(scores, labels)
    from sklearn.metrics import recall_score  # takes a second to import; training does not need it

    label_scores = np.take_along_axis(scores, labels[:, None], axis=1)
    rank = (scores >= label_scores).sum(axis=1) - 1
    predicted = predict_classes(scores, labels)
    mean_class = recall_score(labels, predicted, labels=np.unique(labels), average="macro")
    return {
        "top1": float((rank < 1).mean()),
        "top5": float((rank < TOP).mean()),
        "mean_class": float(mean_class),
        "n": len(labels),
    }


def predict_classes(scores: F32, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the predicted class of each video, (N,): on a tie with the right one, a wrong one."""
    rows = np.arange(len(labels))
    wrong_scores = scores.copy()
    wrong_scores[rows, labels] = -np.inf
    best_wrong = wrong_scores.argmax(axis=1)
    is_right = scores[rows, labels] > wrong_scores[rows, best_wrong]
    predicted: npt.NDArray[np.int64] = np.where(is_right, labels, best_wrong)
    return predicted


def measure_class_accuracies(scores: F32, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Compute the accuracy of each class, (C,); NaN for a class without videos."""
    matrix = count_confusions(scores, labels)
    with np.errstate(invalid="ignore"):
        accuracy: npt.NDArray[np.float64] = np.diag(matrix) / matrix.sum(axis=1)
    return accuracy


def count_confusions(scores: F32, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count videos by (true class, predicted class), (C, C)."""
    from sklearn.metrics import confusion_matrix

    predicted = predict_classes(scores, labels)
    matrix: Any = confusion_matrix(labels, predicted, labels=np.arange(scores.shape[1]))
    return np.asarray(matrix, np.int64)
