"""Trials: damaged videos, image folders and label files, and files that claim giant pictures."""

import json
import random
import resource
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.annotations.label_files import LabelOptions, locate_labelled_videos, read_label_files
from flowkit.annotations.video_files import is_frame_folder
from flowkit.decode import VideoReader
from flowkit.decode.audio import log_mel_patches
from flowkit.decode.frame_folder import FrameFolderReader
from flowkit.errors import FlowkitError, VideoError
from flowkit.recipe import LogMelRecipe, Resize
from flowkit.store.format import jpeg
from tests.torture.mutations import mutate_bytes, mutate_file
from tests.torture.trial import TRACEBACK, Outcome, describe_end, fork, wait

LIMIT_MB = 700
"""Megabytes that a process may take beyond those it has, to refuse a file."""


def prepare_video(shared: Any) -> list[Path]:
    """Return small videos, one with sound."""
    from tests.conftest import write_clip

    return [*shared.clips, write_clip(shared.folder / "sound.mp4", 5, sound=True)]


def decode(path: Path) -> int:
    """Decode all frames and the sound of a video; return the number of frames."""
    resize = Resize(width=16, height=16)
    reader: Any = FrameFolderReader(path, resize) if path.is_dir() else VideoReader(path, resize)
    frames = 0
    for frame in reader.read_frames():
        if frame.pixels.dtype != np.uint8 or frame.pixels.shape[2] != 3:
            raise AssertionError(f"a frame of {frame.pixels.shape}")
        frames += 1
        if frames > 5000:
            raise AssertionError("more frames than the file has bytes for")
    if path.is_file() and reader.info.has_audio:
        log_mel_patches(path, LogMelRecipe())
    return frames


def expect_decoded_or_refused(path: Path, outcome: Outcome) -> None:
    """Decode, or refuse with a `VideoError` of one line."""
    try:
        decode(path)
    except VideoError as error:
        if "\n" in str(error):
            outcome.problems.append(f"several lines: {error}")


def run_video(shared: Any, folder: Path, rng: random.Random, outcome: Outcome) -> None:
    """Damage a video."""
    source = rng.choice(shared.get("videos"))
    data, outcome.what = source.read_bytes(), source.name
    for _ in range(rng.choice((1, 1, 3, 10))):
        data, what = mutate_bytes(data, rng)
        outcome.what += f", {what}"
    path = folder / rng.choice(("a.mp4", "a.mp4", "a.mkv", "a.avi"))
    path.write_bytes(data)
    outcome.counts["mutations"] += 1
    expect_decoded_or_refused(path, outcome)


def prepare_images(shared: Any) -> Path:
    """Make a folder of images."""
    folder = shared.folder / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for t in range(4):
        image = rng.integers(0, 256, (24, 32, 3), np.uint8)
        (folder / f"img_{t:05}.jpg").write_bytes(jpeg.encode_rgb(image))
    return folder


def run_images(shared: Any, folder: Path, rng: random.Random, outcome: Outcome) -> None:
    """Damage an image of a folder, or remove one, or add a file."""
    path = folder / "video"
    shutil.copytree(shared.get("images"), path)
    image = rng.choice(sorted(path.iterdir()))
    if rng.random() < 0.1:
        image.unlink()
        outcome.what = "an image removed"
    else:
        data, outcome.what = mutate_bytes(image.read_bytes(), rng)
        image.write_bytes(data)
    outcome.counts["mutations"] += 1
    if is_frame_folder(path):
        expect_decoded_or_refused(path, outcome)


def prepare_labels(shared: Any) -> Path:
    """Make label files of several kinds, and the videos that they list."""
    folder = shared.folder / "labels"
    (folder / "videos").mkdir(parents=True)
    names = [f"clip {n}" for n in range(6)]
    for name in names:
        (folder / "videos" / f"{name}.mp4").write_bytes(b"")
    rows = [
        {"id": n, "label": ("wave", "jump")[i % 2], "subset": "train"} for i, n in enumerate(names)
    ]
    (folder / "list.json").write_text(json.dumps(rows))
    (folder / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [",".join(row.values()) for row in rows]
    (folder / "table.csv").write_text("\n".join(["id,label,subset", *lines]) + "\n")
    (folder / "plain.txt").write_text("".join(f"{r['id']}.mp4;{r['label']}\n" for r in rows))
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), folder / "table.parquet")
    return folder


def run_labels(shared: Any, folder: Path, rng: random.Random, outcome: Outcome) -> None:
    """Damage a label file."""
    source = shared.get("labels")
    files = sorted(path for path in source.iterdir() if path.is_file())
    path = folder / (chosen := rng.choice(files)).name
    shutil.copy(chosen, path)
    outcome.what = f"{path.name}: {mutate_file(path, rng, files)}"
    outcome.counts["mutations"] += 1
    try:
        locate_labelled_videos(source / "videos", read_label_files([path], LabelOptions()))
    except FlowkitError as error:
        if "\n" in str(error):
            outcome.problems.append(f"several lines: {error}")


def prepare_giants(shared: Any) -> dict[str, Path]:
    """Make a JPEG that claims 60,000 × 60,000 pixels, and a video that claims 16,384 × 16,384."""
    folder = shared.folder / "giants"
    images = folder / "images"
    images.mkdir(parents=True)
    data = bytearray(jpeg.encode_rgb(np.zeros((16, 16, 3), np.uint8)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
    for t in range(2):
        (images / f"img_{t:05}.jpg").write_bytes(data)
    video = folder / "giant.avi"
    write_mjpeg(video, data, 16384)
    return {"image": images, "video": video}


def write_mjpeg(path: Path, data: bytearray, side: int) -> None:
    """Write a video whose only picture is a JPEG, made to claim a square of this side."""
    import av

    at = data.index(b"\xff\xc0")
    picture = bytearray(data)
    picture[at + 5 : at + 9] = struct.pack(">HH", side, side)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuvj420p"
        for t in range(3):
            packet = av.Packet(bytes(picture))
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, t, t, True
            container.mux(packet)


def run_giant(shared: Any, folder: Path, rng: random.Random, outcome: Outcome) -> None:
    """Decode a file that claims a giant picture, with little memory."""
    outcome.what = rng.choice(("image", "video"))
    path = shared.get("giants")[outcome.what]
    outcome.counts["mutations"] += 1

    def work() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            decode(path)
        except VideoError as error:
            print(error)
        taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"{taken:.0f} MB")
        return TRACEBACK if taken > LIMIT_MB else 0

    log = folder / "log"
    if end := describe_end(wait(fork(work, log)), log, {0}):
        outcome.problems.append(end)
