"""index.arrow: one row per video, sorted by id; a cache of the commit records and annotations.

A rebuild reads the records that the index has not seen, takes the rows of all other videos over as
they are, and joins the annotations anew. Where one video was committed twice for a stream, the
latest commit that supersedes counts, or else the earliest; as that is a total order, losers need
not be remembered while no record disappears. When one does, or has changed, all are read again.
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
ORDER = ("rgb", "flow", "audio")


@dataclass(frozen=True, slots=True)
class Seen:
    """A record that the index has read, as a file: its shard (``folder/uuid``), size and mtime.

    ``bytes`` is the size of the shard's own file, −1 where there is none: a shard that is lost
    or cut makes its record be read again, and is refused then.
    """

    shard: str
    size: int
    mtime_ns: int
    bytes: int

    @classmethod
    def of(cls, root: Path, path: Path) -> Self:
        """What the file of a record looks like now."""
        status, arrow = path.stat(), path.with_suffix(".arrow")
        name = path.relative_to(root).with_suffix("").as_posix()
        size = arrow.stat().st_size if arrow.exists() else -1
        return cls(name, status.st_size, status.st_mtime_ns, size)


@dataclass(slots=True)
class Candidate:
    """One commit of one video, as competing for a stream."""

    rank: tuple[bool, float, str]
    shard: int
    video: Mapping[str, Any]

    def outranks(self, other: "Candidate") -> bool:
        """The latest superseding commit wins, or else the earliest; ties go by uuid."""
        if self.rank[0] != other.rank[0]:
            return self.rank[0]
        return self.rank > other.rank if self.rank[0] else self.rank < other.rank


@dataclass(slots=True)
class LatestVideos:
    """The winning commit of each video and stream."""

    videos: dict[str, dict[str, Candidate]] = field(default_factory=dict)

    def offer(self, shard: int, record: Mapping[str, Any], only: set[str] | None = None) -> None:
        """Let the videos of one record compete; ``only`` restricts them to some ids."""
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
    """Bring index.arrow up to date and return its version; unchanged if nothing is new.

    Atomic, and under its own lock. ``scratch`` reads every record again. StoreError where two ids
    differ only by Unicode normalization, CorruptError for a broken record, or a shard that is
    gone or not as long as its record says.
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
        # Of the clock, so that it grows even where the old index was deleted.
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
    """The index as it was: its table (None if there is none) and what it was made of."""

    table: Any
    seen: list[Seen]
    version: int
    annotations: str | None

    @classmethod
    def empty(cls, version: int, dataset: str | None) -> Self:
        """An index of nothing."""
        return cls(None, [], version, None)


def read_index(root: Path, dataset: str | None) -> Index:
    """The index that is there; an empty one where it is missing or broken, as it is a cache."""
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
    """The table of all videos, unsorted: those of fresh records made anew, the others kept."""
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
    """The names of the columns that say where a stream lies."""
    return [column.name for column in table.schema if column.type == PLACE]


def sort_streams(names: Iterable[str]) -> list[str]:
    """rgb, flow, audio, then features by name."""
    return sorted(names, key=lambda name: (name not in ORDER, (*ORDER, name).index(name), name))


def build_rows(winners: LatestVideos) -> Any:
    """One row per video, without annotations: facts of its frames (else 0), and its places."""
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
    """Sort by id and put labels and subsets beside it; also the class names."""
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
    """StoreError where two ids differ only by Unicode normalization."""
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
    """The Arrow file of one batch, with metadata as JSON."""
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
