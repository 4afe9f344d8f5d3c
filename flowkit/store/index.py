"""Build ``index.arrow``: one row per video, sorted by id.

The index is a cache of the commit records and annotations. A rebuild reads only the commit records
that the index has not seen yet, keeps the rows of all other videos, and joins the annotations
again.

A stream of a video may have been committed more than once. The latest superseding commit is then
used, or the earliest commit if none supersedes. This is a total order, so the index need not
remember the commits that lost, as long as no record disappears. If a record has disappeared or
changed, all records are read again.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from flowkit.errors import CorruptError, StoreError
from flowkit.store.annotations import annotations_digest, read_annotation_rows, read_table
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.header import read_header
from flowkit.store.format.locks import exclusive, make_locks
from flowkit.store.format.records import broken_record, load_record, record_paths
from flowkit.store.format.schema import FORMAT
from flowkit.streams import STREAMS

LABELS = pa.list_(
    pa.struct([("class", pa.int32()), ("start", pa.float64()), ("end", pa.float64())])
)
SUBSETS = pa.list_(pa.string())
PLACE = pa.struct([(name, pa.int32()) for name in ("shard", "batch", "first_row", "rows")])
FACTS = (
    ("frames", pa.int32()),
    ("fps", pa.float64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("source", pa.large_string()),
    ("size", pa.int64()),
    ("mtime_ns", pa.int64()),
    ("digest", pa.binary(16)),
    ("warnings", pa.int32()),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of a commit record and its shard on disk, to notice that either has changed."""

    shard: str
    """Name of the shard, ``folder/uuid``."""
    size: int
    """Size of the commit record in bytes."""
    mtime_ns: int
    """Modification time of the commit record in nanoseconds."""
    bytes: int
    """Size of the shard file in bytes, −1 if it is missing."""

    @classmethod
    def of(cls, root: Path, path: Path) -> Self:
        """Read the present state of the commit record at ``path`` and of its shard."""
        status, arrow = path.stat(), path.with_suffix(".arrow")
        name = path.relative_to(root).with_suffix("").as_posix()
        size = arrow.stat().st_size if arrow.exists() else -1
        return cls(name, status.st_size, status.st_mtime_ns, size)


@dataclass(slots=True)
class Candidate:
    """One commit of one video, which may be the one that the index shows for a stream."""

    rank: tuple[bool, float, str]
    """Whether it supersedes others, its commit time in seconds since 1970, and its shard's uuid."""
    shard: int
    """Position of the shard in the index's list of shards."""
    video: Mapping[str, Any]
    """The video's entry in the commit record."""

    def outranks(self, other: "Candidate") -> bool:
        """Return whether this commit is used rather than ``other``.

        The latest superseding commit is used, or the earliest if none supersedes. The uuid
        decides between commits of the same time.
        """
        if self.rank[0] != other.rank[0]:
            return self.rank[0]
        return self.rank > other.rank if self.rank[0] else self.rank < other.rank


