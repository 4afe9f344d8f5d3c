"""Build ``index.arrow``: one row per video, sorted by id.

The index is a cache of the commit records and annotations. A rebuild reads only the commit records
that the index has not read yet, keeps the rows of all other videos, and merges the annotations
again.

A stream of a video may have been committed more than once; latest_videos.py decides which commit is
used. The result does not depend on the order in which commits are compared, so the index need not
store the other commits as long as no record disappears. If a record has disappeared or changed, all
records are read again.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

from flowkit.errors import CorruptError, StoreError
from flowkit.store.annotations import annotations_digest, read_annotation_rows, serialize_batches
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.header import read_header
from flowkit.store.format.location import read_uploaded_size
from flowkit.store.format.locks import make_lock_folder, wait_for_lock
from flowkit.store.format.records import load_record, record_paths
from flowkit.store.format.schema import FORMAT
from flowkit.store.index_file import (
    ADDED_COLUMNS,
    LABELS,
    LOCATION,
    METADATA,
    SUBSETS,
    open_index,
)
from flowkit.store.latest_videos import LatestVideos, VideoCommit
from flowkit.streams import FRAME_STREAMS, STREAMS


class RecordState(NamedTuple):
    """The state of a commit record and its shard on disk, to notice that either has changed."""

    shard: str
    """Name of the shard, ``folder/uuid``."""
    size: int
    """Size of the commit record in bytes."""
    mtime_ns: int
    """Modification time of the commit record in nanoseconds."""
    shard_bytes: int
    """Size of the shard in bytes, also if a working store has uploaded it; −1 if missing."""

    @classmethod
    def read(cls, root: Path, path: Path) -> Self:
        """Read the present state of the commit record at ``path`` and of its shard."""
        status, shard = path.stat(), path.with_suffix(".arrow")
        name = path.relative_to(root).with_suffix("").as_posix()
        try:
            shard_bytes = shard.stat().st_size
        except FileNotFoundError:
            shard_bytes = read_uploaded_size(shard)
        return cls(name, status.st_size, status.st_mtime_ns, shard_bytes)


@dataclass(frozen=True, slots=True)
class Index:
    """An index before a rebuild, and what it was built from."""

    table: Any = None
    """The rows as a ``pyarrow.Table``; None for an empty index."""
    records: list[RecordState] = field(default_factory=list)
    """The commit records that it was built from, in the order of its shard numbers."""
    version: int = 0
    """Its version, 0 if there was no index."""
    annotations: str | None = None
    """Digest of the annotations that it was built from."""


def rebuild_index(root: str | os.PathLike[str], *, scratch: bool = False) -> int:
    """Bring ``index.arrow`` up to date; it is replaced atomically, under its own lock.

    Args:
        root: Folder of the store.
        scratch: Read every commit record again, rather than only new ones.

    Returns:
        The version of the index, unchanged if there was nothing new.

    Raises:
        StoreError: Two ids differ only by Unicode normalization.
        CorruptError: A commit record is broken, or a shard is missing or has the wrong length.
    """
    path = Path(root)
    header = read_header(path)
    with wait_for_lock(make_lock_folder(path) / "index"):
        records = [RecordState.read(path, record) for record in record_paths(path)]
        old_index = read_index(path, header.dataset)
        old_records = set(old_index.records)
        can_extend = not scratch and old_records <= set(records)
        new_records = [r for r in records if not can_extend or r not in old_records]
        annotations = annotations_digest(path)
        is_current = can_extend and not new_records and annotations == old_index.annotations
        # An index of an older version is kept as it is: readers do without the columns it lacks.
        if is_current and old_index.version:
            return old_index.version
        if not can_extend or lacks_columns(old_index.table):
            base, new_records = Index(), records
        else:
            base = old_index
        rows = merge_records(path, base, new_records)
        records = base.records + new_records
        check_normalization(rows, [record.shard for record in records])
        table, classes = merge_annotations(path, rows)
        # Taken from the clock, so that it grows even if the old index was deleted.
        version = max(old_index.version + 1, time.time_ns() // 1_000_000)
        metadata = {
            "flowkit.format": FORMAT,
            "flowkit.classes": classes,
            "flowkit.shards": [record.shard for record in records],
            "flowkit.records": [[r.size, r.mtime_ns, r.shard_bytes] for r in records],
            "flowkit.annotations": annotations,
            "flowkit.version": version,
            "flowkit.dataset": header.dataset,
        }
        write_atomic(path / "index.arrow", serialize_index(table, metadata))
    return version


def read_index(root: Path, dataset: str | None) -> Index:
    """Read the present index; as it is a cache, a missing or broken one counts as empty."""
    try:
        index = open_index(root, in_memory=True)
    except StoreError:
        return Index()
    if index.dataset != dataset:
        return Index(version=index.version)
    pairs = zip(index.shards, index.records, strict=True)
    records = [RecordState(shard, *state) for shard, state in pairs]
    table = pa.Table.from_batches([index.batch])
    return Index(table, records, index.version, index.annotations)


def list_indexed_ids(root: Path, shard: str) -> set[str]:
    """Return the ids of the videos that the present index locates in a shard, ``folder/uuid``."""
    index = read_index(root, read_header(root).dataset)
    names = [record.shard for record in index.records]
    if index.table is None or shard not in names:
        return set()
    ids: set[str] = set()
    for stream in stream_names(index.table.schema):
        shards = pc.struct_field(index.table[stream], "shard")
        ids.update(index.table["id"].filter(pc.equal(shards, names.index(shard))).to_pylist())
    return ids


def lacks_columns(table: Any) -> bool:
    """Return whether the table of an index is of an older version, with fewer columns."""
    return table is not None and not set(ADDED_COLUMNS) <= set(table.schema.names)


def merge_records(root: Path, base: Index, new_records: list[RecordState]) -> Any:
    """Merge the videos of new commit records into the rows of an index.

    Args:
        root: Folder of the store.
        base: The index.
        new_records: The commit records that it has not seen.

    Returns:
        A ``pyarrow.Table`` of all videos, unsorted and without annotations.
    """
    latest = LatestVideos()
    for shard_index, record in enumerate(new_records, len(base.records)):
        add_shard(root, latest, shard_index, record)
    if base.table is None:
        return build_rows(latest)
    ids = set(latest.videos)
    # Videos that were committed again get new rows, for which their earlier commits are needed too.
    is_changed = pc.is_in(base.table["id"], pa.array(list(ids), pa.large_string()))
    earlier_shards: set[int] = set()
    for name in stream_names(base.table.schema):
        shard_indices = pc.struct_field(base.table[name].filter(is_changed), "shard")
        earlier_shards.update(shard_indices.unique().drop_null().to_pylist())
    for shard_index in earlier_shards:
        add_shard(root, latest, shard_index, base.records[shard_index], ids)
    unchanged = base.table.filter(pc.invert(is_changed)).drop_columns(["labels", "subsets"])
    unchanged = unchanged.replace_schema_metadata(None)
    table = pa.concat_tables([unchanged, build_rows(latest)], promote_options="default")
    return table.select([name for name, _ in METADATA] + stream_names(table.schema))


def add_shard(
    root: Path,
    latest: LatestVideos,
    shard_index: int,
    state: RecordState,
    ids: set[str] | None = None,
) -> None:
    """Read the commit record of one shard and add its videos to ``latest``.

    Args:
        root: Folder of the store.
        latest: The latest videos so far; this function changes them.
        shard_index: Index of the shard in the list of shards.
        state: The record as it was found on disk.
        ids: Ids to consider, or None for all.

    Raises:
        CorruptError: The record is broken, or the shard file is gone or has another length.
    """
    path = root / f"{state.shard}.json"
    record = load_record(path)
    if state.shard_bytes != record["bytes"]:
        size = state.shard_bytes
        problem = "the file is missing" if size < 0 else f"it has {size:,} bytes"
        raise CorruptError(
            f"{path.with_suffix('.arrow')}: expected {record['bytes']:,} bytes as committed, "
            f"but {problem}; run `flowkit verify --repair`, then extract again what is lost"
        )
    latest.add_record(shard_index, record, ids)


def stream_names(schema: Any) -> list[str]:
    """Return the streams that have a column: rgb, flow, audio, then features by name."""
    return sort_streams(column.name for column in schema if column.type == LOCATION)


def sort_streams(names: Iterable[str]) -> list[str]:
    """Sort stream names: rgb, flow, audio, then features by name."""
    streams = set(names)
    return [*(name for name in STREAMS if name in streams), *sorted(streams - STREAMS.keys())]


def build_rows(latest: LatestVideos) -> Any:
    """Build one row per video: metadata and the location of each stream; no annotations.

    Frame count, frame rate and size are 0 for a video without `FRAME_STREAMS`.
    """
    streams = sort_streams({name for commits in latest.videos.values() for name in commits})
    rows = []
    for id, commits in latest.videos.items():
        video = next(commits[stream].video for stream in streams if stream in commits)
        images = [0, 0.0, 0, 0]
        if frame_streams := list_frame_streams(commits):
            images = [frame_streams[0][name] for name in ("frames", "fps", "width", "height")]
        file = video["fingerprint"]
        source = [video["source"], file["size"], file["mtime_ns"], bytes.fromhex(file["digest"])]
        measures = find_measures(commits)
        locations = [make_location(commits.get(stream)) for stream in streams]
        warnings = len(video.get("warnings", ()))
        rows.append([id, *images, *source, warnings, *measures, *locations])
    schema = pa.schema(METADATA + [(name, LOCATION) for name in streams])
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
    return pa.table(arrays, schema=schema)


def list_frame_streams(commits: Mapping[str, VideoCommit]) -> list[dict[str, Any]]:
    """List the metadata of the streams of images that a video has, in the order of the registry."""
    return [commits[stream].video for stream in FRAME_STREAMS if stream in commits]


def find_measures(commits: Mapping[str, VideoCommit]) -> list[float | bool | None]:
    """Return the values of `ADDED_COLUMNS` of a video; None where they are unknown."""
    durations = (video.get("duration") for video in list_frame_streams(commits))
    duration = next((value for value in durations if value is not None), None)
    motion = (commits["flow"].video.get("motion") if "flow" in commits else None) or {}
    return [duration, motion.get("mean"), motion.get("p95"), has_mixed_sources(commits)]


def has_mixed_sources(commits: Mapping[str, VideoCommit]) -> bool:
    """Return whether the streams of a video come from source files with different content.

    This is so when a video was to be extracted again, and the run was killed between its frames and
    its audio. Features may be older than the frames; `find_stale` finds those.
    """
    contents = {commit.source_content for name, commit in commits.items() if name in STREAMS}
    return len(contents) > 1


def make_location(commit: VideoCommit | None) -> dict[str, int] | None:
    """Return where a video is stored, as a value of a stream's column; None without a commit."""
    if commit is None:
        return None
    location = {name: commit.video[name] for name in ("batch", "first_row", "rows")}
    return location | {"shard": commit.shard}


