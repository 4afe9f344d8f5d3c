"""Write one shard file: lock it, hash it while it is written, and commit it.

README.md in the parent folder describes the steps of a commit.
"""

import fcntl
import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from flowkit.errors import StoreError
from flowkit.store.format.atomic import convert_disk_errors, sync_folder
from flowkit.store.format.checksums import compute_row_checksums
from flowkit.store.format.complete_videos import CompleteVideos
from flowkit.store.format.locks import OPEN_FLAGS, lock
from flowkit.store.format.records import record_shard
from flowkit.store.format.schema import (
    BATCH_CRC_KEY,
    BATCH_KEY,
    ROW_CRC_NAME,
    CommitRecord,
    encode_json,
)

SPARE_MB = 64
"""Megabytes beyond those of a shard that the message of a full disk asks for."""


class HashedFile:
    """A new file that is locked before its first byte, and hashed while it is written.

    It has the methods that ``pyarrow.ipc.new_file`` needs.

    Args:
        path: Path of the file, which must not exist.

    Attributes:
        bytes: Number of bytes written so far.
        sha256: Hash of the bytes written so far.
        closed: Whether the file is closed, and so no longer locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        self.closed = False
        self._descriptor = os.open(path, OPEN_FLAGS | os.O_EXCL, 0o666)
        try:
            lock(self._descriptor, fcntl.LOCK_EX)
        except StoreError:
            self.close()
            path.unlink()
            raise

    def is_deleted(self) -> bool:
        """Return whether the file was deleted, as a recovery may do before it is locked."""
        return os.fstat(self._descriptor).st_nlink == 0

    def write(self, data: Any) -> int:
        """Write all of ``data``; OSError if there is no room."""
        view = memoryview(data).cast("B")
        self.sha256.update(view)
        written = 0
        while written < len(view):
            written += os.write(self._descriptor, view[written:])
        self.bytes += written
        return written

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self.bytes

    def flush(self) -> None:
        """Do nothing, since nothing is buffered."""

    def sync(self) -> None:
        """Wait until the bytes are on disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file, which also releases its lock."""
        if not self.closed:
            self.closed = True
            os.close(self._descriptor)


class ShardFile:
    """A shard while it is written.

    After a DiskFullError or StoreError from any method, the file is unlocked and left for recovery.

    Args:
        folder: Folder of the shard, created if missing.
        schema: The ``pyarrow.Schema`` of the shard, with its metadata.
        uuid: Name of the shard; a new one by default.
        suffix: Suffix of the file until it is committed as ``<uuid>.arrow``.
    """

    def __init__(
        self, folder: Path, schema: Any, uuid: str | None = None, suffix: str = ".arrow.part"
    ) -> None:
        self.schema = schema
        self.contents = CompleteVideos()
        with convert_disk_errors(folder / "shard"):
            folder.mkdir(parents=True, exist_ok=True)
            while True:
                self.uuid = uuid or str(uuid4())
                self.file = HashedFile(folder / f"{self.uuid}{suffix}")
                if not self.file.is_deleted():
                    break
                self.file.close()
        metadata = schema.metadata | {b"flowkit.uuid": self.uuid.encode()}
        with self._close_on_error():
            self._writer = pa.ipc.new_file(self.file, schema.with_metadata(metadata))

    @contextmanager
    def _close_on_error(self) -> Iterator[None]:
        try:
            needed = f"{self.file.bytes / 1e6 + SPARE_MB:,.0f} MB"
            with convert_disk_errors(self.file.path, needed):
                yield
        except BaseException:
            self.file.close()
            raise

    def write(self, batch: Any, crc32: Mapping[str, int], videos: Sequence[Any]) -> None:
        """Append one batch.

        Args:
            batch: The ``pyarrow.RecordBatch``.
            crc32: CRC-32 of each column.
            videos: Metadata of the parts of videos in the batch, as JSON values.
        """
        values = {"videos": videos, "crc32": crc32}
        row_crc32 = compute_row_checksums(batch)
        if row_crc32:
            values[ROW_CRC_NAME] = row_crc32
        text = encode_json(values)
        with self._close_on_error():
            metadata = {BATCH_KEY: text, BATCH_CRC_KEY: str(zlib.crc32(text))}
            self._writer.write_batch(batch, custom_metadata=metadata)
        self.contents.add(videos)

    def commit(self) -> CommitRecord:
        """Finish and rename the file, and write its commit record before its lock is released."""
        with self._close_on_error():
            self._writer.close()
            self.file.sync()
            path = self.file.path.with_name(f"{self.uuid}.arrow")
            self.file.path.replace(path)
            sync_folder(path.parent)
            folder = self.schema.metadata[b"flowkit.folder"].decode()
            sha256 = self.file.sha256.hexdigest()
            record = record_shard(path, folder, self.contents, self.file.bytes, sha256)
        self.file.close()
        return record

    def discard(self) -> None:
        """Remove the file."""
        self.file.path.unlink(missing_ok=True)
        self.file.close()
