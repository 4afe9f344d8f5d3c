"""Open the images of a video: of a file or frame folder, whose flow is computed, or of a store."""

from collections.abc import Callable, Iterator
from threading import Event
from typing import Self

from flowkit.decode import FrameReader
from flowkit.errors import VideoError
from flowkit.extraction.image_chunks import ImageChunk, compute_images, read_stored_images
from flowkit.extraction.learned_flow import check_frame_size
from flowkit.extraction.readers import estimate_frames, open_reader
from flowkit.extraction.source import check_unchanged, fingerprint_source
from flowkit.extraction.stage_timer import StageTimer
from flowkit.extraction.tasks import ExtractionTask
from flowkit.path_text import printable_path
from flowkit.store import Store
from train.feature_files.settings import FileSettings
from train.feature_files.video_info import FrameFacts
from train.feature_files.window_images import WindowImages


class FileSource:
    """A video file or a frame folder.

    Args:
        task: The task.
        settings: The settings of the worker, whose ``recipe`` is the part of ``file_recipe`` for
            frames and flow.
        timer: Timer of the stage ``flow``.
        report_progress: Called with the number of frames that were decoded or whose flow was
            computed.
        stop: Set when the run is to end.

    Raises:
        VideoError: The file cannot be read.

    Attributes:
        name: Path of the file, as printable text.
        fingerprint: Fingerprint of the file.
        expected_frames: Number of frames that it will have, for progress; 0 if unknown.
    """

    def __init__(
        self,
        task: ExtractionTask,
        settings: FileSettings,
        timer: StageTimer,
        report_progress: Callable[[int], None],
        stop: Event,
    ) -> None:
        self.name = printable_path(task.source)
        self.fingerprint = fingerprint_source(task.source)
        self._path, self._streams = task.source, settings.file_recipe.streams
        self._stated_rate = task.frame_rate
        self._reader: FrameReader = open_reader(
            task, settings.root, settings.recipe, settings.open_video
        )
        self.expected_frames = estimate_frames(self._reader)
        self._flow = settings.recipe.flow if "flow" in self._streams else None
        self._images = compute_images(
            self._reader, settings, self._streams, timer, report_progress, stop
        )

    def read_chunks(self) -> Iterator[ImageChunk]:
        """Decode the frames and compute their flow."""
        if self._flow is not None:
            check_frame_size(self._flow, self._path, self._reader.width, self._reader.height)
        return self._images

    def describe_frames(self, images: WindowImages) -> FrameFacts:
        """Describe the frames, after all were read."""
        reader, info = self._reader, getattr(self._reader, "info", None)
        return FrameFacts(
            frames=images.frames,
            frame_rate=reader.frame_rate,
            source_frame_rate=self._stated_rate if info is None else info.fps,
            width=reader.width,
            height=reader.height,
            times=images.times,
            warnings=tuple(reader.warnings),
        )

    def check_unchanged(self) -> None:
        """Raise a VideoError if the file has changed while it was read."""
        check_unchanged(self._path, self.fingerprint)

    def __enter__(self) -> Self:
        """Return the source itself."""
        self._reader.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self._reader.__exit__(*exception)


class StoredSource:
    """A video of a store; the store has the streams that the networks read.

    It has the methods and attributes of `FileSource`.

    Args:
        task: The task, whose source is the folder of the store.
        settings: The settings of the worker.
        report_progress: Called with the number of frames that were read.
        stop: Set when the run is to end.

    Raises:
        VideoError: ``gone``: the store does not have the video any more.
    """

    def __init__(
        self,
        task: ExtractionTask,
        settings: FileSettings,
        report_progress: Callable[[int], None],
        stop: Event,
    ) -> None:
        store = Store(task.source)
        row = store.find(task.id)
        if row is None:
            raise VideoError("gone", f"{task.id} was removed from the store {store.location}")
        self._video = store[row]
        self.name, self.fingerprint = self._video.source, self._video.fingerprint
        self.expected_frames = self._video.num_frames
        self._streams = settings.file_recipe.streams
        self._report_progress, self._stop = report_progress, stop

    def read_chunks(self) -> Iterator[ImageChunk]:
        """Read the stored images."""
        return read_stored_images(self._video, self._streams, self._report_progress, self._stop)

    def describe_frames(self, images: WindowImages) -> FrameFacts:
        """Describe the frames, after all were read."""
        video = self._video
        return FrameFacts(
            frames=images.frames,
            frame_rate=video.fps,
            source_frame_rate=None,
            width=video.width,
            height=video.height,
            times=images.times,
            warnings=(),
        )

    def check_unchanged(self) -> None:
        """Do nothing: shards never change."""

    def __enter__(self) -> Self:
        """Return the source itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: the store keeps its shards open."""


def open_source(
    task: ExtractionTask,
    settings: FileSettings,
    timer: StageTimer,
    report_progress: Callable[[int], None],
    stop: Event,
) -> FileSource | StoredSource:
    """Open the images of a task; see `FileSource` and `StoredSource`."""
    if task.stored is not None:
        return StoredSource(task, settings, report_progress, stop)
    return FileSource(task, settings, timer, report_progress, stop)
