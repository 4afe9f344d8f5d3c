"""The files of a store that is copied, in a folder or at a URL, behind one interface."""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flowkit.errors import CorruptError, StoreError, UsageError
from flowkit.store.format.atomic import convert_disk_errors, sync_folder, write_atomic
from flowkit.store.format.header import check_new_folder
from flowkit.store.format.layout import CHUNK
from flowkit.store.format.location import COPYING_FILE, WRITING_FILE, find_url, read_mirror_url
from flowkit.store.format.locks import hold_store
from flowkit.store.format.schema import FOLDERS
from flowkit.store.remote.client import get_client
from flowkit.store.remote.mirror import OPTIONAL_FILES, download, read_shard_sizes
from flowkit.store.remote.objects import read_if_present
from flowkit.store.remote.settings import find_folder
from flowkit.store.remote.writer_lock import refuse_writing

SHARD_FILE = re.compile(rf"({'|'.join(FOLDERS)}|features/[^/]+)/[^/]+\.(arrow|json)")
"""Names of shards and commit records."""
STORE_FILES = ("store.json", "index.arrow", *OPTIONAL_FILES)
"""Names of the other files of a store."""
PART = ".copy"
"""Suffix of a file that is not copied completely."""

BytesDone = Callable[[int], None]


class FolderFiles:
    """The files of a store in a folder. Names are paths relative to it, with ``/``.

    Args:
        root: The folder.

    Attributes:
        location: Folder or URL, as people write it.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.location = root, os.fspath(root)

    def list(self) -> dict[str, int]:
        """List the files of the store by name, with their sizes in bytes."""
        paths = [self.root / name for name in STORE_FILES]
        paths += [path for folder in FOLDERS for path in self.root.glob(f"{folder}/*")]
        paths += self.root.glob("features/*/*")
        sizes = {}
        for path in paths:
            name = path.relative_to(self.root).as_posix()
            if path.is_file() and (name in STORE_FILES or SHARD_FILE.fullmatch(name)):
                sizes[name] = path.stat().st_size
        return sizes

    def read(self, name: str) -> bytes | None:
        """Read a small file; None if there is none."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise make_read_error(self.root / name, error) from error

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a small file."""
        path = self.root / name
        with convert_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)

    def delete(self, name: str) -> None:
        """Delete a file, if there is one."""
        with convert_disk_errors(self.root / name):
            (self.root / name).unlink(missing_ok=True)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock of the store; files that a killed copy left are removed."""
        with hold_store(self.root):
            for path in [*self.root.glob(f"*/*{PART}"), *self.root.glob(f"features/*/*{PART}")]:
                path.unlink(missing_ok=True)
            yield

    def check_new(self) -> None:
        """Raise a FormatError (a StoreError) if this is a file, or holds something else.

        Call it only where there is no store.json. What an interrupted copy left is no error.
        """
        if self.read(COPYING_FILE) is None:
            check_new_folder(self.root)

    def save_as(self, name: str, path: Path, progress: BytesDone) -> str:
        """Write the content of a large file to ``path``; return its SHA-256 in hexadecimal."""
        digest = hashlib.sha256()
        with convert_disk_errors(path), path.open("wb") as target:
            for chunk in read_chunks(self.root / name):
                digest.update(chunk)
                target.write(chunk)
                progress(len(chunk))
            target.flush()
            os.fsync(target.fileno())
        return digest.hexdigest()

    def take(self, source: "StoreFiles", name: str, sha256: str, progress: BytesDone) -> None:
        """Copy a shard from another store: under another name until it is complete and checked.

        Args:
            source: The other store.
            name: Name of the shard file.
            sha256: What its commit record says.
            progress: Called with numbers of bytes as they arrive.

        Raises:
            CorruptError: The bytes of the shard are others.
        """
        path = self.root / name
        part = path.with_name(path.name + PART)
        with convert_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            check_digest(source, name, source.save_as(name, part, progress), sha256)
            with convert_disk_errors(path):
                part.replace(path)
                sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)


