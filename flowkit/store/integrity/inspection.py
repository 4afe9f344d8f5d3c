"""Check that a store on disk is what was committed.

Every shard is hashed and compared with its commit record, and every record with the batches of its
shard. Where the bytes of a shard differ, the checksums of its columns tell which videos are
damaged; a change outside of all columns (padding, footer) is reported for the shard. Then the store
as a whole is checked: shards without records and records without shards, videos that were committed
twice, an index that does not match the records, and leftovers of killed processes.
"""

import hashlib
import json
import math
from collections.abc import Callable, Set
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Literal

from flowkit.errors import FlowkitError, FormatError, StoreError
from flowkit.store.annotations import read_annotations
from flowkit.store.format.header import StoreHeader
from flowkit.store.format.layout import CHUNK
from flowkit.store.format.locks import is_locked
from flowkit.store.format.records import find_shards, read_record, record_paths
from flowkit.store.format.schema import (
    CommitRecord,
    CommittedVideo,
    shard_folders,
    vector_dimension,
)
from flowkit.store.index import (
    Index,
    RecordState,
    list_indexed_ids,
    merge_annotations,
    merge_records,
    read_index,
)
from flowkit.store.index_file import ADDED_COLUMNS
from flowkit.store.integrity.batches import open_shard
from flowkit.store.integrity.contents import check_rows
from flowkit.store.integrity.damage import find_damage, is_recoverable
from flowkit.store.integrity.report import Problem, Report
from flowkit.store.integrity.shard_recipe import list_recipe_differences
from flowkit.store.latest_videos import VideoCommit
from flowkit.store.stale import find_stale

Progress = Callable[[int, int], None]


@dataclass(kw_only=True)
class InspectedShard:
    """One shard and what is wrong with it."""

    folder: str
    """Shard folder, such as ``frames`` or ``features/<name>``."""
    uuid: str
    """Name of the shard file without its suffix."""
    index: int
    """Its index in the list of inspected shards."""
    record: CommitRecord | None = None
    """Its commit record, if there is one that can be read."""
    action: (
        Literal["copy-videos", "recover", "write-record", "remove-record", "update-flowkit"] | None
    ) = None
    """What a repair must do. ``copy-videos``: copy the intact videos into a new shard and move this
    one to quarantine. ``recover``: leave this shard, which is intact but has no usable commit
    record, to recovery. ``write-record``: write the commit record, which differs from the batches,
    again. ``remove-record``: move the record, whose shard is lost, to quarantine.
    ``update-flowkit``: only a newer flowkit can tell.
    """
    bad_ids: set[str] = field(default_factory=set)
    """Ids of the videos that are damaged or malformed, which a repair does not copy."""

    @property
    def name(self) -> str:
        """Return ``folder/uuid``."""
        return f"{self.folder}/{self.uuid}"

    def make_commit(self, video: CommittedVideo) -> VideoCommit:
        """Describe the commit of a video; a shard without a record counts as committed last."""
        committed = self.record.committed if self.record else math.inf
        return VideoCommit(video.supersedes, (committed, self.uuid), self.index, video)


