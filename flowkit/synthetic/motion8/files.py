"""motion8 on disk.

    <root>/videos/<class>/<subset>_<number>.mp4     H.264, 4:2:0, BT.709, limited range
    <root>/annotations/{train,test}.csv             id,label
    <root>/motion8.json                             generator, config, and each video's checksum

``generator`` is a number that says how the videos were encoded. ``motion8.json`` is written
first, without checksums, and again at the end: a folder that has it without checksums was
interrupted. Every file appears under its name only when it is whole, so a later call keeps
what is there and makes what is missing.
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
from flowkit.synthetic.motion8.rendering import render

# Raised whenever the same configuration would give other files. All generators so far render the
# same pictures of the same motion, and differ only in what x264 makes of them.
GENERATOR = 2
CRF = {"crf": "15", "preset": "veryfast"}  # two grey levels of error, with 4:2:0's on colour
# Options of x264 by generator: a folder of an older generator is completed as it was begun.
ENCODING = {
    1: CRF,
    # x264 otherwise gives other bytes where the processor has other instructions; with AVX-512,
    # about one encoding in a hundred also depends on where the picture lies in memory.
    2: CRF | {"x264-params": "cpu-independent=1"},
}


def write(root: Path, config: Motion8, progress: Callable[[int, int], object] | None = None) -> int:
    """Make the dataset below ``root``, or complete it, or verify it.

    Parameters
    ----------
    progress: called with (videos done, videos in all) after each.

    Returns
    -------
    How many videos had to be rendered: 0 where everything was there. A video whose bytes are
    not those that were written is rendered again. A folder that an older flowkit wrote is
    completed with the encoder settings of its own generator.

    Raises
    ------
    UsageError: the folder holds a motion8 of another configuration or of a newer generator,
        or videos that are not motion8's.
    """
    clips = list(make_clips(config))
    record = root / "motion8.json"
    generator, checksums = GENERATOR, dict[str, int]()
    if record.exists():
        generator, _, checksums = read_record(root, config)
    elif (root / "videos").exists() and any((root / "videos").iterdir()):
        raise UsageError(
            f"{root} has videos but no motion8.json, so they are not this generator's; "
            "choose another folder or remove it"
        )
    else:
        write_record(record, generator, config, {})
    rendered = 0
    found: dict[str, int] = {}
    for done, clip in enumerate(clips, 1):
        path = root / "videos" / clip.id
        have = zlib.crc32(path.read_bytes()) if path.is_file() else None
        if have is None or checksums.get(clip.id, have) != have:
            encode(path, render(clip), config, generator)
            have = zlib.crc32(path.read_bytes())
            rendered += 1
        found[clip.id] = have
        if progress is not None:
            progress(done, len(clips))
    for subset in SUBSETS:
        write_text(root / "annotations" / f"{subset}.csv", annotate(clips, subset))
    if found != checksums:
        write_record(record, generator, config, found)
    return rendered


def truth(root: Path, clip_id: str) -> Clip:
    """The clip behind video ``clip_id`` (``<class>/<subset>_<number>.mp4``) of a motion8 folder.

    Raises
    ------
    UsageError: no motion8 folder, one of a newer generator, or no such clip in it.
    """
    return make_clip(read_record(root)[1], clip_id)


def read_record(root: Path, wanted: Motion8 | None = None) -> tuple[int, Motion8, dict[str, int]]:
    """(generator, configuration, CRC-32 by id) of ``root``; UsageError if it is not ``wanted``."""
    path = root / "motion8.json"
    remedy = "choose another folder, or remove this one and write it again"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        generator, values = int(record["generator"]), record["config"]
        checksums = {str(k): int(v) for k, v in record["videos"].items()}
    except FileNotFoundError as error:
        raise UsageError(f"{root} is no motion8 folder: it has no motion8.json") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is damaged ({error}); {remedy}") from error
    if generator not in ENCODING:
        raise UsageError(
            f"{root} was written by generator {generator} of motion8, and this flowkit knows "
            f"generators 1 to {GENERATOR}; update flowkit, or {remedy}"
        )
    if wanted is not None and values != wanted.to_dict():
        mine = wanted.to_dict()
        names = sorted(n for n in {*mine, *values} if mine.get(n) != values.get(n))
        differences = ", ".join(f"{n}: {values.get(n)} ≠ {mine.get(n)}" for n in names)
        raise UsageError(f"{root} holds another motion8 ({differences}); {remedy}")
    try:
        return generator, Motion8(**values), checksums
    except TypeError as error:
        raise UsageError(f"{path} is damaged ({error}); {remedy}") from error


def write_record(path: Path, generator: int, config: Motion8, checksums: dict[str, int]) -> None:
    record = {"generator": generator, "config": config.to_dict(), "videos": checksums}
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


def encode(
    path: Path,
    frames: Iterator[NDArray[np.uint8]],
    config: Motion8,
    generator: int = GENERATOR,
) -> None:
    """Encode frames, uint8 RGB (H, W, 3), as H.264; the file appears when it is whole.

    Since generator 2 the same frames give the same bytes each time and on every machine that
    has the same FFmpeg (the muxer of another one may differ; the pictures do not).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    # The muxer would otherwise write libavformat's version into the file.
    with av.open(str(part), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(config.fps), options=ENCODING[generator]
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
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
        threads=1,
    )