@dataclass(slots=True)
class LatestVideos:
    """The commit that the index shows for each video and stream."""

    videos: dict[str, dict[str, Candidate]] = field(default_factory=dict)
    """The commit to use, by video id and stream."""

    def offer(self, shard: int, record: Mapping[str, Any], only: set[str] | None = None) -> None:
        """Add the videos of one commit record where they outrank the present commits.

        Args:
            shard: Position of the shard in the index's list of shards.
            record: The commit record, as JSON values.
            only: Ids to consider, or None for all.
        """
        for video in record["videos"]:
            if only is not None and video["id"] not in only:
                continue
            rank = (bool(video.get("supersedes")), record["committed"], record["uuid"])
            candidate = Candidate(rank, shard, video)
            streams = self.videos.setdefault(video["id"], {})
            for stream in video["streams"]:
                if stream not in streams or candidate.outranks(streams[stream]):
                    streams[stream] = candidate


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
    with exclusive(make_locks(path) / "index"):
        records = [Seen.of(path, record) for record in record_paths(path)]
        old = read_index(path, header.dataset)
        seen = set(old.seen)
        if scratch or not seen <= set(records):
            fresh, base = records, Index.empty(old.version, header.dataset)
        else:
            fresh, base = [record for record in records if record not in seen], old
        annotations = annotations_digest(path)
        if base is old and not fresh and annotations == old.annotations and old.version:
            return old.version
        rows = merge(path, base, fresh)
        table, classes = join_annotations(path, rows)
        # Taken from the clock, so that it grows even if the old index was deleted.
        version = max(old.version + 1, time.time_ns() // 1_000_000)
        metadata = {
            "flowkit.format": FORMAT,
            "flowkit.classes": classes,
            "flowkit.shards": [record.shard for record in base.seen + fresh],
            "flowkit.records": [[r.size, r.mtime_ns, r.bytes] for r in base.seen + fresh],
            "flowkit.annotations": annotations,
            "flowkit.version": version,
            "flowkit.dataset": header.dataset,
        }
        write_atomic(path / "index.arrow", serialize(table, metadata))
    return version


@dataclass(frozen=True, slots=True)
class Index:
    """An index before a rebuild, and what it was built from."""

    table: Any
    """The rows as a ``pyarrow.Table``; None for an empty index."""
    seen: list[Seen]
    """The commit records that it was built from, in the order of its shard numbers."""
    version: int
    """Its version, 0 if there was no index."""
    annotations: str | None
    """Digest of the annotations that it was built from."""

    @classmethod
    def empty(cls, version: int, dataset: str | None) -> Self:
        """Make an index without rows."""
        return cls(None, [], version, None)


def read_index(root: Path, dataset: str | None) -> Index:
    """Read the present index; as it is a cache, a missing or broken one counts as empty."""
    try:
        table = read_table(root / "index.arrow")
        metadata = {key.decode(): json.loads(value) for key, value in table.schema.metadata.items()}
        pairs = zip(metadata["flowkit.shards"], metadata["flowkit.records"], strict=True)
        seen = [Seen(shard, size, mtime, length) for shard, (size, mtime, length) in pairs]
        if metadata["flowkit.dataset"] != dataset:
            return Index.empty(metadata["flowkit.version"], dataset)
        return Index(table, seen, metadata["flowkit.version"], metadata["flowkit.annotations"])
    except (FileNotFoundError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError):
        return Index.empty(0, dataset)


def merge(root: Path, base: Index, fresh: list[Seen]) -> Any:
    """Merge the videos of new commit records into the rows of the present index.

    Args:
        root: Folder of the store.
        base: The present index.
        fresh: The commit records that it has not seen.

    Returns:
        A ``pyarrow.Table`` of all videos, unsorted and without annotations.
    """
    winners = LatestVideos()
    shards = base.seen + fresh
    for number in range(len(base.seen), len(shards)):
        offer_shard(root, winners, number, shards[number], None)
    if base.table is None:
        return build_rows(winners)
    touched = pc.is_in(base.table["id"], pa.array(list(winners.videos), pa.large_string()))
    rivals: set[int] = set()
    for name in stream_names(base.table):
        numbers = pc.struct_field(base.table[name].filter(touched), "shard")
        rivals.update(numbers.unique().drop_null().to_pylist())
    ids = set(winners.videos)
    for number in rivals:
        offer_shard(root, winners, number, shards[number], ids)
    kept = base.table.filter(pc.invert(touched)).drop_columns(["labels", "subsets"])
    table = pa.concat_tables(
        [kept.replace_schema_metadata(None), build_rows(winners)], promote_options="default"
    )
    facts = [name for name in table.column_names if name not in stream_names(table)]
    return table.select(facts + sort_streams(stream_names(table)))


def offer_shard(
    root: Path, winners: LatestVideos, number: int, shard: Seen, only: set[str] | None
) -> None:
    """Read the commit record of one shard and offer its videos to ``winners``.

    Args:
        root: Folder of the store.
        winners: The latest videos so far; changed in place.
        number: Position of the shard in the index's list of shards.
        shard: The record as it was found on disk.
        only: Ids to consider, or None for all.

    Raises:
        CorruptError: The record is broken, or the shard file is gone or has another length.
    """
    path = root / f"{shard.shard}.json"
    record = load_record(path)
    try:
        if shard.bytes != record["bytes"]:
            has = "the file is gone" if shard.bytes < 0 else f"it has {shard.bytes:,} bytes"
            raise CorruptError(
                f"{path.with_suffix('.arrow')}: expected {record['bytes']:,} bytes as committed, "
                f"but {has}; run `flowkit verify --repair`, then extract again what it requeues"
            )
        winners.offer(number, record, only)
    except (KeyError, TypeError) as error:
        raise broken_record(path, error) from None


def stream_names(table: Any) -> list[str]:
    """Return the names of the columns that hold the place of a stream."""
    return [column.name for column in table.schema if column.type == PLACE]


def sort_streams(names: Iterable[str]) -> list[str]:
    """Sort stream names: rgb, flow, audio, then features by name."""
    found = set(names)
    return [*(name for name in STREAMS if name in found), *sorted(found - STREAMS.keys())]


def build_rows(winners: LatestVideos) -> Any:
    """Build one row per video: metadata, and the place of each stream; no annotations.

    Frame count, frame rate and size are 0 for a video that has neither RGB nor flow.
    """
    names = {stream for streams in winners.videos.values() for stream in streams}
    streams = sort_streams(names)
    facts: list[list[Any]] = [[] for _ in FACTS]
    places: dict[str, list[Any]] = {stream: [] for stream in streams}
    for won in winners.videos.values():
        main = next(won[stream].video for stream in streams if stream in won)
        mark = main["fingerprint"]
        image = [main[name] for name in ("frames", "fps", "width", "height")]
        if "rgb" not in won and "flow" not in won:
            image = [0, 0.0, 0, 0]
        identity = [main["source"], mark["size"], mark["mtime_ns"], bytes.fromhex(mark["digest"])]
        values = [*image, *identity, len(main.get("warnings", ()))]
        for column, value in zip(facts, values, strict=True):
            column.append(value)
        for stream, column in places.items():
            column.append(place(won[stream]) if stream in won else None)
    columns = {"id": pa.array(list(winners.videos), pa.large_string())}
    for (name, kind), values in zip(FACTS, facts, strict=True):
        columns[name] = pa.array(values, kind)
    for stream, values in places.items():
        columns[stream] = pa.array(values, PLACE)
    return pa.table(columns)


def place(candidate: Candidate) -> dict[str, int]:
    """Return where a candidate lies, as a value of a stream column of the index."""
    video = candidate.video
    return {
        "shard": candidate.shard,
        "batch": video["batch"],
        "first_row": video["first_row"],
        "rows": video["rows"],
    }


def join_annotations(root: Path, rows: Any) -> tuple[Any, list[str]]:
    """Sort the rows by id and add the columns ``labels`` and ``subsets``.

    Returns:
        The table, and the class names by class id.
    """
    rows = rows.take(pc.sort_indices(rows["id"]))
    refuse_twins(rows["id"])
    table = read_annotation_rows(root)
    count = table.num_rows if table else 0
    empty = pa.table({"labels": pa.array([[]], LABELS), "subsets": pa.array([[]], SUBSETS)})
    lists, classes, found = empty, [], pa.nulls(rows.num_rows, pa.int32())
    if table is not None:
        lists = pa.concat_tables([select_lists(table), empty])
        chunks = [chunk.cast(pa.large_string()) for chunk in table["id"].chunks]
        known = pa.concat_arrays([*chunks, pa.array([], pa.large_string())])
        found = pc.index_in(rows["id"], value_set=known)
        classes = json.loads(table.schema.metadata[b"classes"])
    lists = lists.take(pc.fill_null(found, count))
    rows = rows.add_column(1, "labels", lists["labels"])
    return rows.add_column(2, "subsets", lists["subsets"]), classes


def select_lists(table: Any) -> Any:
    """Select the labels and subsets of an annotation table, cast to the types of the index."""
    return pa.table(
        {"labels": table["labels"].cast(LABELS), "subsets": table["subsets"].cast(SUBSETS)}
    )


def refuse_twins(ids: Any) -> None:
    """Raise a StoreError if two ids differ only by Unicode normalization."""
    normal = pc.utf8_normalize(ids, form="NFC")
    if pc.count_distinct(normal).as_py() == len(ids):
        return
    known: dict[str, str] = {}
    for id, form in zip(ids.to_pylist(), normal.to_pylist(), strict=True):
        if form in known:
            raise StoreError(
                f"ids {known[form]!a} and {id!a} differ only by Unicode normalization; "
                "rename one of the sources"
            )
        known[form] = id


def serialize(table: Any, metadata: Mapping[str, Any]) -> bytes:
    """Serialize a table to an Arrow file of one batch, with its metadata as JSON."""
    columns = [
        # a column of an empty table may have no chunk at all
        c.chunk(0) if c.num_chunks == 1 else pa.concat_arrays([*c.chunks, pa.array([], c.type)])
        for c in table.columns
    ]
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()}
    batch = pa.record_batch(columns, schema=table.schema.with_metadata(texts))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content
