"""Find the frame rates that the user states for frame folders, whose images have none.

The labels may state one for each video, in a column ``fps``; ``--frame-rate`` states that of all
others. A video that is in the store already keeps its rate as long as none is stated.
"""

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from flowkit.annotations import AnnotationTable, Source
from flowkit.caches import is_folder
from flowkit.errors import UsageError
from flowkit.extraction.tasks import ExtractionTask
from flowkit.recipe import StoreRecipe
from flowkit.recipe.recipe import MAX_FPS
from flowkit.store import Video
from flowkit.store.annotations import read_annotations

COLUMNS = ("fps", "framerate")
"""Names of the column of a label file that states frame rates; of a name only letters count, in
upper or lower case.
"""


class FoundRate(NamedTuple):
    """The frame rate of one source."""

    value: float | None = None
    """Frames per second; None for a file, or if unknown."""
    differs: bool = False
    """Whether the stated rate differs from that of the video in the store."""


class FrameRates:
    """The stated frame rates of frame folders.

    Args:
        root: Folder of the store, whose annotations may state rates; None for no store.
        default: Frames per second of all others; None if not stated.
        table: Annotations that may state rates, where there is no store.
    """

    def __init__(
        self,
        root: Path | None = None,
        default: float | None = None,
        table: AnnotationTable | None = None,
    ) -> None:
        self._root, self._default, self._table = root, default, table

    def find(self, source: Source, video: Video | None, recipe: StoreRecipe) -> FoundRate:
        """Find the frame rate of a source.

        Args:
            source: The source.
            video: The video in the store, if it has one.
            recipe: Recipe of the store.

        Raises:
            UsageError: The labels state something else than a frame rate.
        """
        if not is_folder(source.path):
            return FoundRate()
        text = self._texts.get(source.id)
        stated = self._default if text is None else parse_rate(text, source.id)
        if video is None or not knows_rate(video, recipe):
            return FoundRate(stated)
        if stated is None:
            return FoundRate(video.fps)
        return FoundRate(stated, has_other_rate(stated, video, recipe))

    @cached_property
    def _texts(self) -> Mapping[str, str]:
        """The values in the column of the labels, by id; read when the first folder is found."""
        table = self._table if self._root is None else read_annotations(self._root)
        texts = {}
        for annotation in table.annotations if table else ():
            for name, text in annotation.attributes.items():
                letters = "".join(filter(str.isalpha, name.lower()))
                if letters in COLUMNS and text.strip():
                    texts[annotation.id] = text.strip()
        return texts


def knows_rate(video: Video, recipe: StoreRecipe) -> bool:
    """Return whether a stored video has the frame rate of its images: frames not resampled."""
    return video.num_frames > 0 and recipe.fps is None


def has_other_rate(rate: float, video: Video, recipe: StoreRecipe) -> bool:
    """Return whether a stored video has another frame rate than ``rate``, as far as is known."""
    return knows_rate(video, recipe) and not math.isclose(rate, video.fps, rel_tol=1e-6)


def parse_rate(text: str, id: str) -> float:
    """Parse frames per second, such as ``25``, ``29.97`` or ``30000/1001``.

    Args:
        text: The value in the labels.
        id: Id of the video, for the error message.

    Raises:
        UsageError: It is not a number above 0 and at most `MAX_FPS`.
    """
    try:
        rate = float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        rate = 0.0
    if not 0 < rate <= MAX_FPS:
        raise UsageError(
            f"the labels of {id!r} state the frame rate {text!r}; expected frames per second above "
            f"0 and at most {MAX_FPS}, such as 25 or 30000/1001"
        )
    return rate


def check_has_folders(sources: Iterable[Source], frame_rate: float | None) -> None:
    """Check that a frame rate is stated only if there are frame folders.

    Args:
        sources: The videos.
        frame_rate: Value of ``--frame-rate``.

    Raises:
        UsageError: A frame rate is stated, and all videos are files.
    """
    if frame_rate is not None and not any(is_folder(source.path) for source in sources):
        raise UsageError(
            "--frame-rate states the rate of folders of images, and there is none among the "
            "videos; to resample videos: --fps"
        )


def check_resampling(tasks: Iterable[ExtractionTask], recipe: StoreRecipe) -> None:
    """Check that the frame rates of all frame folders are known, if they are to be resampled.

    Args:
        tasks: The tasks.
        recipe: Recipe of the store.

    Raises:
        UsageError: A frame rate is unknown.
    """
    if recipe.fps is None:
        return
    unknown = [
        task.id
        for task in tasks
        if task.frame_rate is None and set(task.streams) - {"audio"} and is_folder(task.source)
    ]
    if unknown:
        raise UsageError(
            f"{len(unknown):,} folders of images are to be resampled to {recipe.fps:g} fps, and "
            f"their own frame rate is not stated, such as that of {unknown[0]!r}; give it with "
            "--frame-rate, or in a column fps of the labels"
        )