class UrlFiles:
    """The files of a store on object storage, with the methods of `FolderFiles`.

    Args:
        url: Its URL.
    """

    def __init__(self, url: str) -> None:
        self.location = url
        self.client = get_client(url)

    def list(self) -> dict[str, int]:
        """List the files of the store; without a listing of objects, those that the index names."""
        listed = self.client.list_objects()
        if listed is not None:
            return {
                name: state.size
                for name, state in listed.items()
                if name in STORE_FILES or SHARD_FILE.fullmatch(name)
            }
        index = self.read("index.arrow")
        shards = {} if index is None else read_shard_sizes(index)
        sizes = {f"{name}.arrow": size for name, size in shards.items()}
        names = [*STORE_FILES, *(f"{name}.json" for name in shards)]
        contents = {name: self.read(name) for name in names}
        return sizes | {name: len(data) for name, data in contents.items() if data is not None}

    def read(self, name: str) -> bytes | None:
        """Read a small object; None if there is none."""
        return read_if_present(self.client, name)

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a small object."""
        self.client.write_object(name, content)

    def delete(self, name: str) -> None:
        """Delete an object, if there is one."""
        self.client.delete(name)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Raise an error if nothing can be written here, or an extraction writes here now."""
        if self.location.startswith(("http://", "https://", "hf://")):
            raise UsageError(
                f"{self.location}: flowkit only reads here; copy to s3://, gs:// or az://, or to a "
                "folder"
            )
        refuse_writing(self.location, self.client)
        yield

    def check_new(self) -> None:
        """Raise a StoreError if objects of something else are here."""
        objects = (self.client.list_objects() or {}).keys() - {WRITING_FILE}
        if objects and self.read(COPYING_FILE) is None:
            raise StoreError(
                f"{self.location}: expected a store or nothing, found {min(objects)!r}; name "
                "another URL"
            )

    def save_as(self, name: str, path: Path, progress: BytesDone) -> str:
        """Write the content of a large object to ``path``; return its SHA-256 in hexadecimal."""
        with convert_disk_errors(path):
            return download(self.client, name, path, progress)

    def take(self, source: "StoreFiles", name: str, sha256: str, progress: BytesDone) -> None:
        """Copy a shard from another store; it is checked before it is uploaded."""
        if isinstance(source, FolderFiles):
            path = source.root / name
            check_digest(source, name, hash_file(path), sha256)
            self._upload(path, name)
            progress(path.stat().st_size)
            return
        folder = find_folder()
        with convert_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            scratch = tempfile.TemporaryDirectory(prefix="copy-", dir=folder)
        with scratch as scratch_folder:
            path = Path(scratch_folder) / "shard"
            check_digest(source, name, source.save_as(name, path, progress), sha256)
            self._upload(path, name)

    def _upload(self, path: Path, name: str) -> None:
        self.client.upload(path, name)
        size, expected = self.client.find_state(name).size, path.stat().st_size
        if size != expected:
            raise CorruptError(
                f"{self.location}/{name}: sent {expected:,} bytes, but the object has {size:,}; "
                "run the same command again"
            )


StoreFiles = FolderFiles | UrlFiles
"""The files of a store, wherever they are."""


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of a shard in chunks.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise make_read_error(path, error) from error


def make_read_error(path: Path, error: OSError) -> StoreError:
    """Make the error for a file that cannot be read."""
    return StoreError(f"cannot read {path}: {error.strerror}; check its permissions and the disk")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; StoreError if it cannot be read."""
    digest = hashlib.sha256()
    for chunk in read_chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def check_digest(source: StoreFiles, name: str, actual: str, expected: str) -> None:
    """Raise a CorruptError if a shard is not what its commit record says."""
    if actual != expected:
        raise CorruptError(
            f"{source.location}/{name}: its bytes are not those that its commit record describes, "
            f"so it is not copied; run `flowkit verify {source.location}`"
        )


def open_files(path: str | os.PathLike[str]) -> StoreFiles:
    """Open the files of a store in a folder or at a URL.

    For a mirror, these are the files at its URL, so that writing them changes the store there.
    """
    url = find_url(path) or read_mirror_url(Path(path))
    return FolderFiles(Path(path)) if url is None else UrlFiles(url)
