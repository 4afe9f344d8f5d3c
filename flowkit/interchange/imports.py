"""Import folders of JPEG frames and flow, as written by denseflow and mmaction2, into a store.

See folders.py for the files of a video. RGB images are copied unchanged. Flow is decoded, converted
to pixels by v = q·2B/255 − B with the bound B of the *folders*, quantized as in the store, and
encoded again. A quantization step is B/127 px, so rounding adds an error of at most B/254 px (0.079
at B = 20), and the second JPEG compression adds a little more.

The folders do not record which solver computed their flow. In the recipe, ``flow.grey`` is
therefore ``imported:<format>``, which no extraction writes, so that imported and extracted flow
never share a store, and ``flow.tvl1`` is null. RGB quality is estimated from the quantization table
of the first RGB image, and its chroma subsampling is recorded.

The id of a video is the path of its folder below the imported folder. Videos that `export` wrote
keep the ids that they had.
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
from flowkit.flow.quantization import from_denseflow, quantize
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

SUBSAMPLINGS: dict[str, Subsampling] = {"420": "4:2:0", "422": "4:2:2", "444": "4:4:4"}
"""Names of chroma subsampling in a recipe, by their names in simplejpeg."""

# fmt: off
LUMA = np.array([
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49,
    35, 37, 29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56,
    80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
])
# fmt: on
"""The luma table of the JPEG standard (Annex K.1) in zigzag order; libjpeg scales it by quality."""


@dataclass(kw_only=True)
class ImportReport:
    """What an import did."""

    imported: int = 0
    """Videos imported by this run."""
    skipped: int = 0
    """Videos that the store already had."""
    frames: int = 0
    """Frames of the imported videos."""
    failures: dict[str, str] = field(default_factory=dict)
    """Reason for each video that could not be imported, by id."""


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
    """Import every video folder below a folder into a store.

    Args:
        folder: Folder to search for videos.
        root: Path of the store; it is created if it does not exist.
        format: Tool that wrote the files, ``denseflow`` or ``mmaction2``; it is recorded. Whether
            numbers start at 0 or 1 is detected.
        bound: Bound in pixels of the quantization of the files, which the store keeps.
        fps: Frames per second of the videos. None is allowed only if ``videos.csv`` of an export
            records it.
        quality: JPEG quality of the flow images in the store, 1–100.
        dataset: Name of the dataset to record in a new store.
        progress: Called after each video with the number of finished videos and the total.

    Returns:
        A report. A folder that cannot be used is listed in its ``failures`` and in the failures of
        the store. Videos that the store already has are kept.

    Raises:
        UsageError: If there is nothing to import, or the frame rate is unknown.
        RecipeError: If the store was made with a different recipe.
        LockedError: If another process is writing to the store.

    Example:
        >>> report = import_folders("rawframes", "stores/ucf101", "mmaction2", fps=25)
        >>> report.imported
        13320
    """
    if format not in ("denseflow", "mmaction2"):
        raise UsageError(f"format must be one of denseflow, mmaction2, got {format!r}")
    folder, root = Path(folder), Path(root)
    video_folders = find_folders(folder)
    if not video_folders:
        raise UsageError(
            f"no folder below {folder} has files named img_00000.jpg or flow_x_00000.jpg"
        )
    videos = name_videos(folder, video_folders, fps)
    recipe = read_recipe(video_folders, format, bound, quality)
    create_or_open(root, recipe, dataset)
    report = ImportReport()
    with hold_store(root):
        recover(root)
        rebuild_index(root)
        store, earlier_failures = Store(root), read_failures(root)
        writer = ShardWriter(root, recipe=recipe)
        try:
            for done, (path, id, video_fps) in enumerate(videos, 1):
                if id in store:
                    report.skipped += 1
                else:
                    try:
                        video = read_folder(path, id, video_fps)
                        import_video(writer, video, recipe.flow)
                    except VideoError as problem:
                        report.failures[id] = str(problem)
                        failure = make_failure(problem, id, path, earlier_failures.get(id))
                        append_failure(root, failure)
                    else:
                        report.imported += 1
                        report.frames += video.frames
                if progress is not None:
                    progress(done, len(videos))
        finally:
            writer.close()
        rebuild_index(root)
    return report


def name_videos(
    folder: Path, video_folders: list[Path], fps: float | None
) -> list[tuple[Path, str, float]]:
    """Find the id and the frame rate of each video.

    Args:
        folder: Folder that is imported.
        video_folders: Folders of the videos in it.
        fps: Frames per second of videos that ``videos.csv`` of an export does not list.

    Returns:
        Folder, id and frames per second of each video.

    Raises:
        UsageError: If the frame rate of a video is unknown.
    """
    exported = {folder / text_to_path(row["name"]): row for row in read_videos(folder)}
    videos = []
    for path in video_folders:
        row = exported.get(path)
        if row is not None:
            videos.append((path, row["id"], float(row["fps"])))
        elif fps is not None:
            relative = path.relative_to(folder)
            name = folder.resolve().name if relative == Path() else relative.as_posix()
            videos.append((path, path_to_text(name), fps))
        else:
            raise UsageError(f"{path}: the frame rate is not known from the files; give --fps")
    return videos


def make_failure(problem: VideoError, id: str, path: Path, previous: Failure | None) -> Failure:
    """Make the store's record of a video that could not be imported.

    Args:
        problem: Why it could not be imported.
        id: Id of the video.
        path: Its folder.
        previous: Record of the previous attempt, if there was one.

    Returns:
        The record.
    """
    attempts = 1 if previous is None else previous.attempts + 1
    return Failure(
        id=id,
        source=printable_path(path),
        kind=problem.kind,
        reason=str(problem),
        attempts=attempts,
        time=time(),
    )


class VideoFileReader:
    """Read the files of one video, and compute the video's fingerprint on the way.

    The attribute ``shape`` is the height and width of all images, once one was read.
    """

    def __init__(self) -> None:
        """Start before the first file."""
        self.shape: tuple[int, ...] = ()
        self._digest = blake2b(digest_size=16)
        self._bytes = 0
        self._newest = 0

    @property
    def fingerprint(self) -> Fingerprint:
        """Size and digest of all bytes read, and the modification time of the newest file."""
        return Fingerprint(self._bytes, self._newest, self._digest.hexdigest())

    def read(self, file: Path, grey: bool) -> tuple[bytes, np.ndarray]:
        """Read and decode one file.

        Args:
            file: A JPEG file.
            grey: Whether to decode it as grey instead of RGB.

        Returns:
            The bytes of the file, and the image as (H, W) or (H, W, 3) uint8.

        Raises:
            VideoError: If it cannot be read or decoded, or its size differs from the files before.
        """
        try:
            data = file.read_bytes()
            self._newest = max(self._newest, file.stat().st_mtime_ns)
        except OSError as problem:
            raise VideoError("unreadable", f"{file}: {problem.strerror}") from None
        try:
            image = jpeg.decode_grey(data) if grey else jpeg.decode_rgb(data)
        except (ValueError, FlowkitError) as problem:
            raise VideoError("broken", f"{file} is not a whole JPEG: {problem}") from None
        self._digest.update(data)
        self._bytes += len(data)
        self.shape = self.shape or image.shape[:2]
        if image.shape[:2] != self.shape:
            (height, width), (first_height, first_width) = image.shape[:2], self.shape
            raise VideoError(
                "size-change",
                f"{file} is {width}×{height}, the files before it {first_width}×{first_height}",
            )
        return data, image


def import_video(writer: ShardWriter, video: FrameFolder, flow: FlowRecipe | None) -> None:
    """Write one video to a store.

    Args:
        writer: Writer of the store.
        video: Files of the video.
        flow: Flow recipe of the store; None if it has no flow.

    Raises:
        VideoError: If a file cannot be decoded, or differs in size from the files before it.
    """
    reader = VideoFileReader()
    writer.begin(video.id)
    try:
        for t in range(video.frames):
            columns: dict[str, bytes] = {}
            if video.rgb:
                columns["rgb"] = reader.read(video.rgb[t], grey=False)[0]
            if flow is not None and t < len(video.flow_x):
                for name, files in (("flow_x", video.flow_x), ("flow_y", video.flow_y)):
                    image = reader.read(files[t], grey=True)[1]
                    table = make_requantization_table(flow.bound)
                    columns[name] = jpeg.encode_grey(table[image], flow.quality)
            writer.append(**columns)
    except BaseException:
        writer.abandon()
        raise
    height, width = reader.shape
    writer.end(
        VideoMeta(
            id=video.id,
            source=printable_path(video.path),
            fingerprint=reader.fingerprint,
            streams=video.streams,
            frames=video.frames,
            fps=video.fps,
            width=width,
            height=height,
            provenance={"imported": True, "solver": "unknown"},
        )
    )


@cache
def make_requantization_table(bound: float) -> np.ndarray:
    """Make the table that converts flow values of the folders to flow values of the store.

    Args:
        bound: Bound of both quantizations in pixels.

    Returns:
        (256,) uint8 values of the store.
    """
    return quantize(from_denseflow(np.arange(256, dtype=np.uint8), bound), bound)


def read_recipe(video_folders: list[Path], format: str, bound: float, quality: int) -> Recipe:
    """Derive the recipe of the store from the first readable images.

    Args:
        video_folders: Folders of the videos; at least one.
        format: Tool that wrote the files.
        bound: Bound of flow in pixels.
        quality: JPEG quality of the flow images in the store, 1–100.

    Returns:
        A recipe with the streams that the folders hold.

    Raises:
        UsageError: If there are RGB images, but none of them can be recorded in a recipe.
    """
    is_present = {"img": False, "flow_x": False}
    rgb = None
    for path in video_folders:
        files = sorted(file for file in path.iterdir() if FILE.fullmatch(file.name))
        for prefix in is_present:
            is_present[prefix] |= any(file.name.lower().startswith(prefix) for file in files)
        rgb_files = (file for file in files if file.name.lower().startswith("img"))
        rgb = rgb or next(filter(None, map(read_rgb_recipe, rgb_files)), None)
        if rgb and is_present["flow_x"]:
            break
    if is_present["img"] and rgb is None:
        raise UsageError(
            f"no frame below {video_folders[0].parent} is a complete JPEG with 4:2:0, 4:2:2 or "
            "4:4:4 subsampling, which a store can record; encode the frames again"
        )
    flow = FlowRecipe(tvl1=None, bound=bound, quality=quality, grey=f"imported:{format}")
    return Recipe(resize=Resize(mode="none"), rgb=rgb, flow=flow if is_present["flow_x"] else None)


def read_rgb_recipe(file: Path) -> RGBRecipe | None:
    """Read quality and subsampling of one JPEG file.

    Args:
        file: The JPEG file.

    Returns:
        The recipe; None if the file is broken or its subsampling cannot be recorded.
    """
    data = file.read_bytes()
    try:
        subsampling = simplejpeg.decode_jpeg_header(data)[3]
        if subsampling not in SUBSAMPLINGS:
            return None
        quality = estimate_quality(data)
    except ValueError:
        return None
    return RGBRecipe(quality=quality, subsampling=SUBSAMPLINGS[subsampling])


def estimate_quality(data: bytes) -> int:
    """Estimate the quality that a JPEG was encoded with.

    Args:
        data: Bytes of a JPEG file.

    Returns:
        The quality of libjpeg, 1–100, whose luma table is nearest to the first table of the file.

    Raises:
        ValueError: If the file has no quantization table.
    """
    marker = data.find(b"\xff\xdb")
    is_16_bit = marker >= 0 and data[marker + 4] >> 4
    entry_bytes = 2 if is_16_bit else 1
    entries = data[marker + 5 : marker + 5 + 64 * entry_bytes]
    if marker < 0 or len(entries) < 64 * entry_bytes:
        raise ValueError("no quantization table")
    table = np.frombuffer(entries, ">u2" if is_16_bit else "u1").astype(np.int64)

    def measure_distance(quality: int) -> int:
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        return int(abs(np.clip((LUMA * scale + 50) // 100, 1, 255) - table).sum())

    return min(range(1, 101), key=measure_distance)
