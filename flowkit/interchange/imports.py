"""Folders of JPEG frames and flow, as denseflow and mmaction2 have them, into a store.

A video is a folder with ``img_*.jpg`` and/or ``flow_x_*.jpg`` with ``flow_y_*.jpg``, numbered
without gaps from 0 or 1. RGB bytes are kept as they are. Flow is decoded, brought to pixels by
v = q·2B/255 − B with *their* bound B, quantized in the store's way and encoded again; a step of
that is B/127 px, so rounding adds up to B/254 px (0.079 at B = 20), and the second JPEG a little.

Who computed such flow, and with which parameters, the folders do not say. The recipe says so:
``flow.grey`` is ``imported:<format>``, which no extraction writes, so imported and extracted
flow never share a store, and ``flow.tvl1`` is null. RGB quality is the one that
the first picture's quantization table stands for, subsampling is read from it too.

Ids are the folders' paths below the given one, or, where `export` wrote them, the ids they had.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from pathlib import Path
from time import time

import numpy as np
import simplejpeg

from flowkit.errors import FlowkitError, UsageError, VideoError
from flowkit.flow.quantize import from_denseflow, quantize
from flowkit.interchange.export import read_videos
from flowkit.interchange.folders import FILE, FrameFolder, find_folders, read_folder
from flowkit.path_text import path_to_text, printable_path, text_to_path
from flowkit.recipe import FlowRecipe, Recipe, Resize, RGBRecipe, Subsampling
from flowkit.store.failures import Failure, append_failure, read_failures
from flowkit.store.format import jpeg
from flowkit.store.format.header import create_or_open
from flowkit.store.format.locks import hold_store
from flowkit.store.format.schema import Fingerprint, VideoMeta
from flowkit.store.index import rebuild_index
from flowkit.store.integrity.recovery import recover
from flowkit.store.reader import Store
from flowkit.store.writer import ShardWriter

NAMED: dict[str, Subsampling] = {"420": "4:2:0", "422": "4:2:2", "444": "4:4:4"}

# The luma table of the JPEG standard (Annex K.1), in zigzag order; libjpeg scales it by quality.
# fmt: off
LUMA = np.array([
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49,
    35, 37, 29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56,
    80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
])
# fmt: on


@dataclass(kw_only=True)
class ImportReport:
    """What an import did; ``failures`` is id → reason, of this run."""

    imported: int = 0
    skipped: int = 0
    frames: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def import_folders(
    folder: Path | str,
    root: Path | str,
    format: str = "denseflow",
    *,
    bound: float = 20.0,
    fps: float | None = None,
    quality: int = 95,
    dataset: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Import every video folder below ``folder`` into the store at ``root``.

    Parameters
    ----------
    format: whose convention the files follow; it is recorded. Numbering is found out.
    bound: B of their quantization, in pixels, and of the store's.
    fps: of the videos; may be None only where ``videos.csv`` of an export says it.
    quality: of the store's flow JPEGs, 1–100.

    Raises UsageError where there is nothing to import or no frame rate, RecipeError if the
    store is of another recipe, LockedError if somebody extracts to it. A folder that cannot
    be used is listed in the report and in the store's failures; videos already there are kept.
    """
    if format not in ("denseflow", "mmaction2"):
        raise UsageError(f"format must be one of denseflow, mmaction2, got {format!r}")
    folder, root = Path(folder), Path(root)
    found = find_folders(folder)
    if not found:
        raise UsageError(
            f"no folder below {folder} has files named img_00000.jpg or flow_x_00000.jpg"
        )
    named = name_videos(folder, found, fps)
    recipe = read_recipe(found, format, bound, quality)
    create_or_open(root, recipe, dataset)
    report = ImportReport()
    with hold_store(root):
        recover(root)
        rebuild_index(root)
        store, known = Store(root), read_failures(root)
        writer = ShardWriter(root, recipe=recipe)
        try:
            for done, (path, id, rate) in enumerate(named, 1):
                if id in store:
                    report.skipped += 1
                else:
                    try:
                        video = read_folder(path, id, rate)
                        import_video(writer, video, recipe.flow)
                    except VideoError as problem:
                        report.failures[id] = str(problem)
                        append_failure(root, make_failure(problem, id, path, known.get(id)))
                    else:
                        report.imported += 1
                        report.frames += video.frames
                if progress is not None:
                    progress(done, len(found))
        finally:
            writer.close()
        rebuild_index(root)
    return report


def name_videos(
    folder: Path, found: list[Path], fps: float | None
) -> list[tuple[Path, str, float]]:
    """(folder, id, frame rate) of each video: from ``videos.csv``, else by path and ``fps``."""
    exported = {folder / text_to_path(row["name"]): row for row in read_videos(folder)}
    named = []
    for path in found:
        row = exported.get(path)
        if row is not None:
            named.append((path, row["id"], float(row["fps"])))
        elif fps is not None:
            below = path.relative_to(folder)
            name = folder.resolve().name if below == Path() else below.as_posix()
            named.append((path, path_to_text(name), fps))
        else:
            raise UsageError(f"{path}: the frame rate is not known from the files; give --fps")
    return named