def merge_annotations(root: Path, rows: Any) -> tuple[Any, list[str]]:
    """Sort the rows by id and add the columns ``labels`` and ``subsets``.

    Returns:
        The table, and the class names by class id.
    """
    rows = rows.take(pc.sort_indices(rows["id"]))
    classes: list[str] = []
    lists = pa.table({"labels": pa.array([[]], LABELS), "subsets": pa.array([[]], SUBSETS)})
    positions = pa.nulls(rows.num_rows, pa.int32())
    annotations = read_annotation_rows(root)
    if annotations is not None:
        classes = json.loads(annotations.schema.metadata[b"classes"])
        ids = annotations["id"].cast(pa.large_string()).combine_chunks()
        positions = pc.index_in(rows["id"], value_set=ids)
        annotated = annotations.select(lists.schema.names).cast(lists.schema)
        # The last row is for videos without annotations.
        lists = pa.concat_tables([annotated, lists])
    lists = lists.take(pc.fill_null(positions, lists.num_rows - 1))
    rows = rows.add_column(1, "labels", lists["labels"])
    return rows.add_column(2, "subsets", lists["subsets"]), classes


def check_normalization(rows: Any, shards: list[str]) -> None:
    """Raise a StoreError if two ids differ only by Unicode normalization.

    Args:
        rows: One row per video, as `merge_records` returns them.
        shards: Names of the shards.
    """
    normal = pc.utf8_normalize(rows["id"], form="NFC")
    if pc.count_distinct(normal).as_py() == len(normal):
        return
    id_by_form: dict[str, str] = {}
    for row, (id, form) in enumerate(zip(rows["id"].to_pylist(), normal.to_pylist(), strict=True)):
        other = id_by_form.setdefault(form, id)
        if other != id:
            locations = [rows[name][row].as_py() for name in stream_names(rows.schema)]
            files = (f"{shards[k['shard']]}.arrow and .json" for k in locations if k is not None)
            raise StoreError(
                f"the store has ids {other!a} and {id!a}, which differ only by Unicode "
                "normalization; rename the source of the second like that of the first, delete "
                f"{', '.join(dict.fromkeys(files))}, and extract again what else they held"
            )


def serialize_index(table: Any, metadata: Mapping[str, Any]) -> bytes:
    """Serialize a table to an Arrow file of one batch, with its metadata as JSON."""
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()}
    table = table.replace_schema_metadata(texts).combine_chunks()
    batches = table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
    return serialize_batches(table.schema, batches)
