"""Write motion8 to disk, and read its record.

    <root>/videos/<class>/<subset>_<index>.mp4      H.264, 4:2:0, BT.709, limited range
    <root>/annotations/{train,test}.csv             id,label
    <root>/motion8.json                             generator, config, and each video's checksum

``motion8.json`` is the record of the folder. Its ``generator`` is a number that says how the videos
were encoded. The record is written first without checksums, and again at the end: if it has no
checksums, writing was interrupted. Every file appears under its name only when it is complete, so a
later call keeps the existing files and makes the missing ones.
"""

import csv
import io
import json
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation
from numpy.typing import NDArray

from flowkit.errors import UsageError
from flowkit.synthetic.motion8.motion import SUBSETS, Clip, Motion8, make_clip, make_clips
from flowkit.synthetic.motion8.rendering import render_clip

GENERATOR = 2
"""Version of the current generator, raised whenever the same configuration gives other files.

All generators so far render the same frames of the same motion, and differ only in how x264
encodes them.
"""
X264_OPTIONS = {"crf": "15", "preset": "veryfast"}
"""Encoder options. Their error is two grey levels; colours also lose detail by 4:2:0."""
# Options of x264 by generator: a folder of an older generator is completed with its own options.
ENCODING = {
    1: X264_OPTIONS,
    # Without this option x264 gives other bytes on processors with other instructions; with
    # AVX-512, about one encoding in a hundred also depends on the memory address of the frame.
    2: X264_OPTIONS | {"x264-params": "cpu-independent=1"},
}


def write_dataset(
    root: Path, config: Motion8, progress: Callable[[int, int], object] | None = None
) -> int:
    """Make the dataset below ``root``, or complete it, or verify it.

    A video whose bytes are not those that were written is rendered again. A folder that an older
    flowkit wrote is completed with the encoder settings of its own generator.

    Args:
        root: The folder of the dataset.
        config: The configuration.
        progress: Called after each video with the number of finished videos and the total.

    Returns:
        The number of videos that were rendered: 0 if all of them existed.

    Raises:
        UsageError: The folder holds motion8 with another configuration or of a newer generator, or
            videos that motion8 did not write.
    """
    clips = list(make_clips(config))
    record_path = root / "motion8.json"
    generator, checksums = GENERATOR, dict[str, int]()
    if record_path.exists():
        generator, _, checksums = read_record(root, config)
    elif (root / "videos").exists() and any((root / "videos").iterdir()):
        raise UsageError(
            f"{root} has videos but no motion8.json, so motion8 did not write them: "
            "choose another folder, or remove this one"
        )
    else:
        write_record(record_path, generator, config, {})
    rendered = 0
    current_checksums: dict[str, int] = {}
    for finished_videos, clip in enumerate(clips, 1):
        path = root / "videos" / clip.id
        checksum = zlib.crc32(path.read_bytes()) if path.is_file() else None
        if checksum is None or checksums.get(clip.id, checksum) != checksum:
            encode_video(path, render_clip(clip), config, generator)
            checksum = zlib.crc32(path.read_bytes())
            rendered += 1
        current_checksums[clip.id] = checksum
        if progress is not None:
            progress(finished_videos, len(clips))
    for subset in SUBSETS:
        write_text(root / "annotations" / f"{subset}.csv", format_annotations(clips, subset))
    if current_checksums != checksums:
        write_record(record_path, generator, config, current_checksums)
    return rendered


def load_clip(root: Path, clip_id: str) -> Clip:
    """Load the clip of a video in a motion8 folder.

    Args:
        root: The folder of the dataset.
        clip_id: The id, ``<class>/<subset>_<index>.mp4``.

    Returns:
        The clip.

    Raises:
        UsageError: The folder is not a motion8 folder, or of a newer generator, or has no such
            clip.
    """
    return make_clip(read_record(root)[1], clip_id)


