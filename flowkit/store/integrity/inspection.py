"""Is what lies on disk what was committed?

Every shard is hashed whole and compared with its record, and every record with its shard's
batches. Where a shard's bytes differ, the column checksums tell which videos; a change outside of
all columns (padding, footer) is reported for the shard. Then the store as a whole: shards without
records and the reverse, videos committed twice, an index that its records do not give, leftovers.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowkit.errors import CorruptError, FlowkitError, FormatError, StoreError
from flowkit.store.annotations import read_annotations
from flowkit.store.format.complete_videos import CompleteVideos
from flowkit.store.format.header import StoreHeader
from flowkit.store.format.locks import is_locked
from flowkit.store.format.records import read_record, record_paths
from flowkit.store.format.schema import (
    CommitRecord,
    VideoMeta,
    shard_columns,
    shard_folders,
    vector_dimension,
)
from flowkit.store.index import (
    Candidate,
    Index,
    Seen,
    join_annotations,
    merge,
    read_index,
)
from flowkit.store.integrity.batches import find_videos, open_shard, read_batches
from flowkit.store.integrity.contents import check_contents
from flowkit.store.integrity.damage import find_damage
from flowkit.store.stale import find_stale

CHUNK = 4 << 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: with a shard (``folder/uuid``), a video in it, or the store."""

    shard: str | None
    video: str | None
    what: str

    def __str__(self) -> str:
        where = [] if self.shard is None else [f"shard {self.shard}"]
        where += [] if self.video is None else [f"video {self.video!r}"]
        return ", ".join(where or ["store"]) + f": {self.what}"


