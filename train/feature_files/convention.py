"""Describe a convention: the settings with which a public project made its feature files.

conventions.py has the conventions that flowkit knows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from flowkit.streams import StreamName
from train.feature_files.windows import WindowSampling

CROP_COUNTS: Mapping[str, int] = {"centre": 1, "three": 3, "ten": 10}


@dataclass(frozen=True, kw_only=True)
class Convention:
    """The settings of one public project's feature files."""

    name: str
    """Name of the convention, for ``--convention``."""
    summary: str
    """What the features are and who reads them, in one line."""
    sources: tuple[str, ...]
    """Public addresses of what states the settings."""
    windows: WindowSampling
    """The windows of frames, one for each row."""
    network: str
    """The network of the published features. Another one can be used; it has other features."""
    dimension: int
    """Number of features that this network computes for a stream."""
    fps: float | None = None
    """Frames per second that videos are resampled to, or None for the frames as they are."""
    short_side: int | None = None
    """Shorter side of the frames in pixels, before cropping; smaller frames are enlarged."""
    frame_size: tuple[int, int] | None = None
    """Width and height of the frames in pixels, whatever their shape was, instead of `short_side`.
    With neither, frames keep their size."""
    crops: Literal["centre", "three", "ten"] = "centre"
    """Crops of each window."""
    size: int = 224
    """Height and width of a crop in pixels."""
    streams: tuple[StreamName, ...] = ("rgb", "flow")
    """The streams, in the order in which their features are written."""
    layout: Literal["concatenated", "separate"] = "concatenated"
    """Whether the features of all streams are one file, side by side, or one file a stream."""
    left_open: tuple[str, ...] = ()
    """What the sources do not state, and what flowkit does."""
    notes: tuple[str, ...] = ()
    """Where flowkit differs from the sources, and what a reader of the files should know."""

    def list_shapes(self, frames: int) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of a video's feature files with the network of the convention.

        Args:
            frames: Number of frames of the video, at the frame rate of the convention.

        Returns:
            One shape for each file: (rows, features), or (rows, crops, features) for several crops.
        """
        rows, crops = self.windows.count_rows(frames), CROP_COUNTS[self.crops]
        lead = (rows,) if crops == 1 else (rows, crops)
        if self.layout == "separate":
            return ((*lead, self.dimension),) * len(self.streams)
        return ((*lead, self.dimension * len(self.streams)),)


def describe_convention(convention: Convention) -> Iterator[str]:
    """Yield the lines of the list about one convention, after its name and summary."""
    yield f"windows: {describe_windows(convention.windows)}"
    yield f"frames: {describe_frames(convention)}"
    yield f"files: {describe_files(convention)}"
    yield from (f"source: {source}" for source in convention.sources)
    yield from (f"left open: {text}" for text in convention.left_open)
    yield from (f"note: {text}" for text in convention.notes)


def describe_windows(windows: WindowSampling) -> str:
    """Describe windows in one line, such as "16 frames, every 4 frames, inside the video"."""
    frames = f"{windows.length} frames"
    if windows.step > 1:
        frames += f" at steps of {windows.step}"
    every = "every frame" if windows.stride == 1 else f"every {windows.stride} frames"
    line = {
        "whole": f"{frames}, {every}, inside the video",
        "covering": f"{frames}, {every}, the last window padded",
        "centred": f"{frames} around {every}, padded at both ends",
    }[windows.placement]
    return line + (
        "; without the last frame, which has no flow" if windows.last_frame == "drop" else ""
    )


def describe_frames(convention: Convention) -> str:
    """Describe the frame rate, the size of the frames and the crops in one line."""
    rate = f"{convention.fps:g} frames/s" if convention.fps else "frame rate of the video"
    side = ""
    if convention.frame_size is not None:
        side = f", resized to {convention.frame_size[0]}x{convention.frame_size[1]}"
    elif convention.short_side is not None:
        side = f", shorter side {convention.short_side}"
    crops = {"centre": "centre crop", "three": "three crops", "ten": "ten crops"}
    return f"{rate}{side}, {crops[convention.crops]} of {convention.size}"


def describe_files(convention: Convention) -> str:
    """Describe the files of a video in one line: streams, shape and network."""
    rest = convention.list_shapes(convention.windows.extent)[0][1:]
    shape = f"(T, {', '.join(map(str, rest))})"
    streams = " and ".join(convention.streams)
    count = "one a stream, " if convention.layout == "separate" else ""
    return f"{streams}, {count}{shape} with {convention.network}"
