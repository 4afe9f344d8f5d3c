"""After a crash: giving shards their missing records, and saving what killed writers left.

README.md, Recovery. Whatever is touched is locked first, so that any number of recoveries and
writers can run at once; and every step leaves a state that the next recovery goes on from.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flowkit.errors import CorruptError
from flowkit.store.format.atomic import sync_folder
from flowkit.store.format.header import read_header
from flowkit.store.format.locks import is_locked, lock_path, try_lock
from flowkit.store.format.records import make_record, read_record, record_paths, write_record
from flowkit.store.format.schema import CommitRecord, VideoMeta, shard_folders
from flowkit.store.integrity.salvage import check_shard, hash_file, read_run, salvage

POLL_SECONDS = 0.1
LEFT = {"arrow.part", "arrow.salvage", "json.part"}
"""Names with these endings, and ``.arrow`` without ``.json``, are left by a crash."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a recovery did.

    ``salvaged``: ids of the videos that count now and did not before. ``committed``: their shards,
    as ``folder/uuid``. ``quarantined``: shards that were never recorded and are corrupt, moved to
    ``quarantine/``. ``waiting``: shards that somebody still writes, or another part's run owns.
    ``dropped_rows``: rows of videos that were not complete.
    """

    salvaged: tuple[str, ...] = ()
    committed: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    dropped_rows: int = 0


def recover(
    root: str | os.PathLike[str],
    *,
    part: tuple[int, int] = (0, 1),
    wait_seconds: float = 20.0,
    log: Callable[[str], None] = lambda line: None,
) -> Recovery:
    """Bring a store to order after any crash; changes nothing where there is nothing to do.

    Shards that are being written are left alone; those of the caller's own ``part`` (all, if it
    owns the whole store) are waited for, ``wait_seconds`` in all, since workers of a killed run
    outlive it for a moment. DiskFullError leaves the store as it was.
    """
    path = Path(root)
    read_header(path)
    deadline = time.monotonic() + wait_seconds
    rescue = ShardRecovery(path, part, log)
    while True:
        waited = [shard for shard in leftovers(path) if not rescue.settle(shard)]
        ours = [shard for shard in waited if rescue.is_ours(shard)]
        if not ours or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    for shard in ours:
        log(f"{shard}: still being written after {wait_seconds:.0f} s; left alone")
    return Recovery(
        salvaged=tuple(video.id for record in rescue.records for video in record.videos),
        committed=tuple(record.name for record in rescue.records),
        quarantined=tuple(rescue.quarantined),
        waiting=tuple(waited),
        dropped_rows=rescue.dropped_rows,
    )


def leftovers(root: Path) -> list[str]:
    """The shards, as ``folder/uuid``, of which a crash or a live writer left something."""
    found = []
    for folder in shard_folders(root):
        endings: dict[str, set[str]] = {}
        for path in (root / folder).iterdir():
            uuid, _, ending = path.name.partition(".")
            endings.setdefault(uuid, set()).add(ending)
        for uuid, its in sorted(endings.items()):
            if its & LEFT or its & {"arrow", "json"} == {"arrow"}:
                found.append(f"{folder}/{uuid}")
    return found


class ShardRecovery:
    """One recovery on its way."""

    def __init__(self, root: Path, part: tuple[int, int], log: Callable[[str], None]) -> None:
        self.root, self.part, self.log = root, part, log
        self.records: list[CommitRecord] = []
        self.quarantined: list[str] = []
        self.dropped_rows = 0
        self._committed: dict[str, set[str]] | None = None  # id → streams, read when it is needed

    def is_ours(self, shard: str) -> bool:
        """Whether a shard's writer belongs to the caller's part of the dataset."""
        return self.part == (0, 1) or self._run(shard) == self.part

    def _run(self, shard: str) -> tuple[int, int] | None:
        for ending in ("arrow.part", "arrow"):
            run = read_run(self.root / f"{shard}.{ending}", shard.rpartition("/")[0])
            if run is not None:
                return run
        return None

    def settle(self, shard: str) -> bool:
        """Bring one shard to order; False where it is somebody else's now."""
        path = self.root / shard
        run = self._run(shard)
        if not self.is_ours(shard) and run is not None and is_locked(lock_path(self.root, run)):
            return False  # the run of that part is alive, and will see to it
        part, arrow = path.with_suffix(".arrow.part"), path.with_suffix(".arrow")
        if part.exists():
            with held(part) as descriptor:
                return descriptor is not None and self._settle_part(shard, part, descriptor)
        if arrow.exists():
            with held(arrow) as descriptor:
                return descriptor is not None and self._settle_arrow(shard, arrow, descriptor)
        self._clean(path)
        return True

    def _settle_part(self, shard: str, part: Path, descriptor: int) -> bool:
        arrow = part.with_suffix("")
        if arrow.exists():  # a salvage that was killed before it removed the .part
            with held(arrow) as other:
                if other is None:
                    return False
                self._settle_arrow(shard, arrow, other)
        if not arrow.exists():
            self._clean(arrow.with_suffix(""))
            record, dropped = salvage(
                descriptor,
                self.root,
                shard.rpartition("/")[0],
                uuid=part.name.split(".")[0],
                wants=self._is_missing,
            )
            self.dropped_rows += dropped
            if record:
                self.records.append(record)
                self._note(record)
            count = len(record.videos) if record else 0
            self.log(f"{shard}: saved {count} complete videos of a killed writer")
        part.unlink()
        sync_folder(part.parent)
        return True

    def _is_missing(self, video: VideoMeta) -> bool:
        """Whether nobody has committed a video of a dead writer meanwhile.

        Another worker may have: where a node dies, its locks can outlive it, and with them its
        shards, until long after its videos were given to others.
        """
        if self._committed is None:
            self._committed = {}
            for path in record_paths(self.root):
                self._note(read_record(path))
        return video.supersedes or not set(video.streams) <= self._committed.get(video.id, set())

    def _note(self, record: CommitRecord) -> None:
        if self._committed is not None:
            for video in record.videos:
                self._committed.setdefault(video.id, set()).update(video.streams)

    def _settle_arrow(self, shard: str, arrow: Path, descriptor: int) -> bool:
        """Give a locked shard its record, or quarantine it."""
        self._clean(arrow.with_suffix(""))
        if arrow.with_suffix(".json").exists():
            return True
        folder, _, uuid = shard.rpartition("/")
        try:
            contents = check_shard(descriptor, arrow, folder)
        except CorruptError as error:
            place = self.root / "quarantine" / folder
            place.mkdir(parents=True, exist_ok=True)
            arrow.replace(place / arrow.name)
            sync_folder(arrow.parent)
            self.quarantined.append(shard)
            self.log(f"{error}; it had no record, and went to quarantine")
            return True
        record = make_record(folder, uuid, contents, *hash_file(descriptor))
        write_record(self.root, record)
        self.records.append(record)
        self.log(f"{shard}: gave it the record that a killed writer had no time for")
        return True

    def _clean(self, path: Path) -> None:
        """Remove what was half-written beside a shard, unless somebody writes it now."""
        for ending in (".arrow.salvage", ".json.part"):
            leftover = path.with_name(path.name + ending)
            if not is_locked(leftover):
                leftover.unlink(missing_ok=True)


@contextmanager
def held(path: Path) -> Iterator[int | None]:
    """An open descriptor of ``path`` with its lock; None where another has it, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor if try_lock(descriptor) and is_named(descriptor, path) else None
    finally:
        os.close(descriptor)


def is_named(descriptor: int, path: Path) -> bool:
    """Whether ``path`` is still the name of the open file: a commit can have renamed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
