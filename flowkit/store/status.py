"""Count what a store contains, and describe its recipe, for ``flowkit status``."""

import os
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowkit.path_text import printable_path
from flowkit.recipe import FeatureRecipe, FlowRecipe, StoreRecipe
from flowkit.store.annotations import read_annotation_rows, read_split_records
from flowkit.store.arrow_arrays import convert_to_mask
from flowkit.store.failures import Failure, is_about_stored_images, read_all_failures
from flowkit.store.format.header import read_header
from flowkit.store.format.location import WRITING_FILE, describe_location, read_mirror_url
from flowkit.store.format.locks import find_locked_parts, is_locked
from flowkit.store.format.schema import shard_folders
from flowkit.store.index_view import IndexView
from flowkit.store.remote.mirror import find_store_folder, read_listing
from flowkit.streams import STREAMS


@dataclass(frozen=True, kw_only=True)
class Status:
    """The content and the state of a store in numbers."""

    path: str
    """Folder or URL of the store."""
    dataset: str | None
    """Name of the dataset, if recorded."""
    recipe: dict[str, Any]
    """The recipe, as JSON values."""
    creator: str
    """Name and version of the program that created the store."""
    created: str
    """When the store was created, in UTC."""
    videos: int
    """Number of committed videos."""
    frames: int
    """Number of frames of all videos."""
    streams: dict[str, int]
    """Number of committed videos by stream."""
    subsets: dict[str, int]
    """Number of videos by subset."""
    splits: list[dict[str, Any]]
    """How `flowkit split` made the subsets; empty if it did not."""
    classes: int
    """Number of classes."""
    annotated: int | None
    """Number of annotated videos; None without annotations."""
    missing: int
    """Number of annotated videos that are not in the store."""
    shards: dict[str, int]
    """Number of committed shards by shard folder."""
    bytes: dict[str, int]
    """Size of the committed shards in bytes, by shard folder."""
    writing: list[str]
    """Shards that a process is writing now."""
    leftover: list[str]
    """Shards that a killed run left; the next run recovers their complete videos."""
    running: list[str]
    """The parts i/n that are being extracted now."""
    mixed: int
    """Number of videos whose streams come from source files with different content."""
    stale: int
    """Number of commit records that the index has not read; their videos are not counted."""
    failures: dict[str, int]
    """Number of failures by kind, most frequent first; see `list_failures`."""


@dataclass(frozen=True, kw_only=True)
class ShardFiles:
    """The shard files of a store, by their names."""

    sizes: dict[str, list[int]]
    """Sizes of the committed shards in bytes, by shard folder."""
    committed: set[str]
    """The committed shards, as ``folder/uuid``."""
    writing: list[str]
    """Shards that a process is writing now."""
    leftover: list[str]
    """Shards that a killed run left."""


def read_status(root: Path | str) -> Status:
    """Read the status of a store from its index and file names, without reading shards.

    Raises:
        FormatError: There is no store at ``root``.
    """
    root = find_store_folder(root, complete=True)
    header = read_header(root)
    files = list_shard_files(root)
    annotations = read_annotation_rows(root)
    index = open_index_view(root)
    counts: dict[str, Any] = {"frames": 0, "streams": {}, "subsets": {}, "classes": 0, "mixed": 0}
    if index is not None:
        counts["frames"] = int(pc.sum(index.batch.column("frames")).as_py() or 0)
        counts["streams"] = count_streams(index)
        counts["subsets"] = index.count_subsets()
        counts["classes"] = len(index.classes)
        mixed = index.column("mixed_sources")
        counts["mixed"] = 0 if mixed is None else int(pc.sum(mixed).as_py() or 0)
    kinds = Counter(failure.kind for failure in list_failures(root, index))
    return Status(
        path=printable_path(describe_location(root)),
        dataset=header.dataset,
        recipe=header.recipe.to_dict(),
        creator=header.creator,
        created=header.created,
        videos=0 if index is None else index.rows,
        annotated=None if annotations is None else annotations.num_rows,
        missing=0 if annotations is None else len(find_missing(annotations, index)),
        splits=[asdict(record) for record in read_split_records(annotations)],
        shards={folder: len(sizes) for folder, sizes in files.sizes.items()},
        bytes={folder: sum(sizes) for folder, sizes in files.sizes.items()},
        writing=files.writing,
        leftover=files.leftover,
        running=list_running_parts(root),
        stale=len(files.committed.difference(index.shards if index else ())),
        failures=dict(kinds.most_common()),
        **counts,
    )


def open_index_view(root: Path) -> IndexView | None:
    """Open the index of a store; None if it has none yet."""
    return IndexView(root) if (root / "index.arrow").exists() else None


def list_running_parts(root: Path) -> list[str]:
    """List the parts i/n of a store that are being extracted now."""
    if WRITING_FILE in (read_listing(root) or {}):
        return ["0/1"]
    return [f"{i}/{n}" for i, n in find_locked_parts(root)]