def make_failure(problem: VideoError, id: str, path: Path, before: Failure | None) -> Failure:
    attempts = 1 if before is None else before.attempts + 1
    return Failure(
        id=id,
        source=printable_path(path),
        kind=problem.kind,
        reason=str(problem),
        attempts=attempts,
        time=time(),
    )


class Intake:
    """Reads the files of one video, and keeps what its fingerprint and size come from."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self._digest = blake2b(digest_size=16)
        self._bytes = 0
        self._newest = 0

    @property
    def fingerprint(self) -> Fingerprint:
        """Size and digest of all bytes read, and the newest file's time."""
        return Fingerprint(self._bytes, self._newest, self._digest.hexdigest())

    def read(self, file: Path, grey: bool) -> tuple[bytes, np.ndarray]:
        """A file's bytes, and the picture: (H, W) or (H, W, 3) uint8."""
        try:
            data = file.read_bytes()
            self._newest = max(self._newest, file.stat().st_mtime_ns)
        except OSError as problem:
            raise VideoError("unreadable", f"{file}: {problem.strerror}") from None
        try:
            picture = jpeg.decode_grey(data) if grey else jpeg.decode_rgb(data)
        except (ValueError, FlowkitError) as problem:
            raise VideoError("broken", f"{file} is not a whole JPEG: {problem}") from None
        self._digest.update(data)
        self._bytes += len(data)
        self.shape = self.shape or picture.shape[:2]
        if picture.shape[:2] != self.shape:
            (height, width), (first_height, first_width) = picture.shape[:2], self.shape
            raise VideoError(
                "size-change",
                f"{file} is {width}×{height}, the files before it {first_width}×{first_height}",
            )
        return data, picture


def import_video(writer: ShardWriter, video: FrameFolder, flow: FlowRecipe | None) -> None:
    """Write one video; a file that does not decode or differs in size is a VideoError."""
    intake = Intake()
    writer.begin(video.id)
    try:
        for t in range(video.frames):
            columns: dict[str, bytes] = {}
            if video.rgb:
                columns["rgb"] = intake.read(video.rgb[t], grey=False)[0]
            if flow is not None and t < len(video.flow_x):
                for name, files in (("flow_x", video.flow_x), ("flow_y", video.flow_y)):
                    picture = intake.read(files[t], grey=True)[1]
                    table = requantize(flow.bound)
                    columns[name] = jpeg.encode_grey(table[picture], flow.quality)
            writer.append(**columns)
    except BaseException:
        writer.abandon()
        raise
    height, width = intake.shape
    writer.end(
        VideoMeta(
            id=video.id,
            source=printable_path(video.path),
            fingerprint=intake.fingerprint,
            streams=video.streams,
            frames=video.frames,
            fps=video.fps,
            width=width,
            height=height,
            provenance={"imported": True, "solver": "unknown"},
        )
    )


@cache
def requantize(bound: float) -> np.ndarray:
    """(256,) uint8: the store's value for each value of theirs."""
    return quantize(from_denseflow(np.arange(256, dtype=np.uint8), bound), bound)


def read_recipe(found: list[Path], format: str, bound: float, quality: int) -> Recipe:
    """What the folders are made with, as far as their first readable pictures say."""
    has = {"img": False, "flow_x": False}
    rgb = None
    for path in found:
        files = sorted(file for file in path.iterdir() if FILE.fullmatch(file.name))
        for kind in has:
            has[kind] = has[kind] or any(file.name.lower().startswith(kind) for file in files)
        pictures = (file for file in files if file.name.lower().startswith("img"))
        rgb = rgb or next(filter(None, map(read_rgb_recipe, pictures)), None)
        if rgb and has["flow_x"]:
            break
    if has["img"] and rgb is None:
        raise UsageError(
            f"no frame below {found[0].parent} is a whole JPEG of 4:2:0, 4:2:2 or 4:4:4 "
            "subsampling, which a store can record; encode them again"
        )
    flow = FlowRecipe(tvl1=None, bound=bound, quality=quality, grey=f"imported:{format}")
    return Recipe(resize=Resize(mode="none"), rgb=rgb, flow=flow if has["flow_x"] else None)


def read_rgb_recipe(file: Path) -> RGBRecipe | None:
    """Quality and subsampling of one JPEG; None if it is broken or of other subsampling."""
    data = file.read_bytes()
    try:
        subsampling = simplejpeg.decode_jpeg_header(data)[3]
        if subsampling not in NAMED:
            return None
        quality = estimate_quality(data)
    except ValueError:
        return None
    return RGBRecipe(quality=quality, subsampling=NAMED[subsampling])


def estimate_quality(data: bytes) -> int:
    """libjpeg's quality 1–100 whose luma table is nearest to the first one of a JPEG."""
    at = data.find(b"\xff\xdb")
    wide = at >= 0 and data[at + 4] >> 4  # 16-bit entries
    width = 2 if wide else 1
    entries = data[at + 5 : at + 5 + 64 * width]
    if at < 0 or len(entries) < 64 * width:
        raise ValueError("no quantization table")
    table = np.frombuffer(entries, ">u2" if wide else "u1").astype(np.int64)

    def distance(quality: int) -> int:
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        return int(abs(np.clip((LUMA * scale + 50) // 100, 1, 255) - table).sum())

    return min(range(1, 101), key=distance)