class Inspection:
    """One check of a whole store.

    Args:
        root: Folder of the store.
        header: Its header.
        pool: Threads that decode images for a deep check; None for a check of bytes only.
        progress: Called with (bytes read, total bytes), or None.
        is_busy: Returns whether another process writes to the store now.

    Attributes:
        report: What was found.
        shards: Every shard that has a file or a record.
        commits: All commits of each video and stream, by (id, stream).
        recipe_differences: Settings of store.json that are others in intact shards, in order.
    """

    def __init__(
        self,
        root: Path,
        header: StoreHeader,
        pool: Executor | None,
        progress: Progress | None,
        is_busy: Callable[[], bool],
    ) -> None:
        self.root, self.header, self.pool, self.is_busy = root, header, pool, is_busy
        self.report, self._progress = Report(), progress
        self.commits: dict[tuple[str, str], list[VideoCommit]] = {}
        self.recipe_differences: dict[str, None] = {}
        self.shards = [
            InspectedShard(folder=folder, uuid=uuid, index=index)
            for index, (folder, uuid) in enumerate(find_shards(root))
        ]
        self._known_records = read_index(root, header.dataset).records
        paths = [root / f"{shard.name}.arrow" for shard in self.shards]
        self._total_bytes = sum(path.stat().st_size for path in paths if path.exists())
        self._hashed_bytes = 0

    def run(self) -> Report:
        """Check everything."""
        for shard in self.shards:
            self._check_shard(shard)
        for line in self.recipe_differences:
            what = f"store.json has another recipe than its shards ({line}); restore it"
            self._report_problem(None, what)
        self._check_commits()
        try:
            read_annotations(self.root)
        except (FlowkitError, KeyError, TypeError, ValueError) as error:
            self._report_problem(None, f"annotations.arrow is broken ({error})")
        else:
            index_problem = self._find_index_problem()
            if index_problem:
                self._report_problem(None, index_problem)
        if self.report.clean:
            self._note_stale_features()
        self._note_leftovers()
        self.report.videos = len({id for id, _ in self.commits})
        return self.report

    def _report_problem(
        self, shard: InspectedShard | None, what: str, id: str | None = None
    ) -> None:
        self.report.problems.append(Problem(shard.name if shard else None, id, what))

    def _check_shard(self, shard: InspectedShard) -> None:
        path = self.root / f"{shard.name}.arrow"
        try:
            vector_dimension(shard.folder, self.header.recipe)
        except StoreError as error:  # store.json is an older copy, so the shard cannot be judged
            self._report_problem(shard, str(error))
            return
        if not self._read_record(shard, path):
            return
        record = shard.record
        if not path.exists():
            lost = f"{len(record.videos)} videos" if record else "its videos"
            self._report_problem(
                shard, f"the file of this commit record is gone, and {lost} with it"
            )
            shard.action = "remove-record"
            shard.bad_ids |= {video.id for video in record.videos} if record else set()
            return
        size = path.stat().st_size
        self.report.shards += 1
        self.report.bytes += size
        sha256 = self._hash_file(path)
        if record is None:
            self._find_damage(shard, path, list_indexed_ids(self.root, shard.name))
            if not shard.bad_ids and not is_recoverable(path, shard.folder):
                self._report_problem(shard, "is truncated, or bytes in it have changed")
                shard.action = "copy-videos"
            return
        for video in record.videos:
            for stream in video.streams:
                self.commits.setdefault((video.id, stream), []).append(shard.make_commit(video))
        if size != record.bytes:
            self._report_problem(shard, f"has {size:,} bytes, its record says {record.bytes:,}")
            self._find_damage(shard, path)
        elif sha256 != record.sha256:
            intact = self._find_damage(shard, path)
            if not shard.bad_ids:
                self._report_problem(
                    shard,
                    "bytes outside of its columns (padding, headers or footer) have changed; its "
                    f"{intact} videos are intact",
                )
        else:
            self._check_batches(shard, record, path)

    def _read_record(self, shard: InspectedShard, path: Path) -> bool:
        """Read the commit record of a shard; return whether the shard can be checked further."""
        try:
            locked = is_locked(path)  # before the record: a commit that ends now leaves a record
            shard.record = read_record(path.with_suffix(".json"))
        except FileNotFoundError:
            if locked:
                self.report.notes.append(f"shard {shard.name} is being committed")
                return False
            # A repair that was killed can have moved the record to quarantine.
            quarantined = self.root / "quarantine" / f"{shard.name}.json"
            indexed = any(record.shard == shard.name for record in self._known_records)
            if indexed or quarantined.exists():
                self._report_problem(
                    shard, "has lost its commit record, so its videos do not count"
                )
            else:
                self.report.notes.append(
                    f"shard {shard.name} was left before its commit record was written; the next "
                    "extraction gives it one if it is intact"
                )
            shard.action = "recover"
        except FormatError as error:
            self._report_problem(shard, str(error))
            shard.action = "update-flowkit"
            return False
        except (StoreError, AttributeError, TypeError, ValueError) as error:
            self._report_problem(shard, f"its commit record is broken ({error})")
            shard.action = "recover"
        return True

    def _hash_file(self, path: Path) -> str:
        """Return the SHA-256 of a shard file in hexadecimal."""
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                self._hashed_bytes += len(chunk)
                if self._progress is not None:
                    done = min(self._hashed_bytes, self._total_bytes)
                    self._progress(done, self._total_bytes)
        return digest.hexdigest()

    def _find_damage(
        self, shard: InspectedShard, path: Path, indexed_ids: Set[str] = frozenset()
    ) -> int:
        """Report the damaged videos of a shard; return the number of intact videos."""
        intact, damaged = find_damage(path, shard.folder, shard.record, indexed_ids)
        for id, what in damaged.items():
            self._report_problem(shard, what, id)
        shard.bad_ids |= damaged.keys()
        if shard.action is None or damaged:
            shard.action = "copy-videos"
        return len(intact)

    def _check_batches(self, shard: InspectedShard, record: CommitRecord, path: Path) -> None:
        """Compare the batches of an unchanged shard with its record; check its rows if asked to."""
        with open_shard(path, shard.folder) as contents:
            complete = contents.complete
            described = (record.folder, record.uuid, record.rows, record.videos)
            if described != (shard.folder, shard.uuid, complete.rows, tuple(complete.videos)):
                self._report_problem(shard, "its commit record does not match its batches")
                shard.action = "write-record"
            recipe = self.header.recipe
            differences = list_recipe_differences(contents.descriptor, shard.folder, recipe)
            self.recipe_differences |= dict.fromkeys(differences)
            if differences or self.pool is None:
                return
            for video in contents.videos:
                for what in check_rows(contents, video, shard.folder, recipe, self.pool):
                    self._report_problem(shard, what, video.meta.id)
                    shard.bad_ids.add(video.meta.id)
                    shard.action = "copy-videos"

    def _check_commits(self) -> None:
        """Find videos that were committed twice, which only a superseding commit may do."""
        for (id, stream), commits in self.commits.items():
            used = reduce(lambda best, other: other if other.outranks(best) else best, commits)
            used_name = self.shards[used.shard].name
            for commit in commits:
                shard = self.shards[commit.shard]
                if commit is used:
                    continue
                if used.supersedes:
                    self.report.notes.append(
                        f"video {id!r}: its {stream} in shard {shard.name} is superseded by "
                        f"{used_name}"
                    )
                else:
                    what = f"its {stream} is committed twice; the one in {used_name} counts"
                    self._report_problem(shard, what, id)
                    shard.action = shard.action or "copy-videos"

    def _excuse_index(self, what: str) -> str | None:
        """Return a problem of the index, or only note it while an extraction is running."""
        if not self.is_busy():
            return f"{what}; run `flowkit index`"
        self.report.notes.append(f"{what}: an extraction is running")
        return None

    def _find_index_problem(self) -> str | None:
        """Compare the index with the commit records and annotations; return what is wrong."""
        records = [RecordState.read(self.root, path) for path in record_paths(self.root)]
        index = read_index(self.root, self.header.dataset)
        if not (self.root / "index.arrow").exists():
            if not records:
                return None
            return self._excuse_index("index.arrow is missing")
        if index.table is None:
            return "index.arrow is broken; run `flowkit index`"
        # Modification times are not compared, since a copied store has others.
        present, indexed = ({state[:2] for state in states} for states in (records, index.records))
        if present != indexed:
            what = (
                f"index.arrow lacks {len(present - indexed)} commit records and names "
                f"{len(indexed - present)} that are gone"
            )
            return self._excuse_index(what)
        try:
            rows = merge_records(self.root, Index(), index.records)
            table, classes = merge_annotations(self.root, rows)
        except StoreError as error:
            is_reported = any(shard.action for shard in self.shards)
            return None if is_reported else str(error)
        indexed_classes = json.loads(index.table.schema.metadata[b"flowkit.classes"])
        # An index of an older version lacks columns; it is complete without them.
        table = table.drop_columns([c for c in ADDED_COLUMNS if c not in index.table.schema.names])
        if indexed_classes == classes and table.equals(index.table):
            return None
        what = "index.arrow does not match the commit records and annotations"
        return f"{what}; run `flowkit index --scratch`"

    def _note_stale_features(self) -> None:
        """Note features of videos that were extracted again from changed files."""
        for name in self.header.recipe.features:
            if stale := find_stale(self.root, name):
                self.report.notes.append(
                    f"features/{name} of {len(stale)} videos are of files that were extracted "
                    f"again, changed, since (such as {stale[0]!r}); compute them again"
                )

    def _note_leftovers(self) -> None:
        """Note files that are being written, or were left by a killed process."""
        for folder in shard_folders(self.root):
            for path in sorted((self.root / folder).glob("*.part")):
                state = "was left by a killed run; the next extraction salvages it"
                if is_locked(path):
                    state = "is being written"
                self.report.notes.append(f"{folder}/{path.name} {state}")
        for path in sorted(self.root.glob("removed/*")):
            self.report.notes.append(
                f"removed/{path.name} was left by a removal that was killed; nothing reads it, so "
                "delete it"
            )
