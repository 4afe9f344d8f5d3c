"""Import folders of JPEG frames and flow, as written by denseflow and mmaction2, into a store.

See folders.py for the files of a video, and import_recipe.py for the recipe of the store. RGB
images are copied unchanged. Flow is decoded, converted to pixels by v = q·2B/255 − B with the bound
B of the *folders*, quantized as in the store, and encoded again. A quantization step is B/127 px,
so rounding adds an error of at most B/254 px (0.079 at B = 20), and the second JPEG compression
adds a little more.

The id of a video is the path of its folder below the imported folder. Videos that `export` wrote
keep the ids that they had.
"""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from pathlib import Path
from time import time

import numpy as np

from flowkit.annotations.table import normalize_unicode
from flowkit.errors import FlowkitError, UsageError, VideoError
from flowkit.flow.quantization import from_denseflow, quantize
from flowkit.interchange.folders import FORMATS, FrameFolder, find_folders, read_folder
from flowkit.interchange.import_recipe import choose_bound, derive_recipe
from flowkit.interchange.video_lists import read_videos
from flowkit.path_text import path_to_text, printable_path, replace_surrogates, text_to_path
from flowkit.recipe import DEFAULT_QUALITY, FlowRecipe, StoreRecipe
from flowkit.recipe.recipe import MAX_FPS
from flowkit.store.failures import Failure, append_failure, read_failures
from flowkit.store.format import jpeg
from flowkit.store.format.header import create_or_open
from flowkit.store.format.locks import hold_store
from flowkit.store.format.schema import Fingerprint, VideoMeta
from flowkit.store.index import rebuild_index
from flowkit.store.integrity.recovery import recover
from flowkit.store.new_ids import check_new_ids
from flowkit.store.reader import Store
from flowkit.store.writer import ShardWriter


@dataclass(kw_only=True)
class ImportReport:
    """The result of an import."""

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
    bound: float | None = None,
    fps: float | None = None,
    quality: int = DEFAULT_QUALITY,
    dataset: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Import every video folder below a folder into a store.

    Args:
        folder: Folder to search for videos.
        root: Path of the store; the store is created if it does not exist.
        format: Tool that wrote the files, ``denseflow`` or ``mmaction2``; it is recorded. Whether
            numbers start at 0 or 1 is detected.
        bound: Bound in pixels of the quantization of the files, which the store keeps. Default:
            that of ``export.json``, if `export` wrote the folder, else 20.
        fps: Frames per second of the videos that ``videos.csv`` of an export does not list, above 0
            and at most `MAX_FPS`. None is allowed only if it lists all of them.
        quality: JPEG quality of the flow images in the store, 1–100.
        dataset: Name of the dataset to record in a new store.
        progress: Called after each video with the number of finished videos and the total.

    Returns:
        A report. A folder that cannot be used is listed in its ``failures`` and in the failures of
        the store. Videos that the store already has are kept.

    Raises:
        UsageError: If there is nothing to import, a folder cannot be listed, a frame rate or bound
            is out of range, or `choose_bound`, `name_videos` or `import_videos` raises it.
        RecipeError: If the store was made with a different recipe, or of another dataset.
        LockedError: If another process is writing to the store.

    Example:
        >>> report = import_folders("rawframes", "stores/ucf101", "mmaction2", fps=25)
        >>> report.imported
        13320
    """
    if format not in FORMATS:
        raise UsageError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise UsageError(f"fps must be above 0 and at most {MAX_FPS}, got {fps:g}")
    folder, root = Path(folder), Path(root)
    video_folders = find_folders(folder)
    if not video_folders:
        raise UsageError(
            f"no folder below {folder} has files named img_00000.jpg or flow_x_00000.jpg"
        )
    videos = name_videos(folder, video_folders, fps)
    recipe = derive_recipe(video_folders, format, choose_bound(folder, bound), quality)
    create_or_open(root, recipe, dataset)
    with hold_store(root):
        recover(root)
        rebuild_index(root)
        report = import_videos(videos, Store(root), recipe, progress)
        rebuild_index(root)
    return report


def import_videos(
    videos: list[tuple[Path, str, float]],
    store: Store,
    recipe: StoreRecipe,
    progress: Callable[[int, int], None] | None,
) -> ImportReport:
    """Import the videos that a store does not have yet, and record those that fail.

    Args:
        videos: Folder, id and frames per second of each video.
        store: The store, which this process has locked.
        recipe: Recipe of the streams that the videos bring.
        progress: Called after each video with the number of finished videos and the total.

    Returns:
        A report.

    Raises:
        UsageError: A new id differs from one of the store only by Unicode normalization.
    """
    check_new_ids([id for _, id, _ in videos if id not in store], store)
    report, earlier_failures = ImportReport(), read_failures(store.path)
    with closing(ShardWriter(store.path, recipe=recipe)) as writer:
        for finished_videos, (path, id, fps) in enumerate(videos, 1):
            try:
                check_name(id)
                if id in store:
                    report.skipped += 1
                else:
                    video = read_folder(path, id, fps)
                    report.frames += import_video(writer, video, recipe.flow)
                    report.imported += 1
            except VideoError as problem:
                printable_id = replace_surrogates(id)
                report.failures[printable_id] = str(problem)
                earlier = earlier_failures.get(printable_id)
                failure = Failure(
                    id=printable_id, source=printable_path(path), kind=problem.kind,
                    reason=str(problem), attempts=1 if earlier is None else earlier.attempts + 1,
                    time=time(),
                )  # fmt: skip
                append_failure(store.path, failure)
            if progress is not None:
                progress(finished_videos, len(videos))
    return report


def check_name(id: str) -> None:
    """Raise a VideoError if the name of a folder is not UTF-8, so that it cannot be an id."""
    printable = replace_surrogates(id)
    if printable != id:
        raise VideoError(
            "bad-name", f"{printable}: its name is not UTF-8, so it cannot be an id; rename it"
        )


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
        UsageError: If the frame rate of a video is unknown, if all videos are exported ones and
            another rate is stated than is recorded, if two folders have one id, or if
            ``videos.csv`` is damaged.
    """
    exported = {folder / text_to_path(row["name"]): row for row in read_exported(folder)}
    if fps is not None and exported.keys() >= set(video_folders):
        for path in video_folders:
            recorded = float(exported[path]["fps"])
            # 0 is unknown; 29.97 is 30000/1001, and 30 is not.
            if recorded and not math.isclose(recorded, fps, rel_tol=5e-4):
                raise UsageError(
                    f"{path}: videos.csv records {recorded:.6g} frames per second, got --fps "
                    f"{fps:.6g}; leave out --fps"
                )
    videos = []
    for path in video_folders:
        row = exported.get(path)
        if row is not None:
            videos.append((path, row["id"], float(row["fps"]) or fps or 0.0))
        elif fps is not None:
            relative = path.relative_to(folder)
            name = folder.resolve().name if relative == Path() else relative.as_posix()
            videos.append((path, path_to_text(name), fps))
        else:
            raise UsageError(f"{path}: the files do not record the frame rate; pass it with --fps")
    first_paths: dict[str, Path] = {}
    for path, id, _ in videos:
        # Ids that differ only by Unicode normalization count as one.
        first_path = first_paths.setdefault(normalize_unicode(id), path)
        if first_path != path:
            raise UsageError(f"{first_path} and {path} both have the id {id!r}; rename one of them")
    return videos


