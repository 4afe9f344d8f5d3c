"""Choose the subset of each video: a file in the style of ActivityNet has one for each video."""

import re
from dataclasses import dataclass
from typing import Literal

from flowkit.annotations.table import Annotation, AnnotationTable
from flowkit.errors import AnnotationError, UsageError

ACTIVITYNET_NAMES = {"train": "training", "val": "validation", "test": "testing"}
"""The names that ActivityNet has for our subsets; other names stay as they are."""
TRAINING = frozenset({"train", "training"})
"""Names of subsets that networks are trained on."""
UNASSIGNED = "unassigned"
"""The subset that is written for a video without one. None of the usual subsets has this name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotationOptions:
    """How annotations are written."""

    subset_names: Literal["activitynet", "labels"] = "activitynet"
    """``activitynet``: train, val and test are written as training, validation and testing.
    ``labels``: subsets are written as flowkit calls them.
    """
    split: int | None = None
    """Number of the split that is written, for subsets such as train1, test1, train2, …; the names
    lose their number. None if each video is in one subset.
    """


def check_split(table: AnnotationTable, split: int | None) -> None:
    """Check that a subset belongs to the split.

    Args:
        table: The annotations.
        split: Number of the split; None if none was chosen.

    Raises:
        UsageError: No subset has this number at its end.
    """
    names = {name for annotation in table.annotations for name in annotation.subsets}
    if split is not None and not any(remove_split(name, split) for name in names):
        raise UsageError(
            f"no subset of split {split}: the annotations have {', '.join(sorted(names)) or 'none'}"
        )


def remove_split(name: str, split: int) -> str | None:
    """Return the name of a subset without the number of its split.

    Args:
        name: Such as ``train1`` or ``test_1``.
        split: Number of the split.

    Returns:
        Such as ``train``; None if the subset does not belong to the split.
    """
    match = re.fullmatch(rf"(.*\D)0*{split}", name)
    return match[1].rstrip("_- ") or None if match else None


def choose_subset(annotation: Annotation, options: AnnotationOptions) -> str | None:
    """Return the subset of a video as it is written.

    Args:
        annotation: The annotation of the video.
        options: How subsets are written.

    Returns:
        The subset, `UNASSIGNED` if the video has none; None if it is in no subset of the split.

    Raises:
        AnnotationError: The video is in several subsets.
    """
    names = [name for name in annotation.subsets if name]
    if options.split is not None:
        own = [remove_split(name, options.split) for name in names]
        names = [name for name in own if name is not None]
        if not names:
            return None
    if len(names) > 1:
        advice = "correct the labels so that each video is in one"
        if options.split is None and all(re.search(r"\D\d+$", name) for name in names):
            advice = "name the split that is meant (--annotation-split)"
        raise AnnotationError(
            f"video {annotation.id!r} is in the subsets {', '.join(names)}, but such a file has "
            f"one subset for each video; {advice}"
        )
    name = names[0] if names else UNASSIGNED
    return ACTIVITYNET_NAMES.get(name, name) if options.subset_names == "activitynet" else name
