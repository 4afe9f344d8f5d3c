"""Export a store as shards: files that hold several videos each.

A shard is written under a temporary name, fsynced, renamed, and recorded (shards.py). A shard
without a record is removed when the next run begins.
"""

import os
import re
from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from threading import Event
from typing import ClassVar, Protocol

from flowkit.errors import CorruptError, UsageError
from flowkit.interchange.formats.export_format import (
    ExportFormat,
    ExportOptions,
    Outcome,
    Written,
    describe_quantization,
)
from flowkit.interchange.formats.partitions import Partitions, divide_videos
from flowkit.interchange.formats.shards import (
    RECORDS,
    Shard,
    ShardRecord,
    order_ids,
    plan_shards,
    read_records,
    write_record,
)
from flowkit.interchange.formats.stored_frames import (
    BatchChecker,
    count_bytes,
    digest_video,
    list_frame_times,
)
from flowkit.store.format.atomic import convert_disk_errors, sync_folder
from flowkit.store.reader import Store
from flowkit.store.video import Video


class ShardWriter(Protocol):
    """Writes the videos of one shard."""

    def add_video(self, video: Video) -> None:
        """Write one video."""


class ShardedFormat(ExportFormat):
    """A format of shards; subclasses write the file of one shard.

    A shard is a file of the export with several videos, not a shard of the store.

    Args:
        store: Store to export.
        out: Folder to write to.
        options: Options of the export.

    Attributes:
        folder: Folder of the shards.
        records: Records of the finished shards by name.
    """

    suffix: ClassVar[str]
    """Suffix of the names of shards."""
    subfolder: ClassVar[str] = ""
    """Name of the folder of the shards in the export."""
    default_shard_bytes: ClassVar[int]
    """Bytes of images and audio patches at which a shard is closed, where the options name none."""
    single_partition: ClassVar[str]
    """Name of the only partition where the store has no subsets; see `divide_videos`."""

    def __init__(self, store: Store, out: Path, options: ExportOptions) -> None:
        """Add the settings that the export records."""
        super().__init__(store, out, options)
        self._refuse_options("bound", "quality")
        self.shard_bytes = options.shard_bytes or self.default_shard_bytes
        self.folder = out / self.subfolder if self.subfolder else out
        self.records: dict[str, ShardRecord] = {}
        self._checker = BatchChecker(store)
        self.settings |= {
            "shard_bytes": self.shard_bytes,
            "classes": list(store.classes),
            **describe_quantization(store),
        }

    @abstractmethod
    def open_shard(self, path: Path) -> AbstractContextManager[ShardWriter]:
        """Create the file of a shard, which the context finishes and closes.

        Args:
            path: Path of the file.

        Returns:
            The writer of its videos.
        """

    def write_videos(self, ids: list[str]) -> Iterator[tuple[str, Outcome]]:
        """Write the shards of videos in threads; see `ExportFormat.write_videos`."""
        self._check_records()
        with convert_disk_errors(self.out):
            self.folder.mkdir(exist_ok=True)
            (self.out / RECORDS).mkdir(exist_ok=True)
        self.records = read_records(self.out, self.folder, self.suffix)
        self._remove_unrecorded_shards()
        partitions = divide_videos(self.store, ids, self.options.subsets, self.single_partition)
        finished = self._check_finished_videos(partitions)
        yield from ((id, None) for id in ids if id in finished)
        remaining = []
        for id in order_ids(id for id in ids if id not in finished):
            streams = self.store[id].streams
            if any(stream in self.streams for stream in streams):
                remaining.append(id)
            else:
                names = " or ".join(self.streams)
                yield id, f"it has no {names} to write, only {', '.join(streams)}"
        videos = (
            (id, partitions.by_id[id], count_bytes(self.store, self.store[id], self.streams))
            for id in remaining
        )
        shards = plan_shards(videos, self.shard_bytes, self.records)
        stopped, pool = Event(), ThreadPoolExecutor(self.options.workers)
        write_shard = partial(self._write_shard, partitions=partitions, stopped=stopped)
        try:
            for outcomes in pool.map(write_shard, shards):
                yield from outcomes.items()
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)

    def _check_records(self) -> None:
        """Raise a UsageError if there are shards, and the folder of their records was deleted."""
        if (self.out / RECORDS).is_dir():
            return
        if shards := sorted(self._find_shards()):
            raise UsageError(
                f"{self.out} cannot be continued: it holds {len(shards)} shards (first: "
                f"{shards[0]}{self.suffix}), and the folder {RECORDS}, which lists the videos in "
                "them, was deleted; export to a new folder"
            )

    def _find_shards(self) -> dict[str, Path]:
        """Return the paths of all shards by name, finished or not."""
        name = re.compile(rf"(.+-\d{{6,}}){re.escape(self.suffix)}")
        paths = self.folder.iterdir() if self.folder.is_dir() else ()
        return {match[1]: path for path in paths if (match := name.fullmatch(path.name))}

    def _remove_unrecorded_shards(self) -> None:
        """Remove shards that a killed run has renamed but not recorded."""
        for name, path in self._find_shards().items():
            if name not in self.records:
                path.unlink()

    def _check_finished_videos(self, partitions: Partitions) -> set[str]:
        """Check that the videos of finished shards are as they were exported.

        Args:
            partitions: The partitions of the videos of this run.

        Returns:
            Ids of the finished videos, also of those that are not part of this run.

        Raises:
            UsageError: Some were removed from the store or changed in it, or their labels or
                subsets did, or this run divides them in another way.
        """
        finished, changed, moved = set(), set(), set()
        for record in self.records.values():
            for id, digest, _ in record.videos:
                finished.add(id)
                if id not in self.store or digest != self._digest_video(id):
                    changed.add(id)
                elif partitions.find_subsets(id) not in (None, record.subsets):
                    moved.add(id)
        if changed:
            raise UsageError(
                f"{len(changed)} videos (first: {min(changed)!r}) are no longer in the store, or "
                f"have other labels, subsets or frames than when they were exported to {self.out}; "
                "export to a new folder"
            )
        if moved:
            raise UsageError(
                f"{len(moved)} videos (first: {min(moved)!r}) are in several subsets, and were "
                f"exported to {self.out} with another --subset; name all subsets at once, and "
                "export to a new folder"
            )
        return finished

    def _digest_video(self, id: str) -> str:
        return digest_video(self.store[id], self.store.classes)

    def _write_shard(
        self, shard: Shard, partitions: Partitions, stopped: Event
    ) -> dict[str, Outcome]:
        """Write one shard.

        Args:
            shard: The shard.
            partitions: The partitions of the export.
            stopped: Set when the export ends early; the shard is then dropped.

        Returns:
            Outcomes by id.
        """
        outcomes: dict[str, Outcome] = {}
        temporary = self.out / f".part-{os.urandom(8).hex()}"
        path = self.folder / f"{shard.name}{self.suffix}"
        try:
            with convert_disk_errors(path):
                with self.open_shard(temporary) as writer:
                    for id in shard.ids:
                        if stopped.is_set():
                            return {}
                        outcomes[id] = self._add_video(writer, self.store[id])
                written = [id for id in shard.ids if isinstance(outcomes[id], Written)]
                if written:
                    with temporary.open("rb") as file:
                        os.fsync(file.fileno())
                    temporary.replace(path)
                    sync_folder(self.folder)
        finally:
            temporary.unlink(missing_ok=True)
        if written:
            self._record_shard(shard, partitions, path, written)
        return outcomes

    def _record_shard(
        self, shard: Shard, partitions: Partitions, path: Path, written: list[str]
    ) -> None:
        """Record a finished shard with the ids that were written to it."""
        record = ShardRecord(
            name=shard.name,
            subsets=partitions.subsets[shard.partition],
            bytes=path.stat().st_size,
            videos=tuple((id, self._digest_video(id), self.store[id].num_frames) for id in written),
        )
        write_record(self.out, record)
        self.records[shard.name] = record

    def _add_video(self, writer: ShardWriter, video: Video) -> Outcome:
        """Check the bytes and the times of a video, and write it."""
        try:
            self._checker.check_video(video, self.streams)
            list_frame_times(video)
        except (CorruptError, UsageError) as problem:
            return str(problem)
        writer.add_video(video)
        return Written(frames=video.num_frames)
