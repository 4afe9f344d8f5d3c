"""Plan a run: which videos lack feature files, and why some are left out."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowkit.annotations import Source
from flowkit.errors import CorruptError
from flowkit.extraction.frame_rates import FrameRates, check_resampling
from flowkit.extraction.plan import arrange_tasks, belongs, is_replaced, make_task
from flowkit.extraction.source import has_changed
from flowkit.extraction.stored_flow import make_stored_task
from flowkit.extraction.tasks import ExtractionTask
from flowkit.store import Failure, Fingerprint, Store
from train.feature_files.folder import FeatureFolder, remove_files
from train.feature_files.options import FileOptions
from train.feature_files.recipe import FileRecipe
from train.feature_files.summary import Summary
from train.feature_files.video_info import count_needed_frames
from train.features.plan import make_failure

SHORTER_THAN_WINDOW = "shorter-than-window"
"""Kind of the failures that only a strict run has."""


class FilePlanner:
    """Decides for each video whether its files are computed.

    Args:
        folder: The folder of the files.
        recipe: Its recipe.
        options: How the run is executed.
        failures: Failures of earlier runs by video id.
        summary: The summary of the run, in which the videos that it leaves out are recorded.
        log: Called with each line to print.
    """

    def __init__(
        self,
        folder: FeatureFolder,
        recipe: FileRecipe,
        options: FileOptions,
        failures: Mapping[str, Failure],
        summary: Summary,
        log: Callable[[str], None],
    ) -> None:
        self._folder, self._recipe, self._options = folder, recipe, options
        self._failures, self._summary, self._log = failures, summary, log
        self._tasks: list[ExtractionTask] = []

    def plan_files(self, sources: Sequence[Source]) -> tuple[ExtractionTask, ...]:
        """Plan the features of video files and frame folders.

        Returns:
            The tasks, the largest first.

        Raises:
            UsageError: Frame folders without a stated frame rate are to be resampled.
        """
        rates = FrameRates(None, self._options.frame_rate, self._options.table)
        for source in sources:
            if not belongs(source.id, self._options.part):
                continue
            info = self._read_info(source.id)
            rate = rates.find(source, None, self._recipe.frames).value
            if info is not None and not is_outdated(source.path, rate, info):
                self._add_done(info)
            elif info is not None and not self._options.update:
                self._summary.changed.append(source.id)
            elif not self._is_quarantined(source.id, source.path):
                self._tasks.append(make_task(source, self._recipe.streams, rate))
        check_resampling(self._tasks, self._recipe.frames)
        return self._finish()

    def plan_stored(self, sources: Sequence[Source], store: Store) -> tuple[ExtractionTask, ...]:
        """Plan the features of videos of a store.

        Args:
            sources: The videos.
            store: The store.

        Returns:
            The tasks, the largest first.
        """
        for source in sources:
            row = store.find(source.id)
            if row is None or not belongs(source.id, self._options.part):
                continue
            video = store[row]
            missing = [name for name in self._recipe.streams if name not in video.streams]
            info = self._read_info(source.id)
            stored = None if info is None else Fingerprint(**info["fingerprint"])
            if info is not None and stored is not None and stored.same_content(video.fingerprint):
                self._add_done(info)
            elif stored is not None and not self._options.update:
                self._summary.changed.append(source.id)
            elif missing:
                reason = f"it has no {missing[0]}: extract it with --streams {missing[0]}"
                failure = make_failure(source.id, f"no-{missing[0]}", reason, "")
                self._summary.lacking.append(failure)
            elif not self._is_quarantined(source.id):
                self._tasks.append(make_stored_task(video, source.path, self._recipe.streams))
        return self._finish()

    def _finish(self) -> tuple[ExtractionTask, ...]:
        """Return the tasks that ``--limit`` leaves, the largest first."""
        tasks, self._summary.beyond = arrange_tasks(self._tasks, self._options.limit)
        return tasks

    def _read_info(self, id: str) -> dict[str, Any] | None:
        """Return the JSON file of a video that has all its files; remove it if one is missing."""
        try:
            info, reason = self._folder.read_info(id), "a feature file is missing"
        except CorruptError as error:
            info, reason = None, str(error)
        files = self._folder.list_feature_files(id, self._recipe)
        if info is not None and all(file.exists() for file in files):
            return info
        if self._folder.get_info_path(id).exists():
            self._log(f"{id}: {reason}; its features must be computed again")
            remove_files([self._folder.get_info_path(id)])
        return None

    def _add_done(self, info: Mapping[str, Any]) -> None:
        """Count a video as done; in a strict run, note it if an earlier run padded its rows."""
        self._summary.done_before += 1
        frames = info["frames"]
        if self._options.strict and self._recipe.windows.is_too_short(frames):
            reason = (
                f"a window needs {count_needed_frames(self._recipe.windows)} frames, and the video "
                f"has {frames}: an earlier run without --strict padded its rows"
            )
            self._summary.padded.append(make_failure(info["id"], SHORTER_THAN_WINDOW, reason, ""))

    def _is_quarantined(self, id: str, path: Path | None = None) -> bool:
        """Return whether a video failed before and is not tried again; record it if so.

        Args:
            id: Id of the video.
            path: Its file, which may have been replaced since; None if a store has the video.
        """
        failure = self._failures.get(id)
        if failure is None or self._options.retry_failed or failure.retry:
            return False
        if path is not None and is_replaced(path, failure):
            return False
        self._summary.quarantined.append(failure)
        return True


def is_outdated(path: Path, frame_rate: float | None, info: Mapping[str, Any]) -> bool:
    """Return whether a source, or its stated frame rate, changed after its features were computed.

    Args:
        path: The file or frame folder.
        frame_rate: Frames per second that are stated for a frame folder; None for a file, or if
            none are stated.
        info: The JSON file of the video.
    """
    before = info["source_frame_rate"]
    if frame_rate is not None and (before is None or not math.isclose(frame_rate, before)):
        return True
    return has_changed(path, Fingerprint(**info["fingerprint"]))
