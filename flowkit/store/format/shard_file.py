"""One shard while it is written: locked, hashed on the way, and committed in README's steps."""

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
from flowkit.store.format.atomic import disk_errors, sync_folder, write_atomic
from flowkit.store.format.complete_videos import CompleteVideos
from flowkit.store.format.locks import FLAGS, lock
from flowkit.store.format.records import make_record, record_json
from flowkit.store.format.schema import (
    BATCH_CRC_KEY,
    BATCH_KEY,
    CommitRecord,
    encode_json,
)


class HashedFile:
    """A file under ``flock`` from before its first byte, counted and hashed as it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        self.closed = False
        self._descriptor = os.open(path, FLAGS | os.O_EXCL, 0o666)
        try:
            lock(self._descriptor, fcntl.LOCK_EX)
        except StoreError:
            self.close()
            path.unlink()
            raise

    @property
    def unlinked(self) -> bool:
        """Whether the file has lost its name: recovery can take it between birth and lock."""
        return os.fstat(self._descriptor).st_nlink == 0

    def write(self, data: Any) -> int:
        """Write all of ``data``; OSError where there is no room."""
        view = memoryview(data).cast("B")
        self.sha256.update(view)
        done = 0
        while done < len(view):
            done += os.write(self._descriptor, view[done:])
        self.bytes += done
        return done

    def tell(self) -> int:
        """Bytes written so far; Arrow asks for it."""
        return self.bytes

    def flush(self) -> None:
        """Nothing is buffered."""

    def sync(self) -> None:
        """Wait until the bytes are on disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file and so let its lock go."""
        if not self.closed:
            self.closed = True
            os.close(self._descriptor)


class ShardFile:
    """A shard while it is written.

    Its file is ``<uuid><suffix>``; a commit turns it into ``<uuid>.arrow`` and ``<uuid>.json``.
    After a DiskFullError or StoreError from any method the file is left for recovery, and its lock
    is let go.
    """

    def __init__(
        self, folder: Path, schema: Any, uuid: str | None = None, suffix: str = ".arrow.part"
    ) -> None:
        self.schema = schema
        self.metadata = {key.decode(): value.decode() for key, value in schema.metadata.items()}
        self.contents = CompleteVideos()
        with disk_errors(folder / "shard"):
            folder.mkdir(parents=True, exist_ok=True)
            self.file, self.uuid = open_part(folder, uuid, suffix)
        schema = schema.with_metadata({**self.metadata, "flowkit.uuid": self.uuid})
        with self._errors():
            self._writer = pa.ipc.new_file(self.file, schema)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with disk_errors(self.file.path, f"{self.file.bytes / 1e6 + 64:,.0f} MB"):
                yield
        except BaseException:
            self.file.close()
            raise

    def write(self, batch: Any, crc32: Mapping[str, int], videos: Sequence[Any]) -> None:
        """Append one ``pyarrow.RecordBatch`` with its checksums and its videos' parts."""
        text = encode_json({"videos": videos, "crc32": crc32})
        with self._errors():
            keys = {BATCH_KEY: text, BATCH_CRC_KEY: str(zlib.crc32(text))}
            self._writer.write_batch(batch, custom_metadata=keys)
        self.contents.add(videos)

    def commit(self) -> CommitRecord:
        """Finish, name and record the shard; the lock is held until the record is there."""
        with self._errors():
            self._writer.close()
            self.file.sync()
            final = self.file.path.with_name(f"{self.uuid}.arrow")
            self.file.path.replace(final)
            sync_folder(final.parent)
            record = make_record(
                self.metadata["flowkit.folder"],
                self.uuid,
                self.contents,
                self.file.bytes,
                self.file.sha256.hexdigest(),
            )
            write_atomic(final.with_suffix(".json"), record_json(record))
        self.file.close()
        return record

    def discard(self) -> None:
        """Remove the file."""
        self.file.path.unlink(missing_ok=True)
        self.file.close()


def open_part(folder: Path, uuid: str | None, suffix: str) -> tuple[HashedFile, str]:
    """A new locked file in ``folder``, and the uuid in its name."""
    while True:
        name = uuid or str(uuid4())
        file = HashedFile(folder / f"{name}{suffix}")
        if not file.unlinked:
            return file, name
        file.close()