def read_exported(folder: Path) -> list[dict[str, str]]:
    """Read the ``videos.csv`` of an export; empty if another tool wrote a file of this name.

    Raises:
        UsageError: If the folder is an export, and the file is damaged.
    """
    try:
        return read_videos(folder)
    except UsageError:
        if (folder / "export.json").exists():
            raise
        return []


class FolderImageReader:
    """Reads the images in the folder of a video, and computes the fingerprint of the video.

    The attribute ``shape`` is the height and width of all images, once one has been read.
    """

    def __init__(self) -> None:
        """Start before the first file."""
        self.shape: tuple[int, ...] = ()
        self._digest = blake2b(digest_size=16)
        self._bytes = 0
        self._newest_mtime_ns = 0

    @property
    def fingerprint(self) -> Fingerprint:
        """Size and digest of all bytes read, and the modification time of the newest file."""
        return Fingerprint(self._bytes, self._newest_mtime_ns, self._digest.hexdigest())

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
            self._newest_mtime_ns = max(self._newest_mtime_ns, file.stat().st_mtime_ns)
        except OSError as problem:
            raise VideoError("unreadable", f"{file}: {problem.strerror}") from None
        try:
            image = jpeg.decode_grey(data) if grey else jpeg.decode_rgb(data)
        except (ValueError, FlowkitError) as problem:
            raise VideoError("broken", f"{file} is not a complete JPEG: {problem}") from None
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


def import_video(writer: ShardWriter, video: FrameFolder, flow: FlowRecipe | None) -> int:
    """Write one video to a store.

    Args:
        writer: Writer of the store.
        video: Files of the video.
        flow: Flow recipe of the store; None if it has no flow.

    Returns:
        The number of its frames.

    Raises:
        VideoError: If a file cannot be decoded, or differs in size from the files before it.
    """
    reader = FolderImageReader()
    writer.begin(video.id)
    try:
        for t in range(video.frames):
            columns: dict[str, bytes] = {}
            if video.rgb:
                columns["rgb"] = reader.read(video.rgb[t], grey=False)[0]
            if flow is not None and t < len(video.flow_x):
                table = make_requantization_table(flow.bound)
                for name, files in (("flow_x", video.flow_x), ("flow_y", video.flow_y)):
                    image = reader.read(files[t], grey=True)[1]
                    columns[name] = jpeg.encode_grey(table[image], flow.quality)
            writer.append(**columns)
    except BaseException:
        writer.abandon()
        raise
    height, width = reader.shape
    meta = VideoMeta(
        id=video.id, source=printable_path(video.path), fingerprint=reader.fingerprint,
        streams=video.streams, frames=video.frames, fps=video.fps, width=width, height=height,
        provenance={"imported": True, "solver": "unknown"},
    )  # fmt: skip
    writer.end(meta)
    return video.frames


@cache
def make_requantization_table(bound: float) -> np.ndarray:
    """Make the table that converts flow values of the folders to flow values of the store.

    Args:
        bound: Bound of both quantizations in pixels.

    Returns:
        (256,) uint8 values of the store.
    """
    return quantize(from_denseflow(np.arange(256, dtype=np.uint8), bound), bound)