def list_shard_files(root: Path) -> ShardFiles:
    """List the shard files of a store, without reading them."""
    files = ShardFiles(sizes={}, committed=set(), writing=[], leftover=[])
    objects = None if read_mirror_url(root) is None else read_listing(root)
    for name, size in sorted((objects or {}).items()):
        folder, _, file_name = name.rpartition("/")
        if folder and file_name.endswith(".arrow") and (root / name).with_suffix(".json").exists():
            files.sizes.setdefault(folder, []).append(size)
            files.committed.add(name.removesuffix(".arrow"))
    if objects is not None:
        return files
    for folder in shard_folders(root):
        with os.scandir(root / folder) as entries:
            by_name = {entry.name: entry for entry in entries}
        for name in sorted(by_name):
            if name.endswith(".arrow.part"):
                is_written = is_locked(root / folder / name)
                (files.writing if is_written else files.leftover).append(f"{folder}/{name}")
            elif name.endswith(".arrow") and f"{name.removesuffix('.arrow')}.json" in by_name:
                with suppress(FileNotFoundError):  # `verify --repair` has just moved it
                    files.sizes.setdefault(folder, []).append(by_name[name].stat().st_size)
                files.committed.add(f"{folder}/{name.removesuffix('.arrow')}")
    return files


def count_streams(index: IndexView) -> dict[str, int]:
    """Count the videos that have each stream."""
    return {name: index.rows - index.batch.column(name).null_count for name in index.streams}


def find_missing(annotations: Any, index: IndexView | None) -> Any:
    """Find the annotated videos that are not in the store.

    Args:
        annotations: The ``pyarrow.Table`` of the annotations.
        index: The index of the store; None if it has none.

    Returns:
        Rows of ``annotations``, int64, ascending.
    """
    if index is None:
        return np.arange(annotations.num_rows)
    ids, stored_ids = annotations["id"].cast(pa.large_string()), index.batch.column("id")
    if len(ids) == len(stored_ids) and ids.equals(pa.chunked_array([stored_ids])):
        return np.arange(0)  # nearly always so for a complete store, and much faster
    return np.flatnonzero(~convert_to_mask(pc.is_in(ids.combine_chunks(), value_set=stored_ids)))


def list_failures(root: Path, index: IndexView | None) -> list[Failure]:
    """List the failures of a store, without those of streams that were committed since.

    Args:
        root: Folder of the store.
        index: The index of the store; None if it has none.

    Returns:
        Failures of extractions and of features, sorted by video and stream.
    """

    def is_solved(failure: Failure) -> bool:
        row = -1 if index is None else index.find(failure.id.encode())
        if index is None or row < 0:
            return False
        if failure.stream:
            return index.locate(failure.stream, row) is not None
        if failure.streams:
            commits = [index.read_commit_time(stream, row) for stream in failure.streams]
            known = [time for time in commits if time is not None]
            # Some may have been committed before the others failed.
            return len(known) == len(commits) and max(known) >= failure.time
        # An older version recorded no streams. A video whose flow could not be computed from its
        # stored RGB is in the store.
        needs_flow = is_about_stored_images(failure, root)
        return not needs_flow or index.locate("flow", row) is not None

    unsolved = [failure for failure in read_all_failures(root) if not is_solved(failure)]
    return sorted(unsolved, key=lambda failure: (failure.id, failure.stream))


def describe_recipe(recipe: StoreRecipe) -> str:
    """Describe the recipe of a store in one line."""
    resize = recipe.resize
    sizes = {
        "exact": f"{resize.width}×{resize.height}",
        "short-side": f"short side {resize.side}",
        "none": "original sizes",
    }
    if resize.square_pixels:
        sizes[resize.mode] += ", square pixels"
    parts = [sizes[resize.mode], "all frames" if recipe.fps is None else f"{recipe.fps:g} fps"]
    if recipe.rgb is not None:
        kept = ", or the bytes of frame folders" if recipe.rgb.keep else ""
        parts.append(f"rgb JPEG {recipe.rgb.quality} {recipe.rgb.subsampling}{kept}")
    if recipe.flow is not None:
        parts.append(describe_flow(recipe.flow))
    if recipe.audio is not None:
        parts.append(f"audio {recipe.audio.mels} mels at {recipe.audio.sample_rate} Hz")
    return " · ".join(parts)


def describe_features(features: FeatureRecipe) -> str:
    """Describe in one line how features were computed."""
    count = features.positions
    stream = STREAMS.get(features.source)
    if stream is not None and not stream.is_image:
        inputs = f"{count} {stream.unit}" if count else f"all {stream.unit}"
    else:
        clips = f"clips of {features.clip_length}" if features.clip_length > 1 else "frames"
        positions = f"{count} positions" if count else "every position"
        inputs = f"{clips} at {positions}, {features.crops}"
    if features.window_stride:
        inputs = (
            f"windows of {features.window} every {features.window_stride} frames, {features.crops}"
        )
    values = f"{features.dimension} values of {features.source} by {features.model}"
    return f"{values} ({features.weights[:8]}), {inputs}"


def describe_flow(flow: FlowRecipe) -> str:
    """Describe the solver, bound and JPEG quality of the flow in one line."""
    from flowkit.flow.params import PRESETS

    if flow.grey.startswith("imported:"):
        solver = f"imported from {flow.grey.removeprefix('imported:')}, solver unknown"
    elif flow.is_learned:
        solver = f"{flow.method} (weights {flow.weights[:8]})"
    else:
        presets = [name for name, params in PRESETS.items() if params == flow.tvl1]
        solver = f"TV-L1 {presets[0] if presets else 'with other parameters'}"
    source = " from the stored RGB" if flow.source == "stored rgb" else ""
    step = "" if flow.step == 1 else f"to frame t{flow.step:+}, "
    return f"flow {solver}{source}, {step}±{flow.bound:g} px, JPEG {flow.quality}"
