"""Read the images of a frame folder as the frames of a video.

flowkit/frame_files.py defines which files are the frames, and their order. The frames are defined
as those of a video file are (reader.py): resized by the same code, and resampled by the same rule.
Images state no frame rate, so it comes from the user.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

from flowkit.decode.container import get_display_name
from flowkit.decode.conversion import FrameConverter, check_sizes
from flowkit.decode.frame import VideoFrame
from flowkit.decode.image_file import Image, decode_image, may_keep, read_image_file
from flowkit.decode.orientation import Orientation
from flowkit.decode.resample import repeat_frames, resample_frames
from flowkit.errors import UsageError, VideoError
from flowkit.frame_files import list_frames
from flowkit.recipe import Resize, RGBRecipe

DEFAULT_FRAME_RATE = 25.0
"""Frames per second of a frame folder for which none is stated."""
TICKS = 1 << 20
"""Ticks from a frame to the next; resampling accepts frames that are late by half a tick."""


@dataclass(frozen=True, slots=True)
class TimedFile:
    """An image file with the timestamps that resampling needs."""

    name: str
    """Name of the file."""
    pts: int
    """Presentation time in ticks."""
    duration: int = TICKS
    """Ticks for which the frame is shown."""

    @property
    def dts(self) -> int:
        """Return the decoding time in ticks."""
        return self.pts


class FrameFolderReader:
    """Iterates over the frames of one frame folder, in one pass and constant memory.

    Args:
        path: The folder.
        resize: How frames are resized.
        fps: Frames per second to resample to; None keeps every frame.
        frame_rate: Frames per second of the images; None if unknown: `DEFAULT_FRAME_RATE` is
            assumed, with a warning.
        rgb: How RGB frames are stored, to decide which JPEGs keep their bytes; None keeps none.

    Attributes:
        width: Width of the frames that are returned, in pixels.
        height: Height of the frames that are returned, in pixels.
        frame_rate: Frames per second of the frames that are returned.
        warnings: One line for each problem that was noticed so far.

    Raises:
        VideoError: When the folder is opened: what `list_frames` raises; ``bad-size``; ``broken``
            if the first image cannot be decoded; ``no-frame-rate`` if frames are to be resampled
            and their rate is unknown. During iteration: ``broken``, ``size-change`` and others for
            an image. The message names the file.
        UsageError: A rate is not a positive number, or the reader is iterated twice.
    """

    def __init__(
        self,
        path: Path,
        resize: Resize,
        fps: float | None = None,
        *,
        frame_rate: float | None = None,
        rgb: RGBRecipe | None = None,
    ) -> None:
        """List the folder and decode its first image."""
        for name, rate in (("fps", fps), ("frame_rate", frame_rate)):
            if rate is not None and not (0 < rate < float("inf") and round_rate(rate)):
                raise UsageError(f"{name} must be a positive number, at least 1e-6, got {rate}")
        self._path, self._rgb = path, rgb
        self._label = get_display_name(path)
        self.warnings: list[str] = []
        if frame_rate is None:
            self._note_unknown_rate(fps)
        self._rate = round_rate(frame_rate or DEFAULT_FRAME_RATE)
        self._fps = None if fps is None else round_rate(fps)
        self.frame_rate = (frame_rate or DEFAULT_FRAME_RATE) if fps is None else float(fps)
        self._names = list_frames(path)
        first = self._decode(self._names[0])[1]
        height, width = first.orientation.apply(first.pixels).shape[:2]
        self._image_size = (width, height)
        self.width, self.height = resize.compute_size(width, height)
        resized = (self.width, self.height)
        check_sizes(self._label, {"image": self._image_size, "resized image": resized})
        self._is_area = resize.filter == "area"
        self._converters: dict[Orientation, FrameConverter] = {}
        self._is_iterated = self._has_deep_images = False

    def _note_unknown_rate(self, fps: float | None) -> None:
        """Warn that a frame rate is assumed, or refuse to resample from an assumed one."""
        advice = "state it with --frame-rate, or in a column fps of the labels"
        if fps is not None:
            problem = "the images state no frame rate, which resampling needs"
            raise VideoError("no-frame-rate", f"{self._label}: {problem}; {advice}")
        self.warnings.append(
            f"the images state no frame rate: {DEFAULT_FRAME_RATE:g} frames per second are "
            f"assumed; {advice}"
        )

    def read_frames(self) -> Iterator[VideoFrame]:
        """Iterate over the frames.

        Returns:
            An iterator over the frames, in the order of their numbers; their times are those of
            the frame rate.

        Raises:
            UsageError: The reader was iterated before.
        """
        if self._is_iterated:
            raise UsageError(
                f"{self._label}: a FrameFolderReader can be iterated only once; open another one"
            )
        self._is_iterated = True
        frames = ((self._read_frame(name), count) for name, count in self._choose_files())
        return repeat_frames(frames, self._fps or self._rate)

    def _choose_files(self) -> Iterator[tuple[str, int]]:
        """Yield the name of each file that is shown, and how many times."""
        if self._fps is None:
            yield from ((name, 1) for name in self._names)
            return
        interval = 1 / self._rate
        files = (TimedFile(name, n * TICKS) for n, name in enumerate(self._names))
        for file, count in resample_frames(
            files, self._fps, interval / TICKS, interval, self.warnings, max_gap=interval
        ):
            yield file.name, count

    def _read_frame(self, name: str) -> VideoFrame:
        """Read one image as a frame without a time."""
        data, image = self._decode(name)
        size = image.orientation.apply(image.pixels).shape[1::-1]
        if size != self._image_size:
            raise VideoError(
                "size-change",
                f"{self._label}: {get_display_name(name)} is {size[0]}×{size[1]}, "
                f"{get_display_name(self._names[0])} {self._image_size[0]}×{self._image_size[1]}; "
                "expected images of one size",
            )
        if image.bits != 8 and not self._has_deep_images:
            self._has_deep_images = True
            self.warnings.append(
                f"{get_display_name(name)} has {image.bits} bits per value, of which the upper 8 "
                "are used"
            )
        target, orientation = (self.width, self.height), image.orientation
        if orientation not in self._converters:
            self._converters[orientation] = FrameConverter(
                target, self._is_area, orientation, self._label
            )
        keeps = size == target and self._rgb is not None and may_keep(data, image, self._rgb)
        pixels = self._converters[orientation].resize(image.pixels)
        return VideoFrame(pixels, None, data if keeps else None)

    def _decode(self, name: str) -> tuple[bytes, Image]:
        """Read and decode one file."""
        path = self._path / name
        data = read_image_file(path)
        return data, decode_image(data, path)

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: no file stays open."""


def round_rate(rate: float) -> Fraction:
    """Return a frame rate as a fraction with a denominator of at most a million."""
    return Fraction(rate).limit_denominator(1_000_000)