@dataclass(kw_only=True)
class Report:
    """What was looked at, and found.

    ``notes`` are no fault: a shard being written, a superseded video. ``repaired`` says what a
    repair did, ``requeued`` are the ids it could not save, which the next extraction does again.
    """

    shards: int = 0
    videos: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    requeued: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether there was nothing wrong."""
        return not self.problems


@dataclass(kw_only=True)
class Shard:
    """One shard as it was found. ``unfit`` are ids that a repair must not carry over.

    ``remedy``: None where it is left alone, ``rewrite`` (carry whole videos over into a new
    shard), ``record`` (make a new commit record), ``remove`` (a record without a shard), ``newer``
    (none but a newer flowkit can tell).
    """

    folder: str
    uuid: str
    record: CommitRecord | None = None
    remedy: str | None = None
    unfit: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """Return ``folder/uuid``."""
        return f"{self.folder}/{self.uuid}"


class Inspection:
    """One pass over a store; ``busy`` while somebody writes it."""

    def __init__(
        self,
        root: Path,
        header: StoreHeader,
        pool: Executor | None,
        progress: Progress | None,
        busy: bool,
    ) -> None:
        self.root, self.header, self.pool, self.busy = root, header, pool, busy
        self.report = Report()
        self.shards: list[Shard] = []
        # all commits of a video's stream: (how it ranks, which shard)
        self.copies: dict[tuple[str, str], list[tuple[Candidate, Shard]]] = {}
        self._progress = progress
        self._ids: set[str] = set()
        self._indexed = {seen.shard for seen in read_index(root, header.dataset).seen}
        self._done = self._total = 0

    def run(self) -> Report:
        """Look at everything."""
        found = list(find_shards(self.root))
        paths = [self.root / folder / f"{uuid}.arrow" for folder, uuid in found]
        self._total = sum(path.stat().st_size for path in paths if path.exists())
        for folder, uuid in found:
            shard = Shard(folder=folder, uuid=uuid)
            self.shards.append(shard)
            self._check_shard(shard)
        self._check_copies()
        if self._check_annotations():
            self._check_index()
        if self.report.clean:
            self._note_stale()
        self._note_leftovers()
        self.report.videos = len(self._ids)
        return self.report

    def _blame(self, shard: Shard | None, video: str | None, what: str) -> None:
        self.report.problems.append(Problem(shard.name if shard else None, video, what))

    def _check_shard(self, shard: Shard) -> None:
        path = self.root / f"{shard.name}.arrow"
        try:
            vector_dimension(shard.folder, self.header.recipe)
        except StoreError as error:  # store.json is an older copy: nothing can be told, or done
            self._blame(shard, None, str(error))
            return
        try:
            locked = is_locked(path)  # asked first: a commit that ends meanwhile leaves a record
            shard.record = read_record(path.with_suffix(".json"))
        except FileNotFoundError:
            if locked:
                self.report.notes.append(f"shard {shard.name} is being committed")
                return
            retired = self.root / "quarantine" / f"{shard.name}.json"  # by a repair that was killed
            if shard.name in self._indexed or retired.exists():
                self._blame(shard, None, "has lost its commit record, so it does not count")
            else:
                note = f"shard {shard.name} was left before its commit record was written"
                self.report.notes.append(f"{note}; the next extraction gives it one")
            shard.remedy = "record"
        except FormatError as error:
            self._blame(shard, None, str(error))
            shard.remedy = "newer"
            return
        except (StoreError, AttributeError, TypeError, ValueError) as error:
            self._blame(shard, None, f"its commit record is broken ({error})")
            shard.remedy = "record"
        record = shard.record
        if not path.exists():
            lost = f"{len(record.videos)} videos" if record else "its videos"
            self._blame(shard, None, f"the file of this commit record is gone, and {lost} with it")
            shard.remedy = "remove"
            shard.unfit |= {video.id for video in record.videos} if record else set()
            return
        size = path.stat().st_size
        self.report.shards += 1
        self.report.bytes += size
        digest = self._hash(path)
        if record is None:
            self._find_damage(shard, path, report_none=False)
            return
        self._ids.update(video.id for video in record.videos)
        self._remember_copies(shard, record)
        if size != record.bytes or digest != record.sha256:
            if size != record.bytes:
                self._blame(shard, None, f"has {size:,} bytes, its record says {record.bytes:,}")
            self._find_damage(shard, path, report_none=size == record.bytes)
            return
        self._check_record(shard, record, path)

    def _hash(self, path: Path) -> str:
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                self._done += len(chunk)
                if self._progress is not None:
                    self._progress(min(self._done, self._total), self._total)
        return digest.hexdigest()

    def _find_damage(self, shard: Shard, path: Path, report_none: bool) -> None:
        """Name the videos of a shard whose bytes are not those of its record."""
        damage = find_damage(path, shard.folder, shard.record)
        for id, what in damage.broken.items():
            self._blame(shard, id, what)
        if not damage.broken and report_none:
            what = "bytes outside of its columns (padding, headers or footer) have changed; "
            self._blame(shard, None, what + f"its {len(damage.whole)} videos are whole")
        shard.unfit |= damage.broken.keys()
        if shard.remedy is None or damage.broken:
            shard.remedy = "rewrite"

    def _check_record(self, shard: Shard, record: CommitRecord, path: Path) -> None:
        """The shard is as it was hashed: do its batches hold what the record says?"""
        with open_shard(path) as descriptor:
            batches = list(read_batches(descriptor, path, shard_columns(shard.folder)))
            contents = CompleteVideos(batch.parts for batch in batches)
            told = (record.folder, record.uuid, record.rows, record.videos)
            if told != (shard.folder, shard.uuid, contents.rows, tuple(contents.videos)):
                self._blame(shard, None, "its commit record does not say what its batches hold")
                shard.remedy = "record"
            if self.pool is None:
                return
            for video in find_videos(batches, contents):
                try:
                    wrong = check_contents(
                        descriptor, shard.folder, video, self.header.recipe, self.pool
                    )
                except CorruptError as error:
                    wrong = [str(error)]
                for what in wrong:
                    self._blame(shard, video.meta.id, what)
                if wrong:
                    shard.unfit.add(video.meta.id)
                    shard.remedy = "rewrite"

    def _remember_copies(self, shard: Shard, record: CommitRecord) -> None:
        for video in record.videos:
            rank = (video.supersedes, record.committed, record.uuid)
            candidate = Candidate(rank, 0, mark_of(video))
            for stream in video.streams:
                self.copies.setdefault((video.id, stream), []).append((candidate, shard))

    def _check_copies(self) -> None:
        """Videos committed twice: superseded ones are as it should be, others are not."""
        for (id, stream), copies in self.copies.items():
            if len(copies) == 1:
                continue
            winner = find_winner(copies)
            for candidate, shard in copies:
                if candidate is winner[0]:
                    continue
                if winner[0].rank[0]:
                    self.report.notes.append(
                        f"video {id!r}: its {stream} in shard {shard.name} is superseded by "
                        f"{winner[1].name}"
                    )
                else:
                    what = f"its {stream} is committed twice; the one in {winner[1].name} counts"
                    self._blame(shard, id, what)
                    shard.remedy = shard.remedy or "rewrite"

    def _check_annotations(self) -> bool:
        try:
            read_annotations(self.root)
        except (FlowkitError, KeyError, TypeError, ValueError) as error:
            self._blame(None, None, f"annotations.arrow is broken ({error})")
            return False
        return True

    def _check_index(self) -> None:
        path = self.root / "index.arrow"
        records = {Seen.of(self.root, record) for record in record_paths(self.root)}
        if not path.exists():
            if records:
                self._blame(None, None, "index.arrow is missing; run `flowkit index`")
            return
        old = read_index(self.root, self.header.dataset)
        if old.table is None:
            self._blame(None, None, "index.arrow is broken; run `flowkit index`")
            return
        now, then = (  # a copied store has other times
            {(seen.shard, seen.size) for seen in many} for many in (records, old.seen)
        )
        unseen, gone = len(now - then), len(then - now)
        if unseen or gone:
            what = f"index.arrow lacks {unseen} commit records and names {gone} that are gone"
            if self.busy:
                self.report.notes.append(f"{what}: an extraction is running")
            else:
                self._blame(None, None, f"{what}; run `flowkit index`")
            return
        try:
            rows = merge(self.root, Index.empty(0, self.header.dataset), old.seen)
            table, classes = join_annotations(self.root, rows)
        except StoreError as error:
            if not any(shard.remedy for shard in self.shards):
                self._blame(None, None, str(error))
            return  # a broken record, which is named already
        if not same_rows(table, classes, old.table):
            what = "index.arrow does not hold what its commit records and annotations give"
            self._blame(None, None, f"{what}; run `flowkit index --scratch`")

    def _note_stale(self) -> None:
        """Features of videos that were extracted again: whole, but of other pictures."""
        for name in self.header.recipe.features:
            if stale := find_stale(self.root, name):
                self.report.notes.append(
                    f"features/{name} of {len(stale)} videos are of files that were extracted "
                    f"again, changed, since (such as {stale[0]!r}); compute them again"
                )

    def _note_leftovers(self) -> None:
        for folder in shard_folders(self.root):
            for path in sorted((self.root / folder).glob("*.part")):
                state = (
                    "is being written"
                    if is_locked(path)
                    else "was left by a killed run; the next extraction salvages it"
                )
                self.report.notes.append(f"{folder}/{path.name} {state}")
        for path in sorted(self.root.glob("removed/*")):
            self.report.notes.append(
                f"removed/{path.name} was left by a removal that was killed; nothing reads it, so "
                "delete it"
            )


def find_shards(root: Path) -> Iterator[tuple[str, str]]:
    """(folder, uuid) of every shard that has a file or a record."""
    for folder in shard_folders(root):
        paths = [*(root / folder).glob("*.arrow"), *(root / folder).glob("*.json")]
        for uuid in sorted({path.stem for path in paths}):
            yield folder, uuid


def mark_of(meta: VideoMeta) -> dict[str, Any]:
    """What two copies of one extraction have in common."""
    return {"mark": meta.fingerprint, "frames": meta.frames, "supersedes": meta.supersedes}


def find_winner(copies: list[tuple[Candidate, Shard]]) -> tuple[Candidate, Shard]:
    """The commit that counts, by the index's own rule."""
    best = copies[0]
    for copy in copies[1:]:
        if copy[0].outranks(best[0]):
            best = copy
    return best


def same_rows(table: Any, classes: list[str], old: Any) -> bool:
    """Whether two index tables hold the same, their other metadata aside."""
    known = json.loads(old.schema.metadata[b"flowkit.classes"])
    plain = table.replace_schema_metadata(None)
    return known == classes and bool(plain.equals(old.replace_schema_metadata(None)))
