"""motion8 on disk.

    <root>/videos/<class>/<subset>_<number>.mp4     H.264, 4:2:0, BT.709, limited range
    <root>/annotations/{train,test}.csv             id,label
    <root>/motion8.json                             generator, config, and each video's checksum

``motion8.json`` is written first, without checksums, and again at the end: a folder that has
it without checksums was interrupted. Every file appears under its name only when it is
whole, so a later call keeps what is there and makes what is missing.
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
from flowkit.synthetic.motion8.law import SUBSETS, Clip, Motion8, make_clip, make_clips
from flowkit.synthetic.motion8.rendering import render

# Raised whenever the same configuration would give other pictures or another true flow.
GENERATOR = 1
CRF = 15  # of x264: two grey levels of error, with what 4:2:0 does to colour


def write(root: Path, config: Motion8, progress: Callable[[int, int], object] | None = None) -> int:
    """Make the dataset below ``root``, or complete it, or verify it.

    Parameters
    ----------
    progress: called with (videos done, videos in all) after each.

    Returns
    -------
    How many videos had to be rendered: 0 where everything was there. A video whose bytes are
    not those that were written is rendered again.

    Raises
    ------
    UsageError: the folder holds a motion8 of another configuration or generator, or
        videos that are not motion8's.
    """
    clips = list(make_clips(config))
    record = root / "motion8.json"
    checksums: dict[str, int] = {}
    if record.exists():
        checksums = read_record(root, config)[1]
    elif (root / "videos").exists() and any((root / "videos").iterdir()):
        raise UsageError(
            f"{root} has videos but no motion8.json, so they are not this generator's; "
            "choose another folder or remove it"
        )
    else:
        write_record(record, config, {})
    rendered = 0
    found: dict[str, int] = {}
    for done, clip in enumerate(clips, 1):
        path = root / "videos" / clip.id
        have = zlib.crc32(path.read_bytes()) if path.is_file() else None
        if have is None or checksums.get(clip.id, have) != have:
            encode(path, render(clip), config)
            have = zlib.crc32(path.read_bytes())
            rendered += 1
        found[clip.id] = have
        if progress is not None:
            progress(done, len(clips))
    for subset in SUBSETS:
        write_text(root / "annotations" / f"{subset}.csv", annotate(clips, subset))
    if found != checksums:
        write_record(record, config, found)
    return rendered


def truth(root: Path, clip_id: str) -> Clip:
    """The clip behind video ``clip_id`` (``<class>/<subset>_<number>.mp4``) of a motion8 folder.

    Raises
    ------
    UsageError: no motion8 folder, one of another generator, or no such clip in it.
    """
    return make_clip(read_record(root)[0], clip_id)


def read_record(root: Path, wanted: Motion8 | None = None) -> tuple[Motion8, dict[str, int]]:
    """(configuration, CRC-32 by id) of ``root``; a UsageError if it is not what is wanted."""
    path = root / "motion8.json"
    remedy = "choose another folder, or remove this one and write it again"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        generator, values = record["generator"], record["config"]
        checksums = {str(k): int(v) for k, v in record["videos"].items()}
    except FileNotFoundError as error:
        raise UsageError(f"{root} is no motion8 folder: it has no motion8.json") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is damaged ({error}); {remedy}") from error
    if generator != GENERATOR:
        raise UsageError(f"{root} is of generator {generator}, this is {GENERATOR}; {remedy}")
    if wanted is not None and values != wanted.to_dict():
        mine = wanted.to_dict()
        names = sorted(n for n in {*mine, *values} if mine.get(n) != values.get(n))
        differences = ", ".join(f"{n}: {values.get(n)} ≠ {mine.get(n)}" for n in names)
        raise UsageError(f"{root} holds another motion8 ({differences}); {remedy}")
    try:
        return Motion8(**values), checksums
    except TypeError as error:
        raise UsageError(f"{path} is damaged ({error}); {remedy}") from error


def write_record(path: Path, config: Motion8, checksums: dict[str, int]) -> None:
    record = {"generator": GENERATOR, "config": config.to_dict(), "videos": checksums}
    write_text(path, json.dumps(record, indent=1) + "\n")


def annotate(clips: list[Clip], subset: str) -> str:
    """The CSV of one subset."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "label"])
    table.writerows([clip.id, clip.label] for clip in clips if clip.subset == subset)
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; untouched if it already says so."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="")
    part.replace(path)


def encode(path: Path, frames: Iterator[NDArray[np.uint8]], config: Motion8) -> None:
    """Encode frames, uint8 RGB (H, W, 3), as H.264; the file appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with av.open(str(part), "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(config.fps), options={"crf": str(CRF), "preset": "veryfast"}
        )
        stream.width, stream.height, stream.pix_fmt = config.width, config.height, "yuv420p"
        coder = stream.codec_context
        coder.thread_count = 1  # the bytes depend on the number of threads
        coder.color_range, coder.colorspace, coder.color_primaries, coder.color_trc = 1, 1, 1, 1
        for picture in frames:
            container.mux(stream.encode(to_yuv(picture)))
        container.mux(stream.encode())
    part.replace(path)


def to_yuv(picture: NDArray[np.uint8]) -> Any:
    """RGB → 4:2:0, BT.709, limited range."""
    return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=1,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
        threads=1,
    )