def read_record(root: Path, config: Motion8 | None = None) -> tuple[int, Motion8, dict[str, int]]:
    """Read the record of a motion8 folder.

    Args:
        root: The folder of the dataset.
        config: The configuration that the folder must have; None allows any.

    Returns:
        The generator, the configuration, and the CRC-32 of each video by id.

    Raises:
        UsageError: There is no valid record, or the configuration differs.
    """
    path = root / "motion8.json"
    advice = "choose another folder, or remove this one and write it again"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        generator, values = int(record["generator"]), {**record["config"]}
        checksums = {str(k): int(v) for k, v in record["videos"].items()}
    except FileNotFoundError as error:
        raise UsageError(f"{root} is not a motion8 folder: it has no motion8.json") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is damaged ({error}); {advice}") from error
    if generator not in ENCODING:
        raise UsageError(
            f"{root} was written by generator {generator} of motion8, and this flowkit knows "
            f"generators 1 to {GENERATOR}; update flowkit, or {advice}"
        )
    expected = values if config is None else config.to_dict()
    if values != expected:
        names = sorted(n for n in {*expected, *values} if expected.get(n) != values.get(n))
        differences = ", ".join(f"{n}: {values.get(n)} ≠ {expected.get(n)}" for n in names)
        raise UsageError(f"{root} holds motion8 with other settings ({differences}); {advice}")
    try:
        return generator, Motion8(**values), checksums
    except TypeError as error:
        raise UsageError(f"{path} is damaged ({error}); {advice}") from error


def write_record(path: Path, generator: int, config: Motion8, checksums: dict[str, int]) -> None:
    """Write the record of a motion8 folder.

    Args:
        path: ``motion8.json``.
        generator: Number of the generator.
        config: The configuration.
        checksums: CRC-32 of each video by id.
    """
    record = {"generator": generator, "config": config.to_dict(), "videos": checksums}
    write_text(path, json.dumps(record, indent=1) + "\n")


def format_annotations(clips: list[Clip], subset: str) -> str:
    """Format the annotations of one subset as CSV.

    Args:
        clips: All clips.
        subset: "train" or "test".

    Returns:
        The content of the CSV file.
    """
    csv_file = io.StringIO()
    table = csv.writer(csv_file, lineterminator="\n")
    table.writerow(["id", "label"])
    table.writerows([clip.id, clip.label] for clip in clips if clip.subset == subset)
    return csv_file.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a text file completely or not at all, and only if its content differs.

    Args:
        path: The file.
        text: Its content.
    """
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(path.name + ".part")
    partial_path.write_text(text, encoding="utf-8", newline="")
    partial_path.replace(path)


def encode_video(
    path: Path, frames: Iterator[NDArray[np.uint8]], config: Motion8, generator: int = GENERATOR
) -> None:
    """Encode frames as H.264; the file appears when it is complete.

    Since generator 2 the same frames give the same bytes each time and on every machine with the
    same FFmpeg. (The muxer of another FFmpeg may differ; the encoded frames do not.)

    Args:
        path: The file.
        frames: uint8 RGB (H, W, 3) each.
        config: Frame rate and size.
        generator: Number of the generator, which decides the options of the encoder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(path.name + ".part")
    # The muxer would otherwise write libavformat's version into the file.
    with av.open(
        str(partial_path), "w", format="mp4", options={"fflags": "+bitexact"}
    ) as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(config.fps), options=ENCODING[generator]
        )
        stream.width, stream.height, stream.pix_fmt = config.width, config.height, "yuv420p"
        context = stream.codec_context
        context.thread_count = 1  # the bytes depend on the number of threads
        context.color_range = context.colorspace = 1
        context.color_primaries = context.color_trc = 1
        for frame in frames:
            container.mux(stream.encode(convert_to_yuv(frame)))
        container.mux(stream.encode())
    partial_path.replace(path)


def convert_to_yuv(frame: NDArray[np.uint8]) -> Any:
    """Convert RGB (H, W, 3) to a PyAV frame with 4:2:0, BT.709 and limited range."""
    return av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=1,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
        threads=1,
    )
