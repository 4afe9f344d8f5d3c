"""Keep pages of remote objects on disk, bounded in size and shared by processes.

    <cache>/pages/<uuid>-<digest of size and ETag>/<region>
    a region file: CRC-32 of its pages (uint32, 0 where a page is absent), then the pages (sparse)

A page counts only if it has the CRC-32 that the table says, so a page that was half written, or
lost in a power cut, is read again from the store. Regions are evicted whole, least recently used
first, and so are the shards that a mirror has; a process that still has one open reads on. If the
cache cannot be written, one warning is logged and pages are no longer kept.
"""

import fcntl
import hashlib
import logging
import os
import struct
import time
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from flowkit.store.remote.objects import ObjectState

PAGE = 16 << 10
"""Bytes of a page."""
REGION_PAGES = 256
"""Pages of one region file, 4 MiB."""
TABLE_BYTES = 4096
"""Bytes before the first page of a region file: the table, which needs 1 KiB, to a disk block."""
TABLE = struct.Struct(f"<{REGION_PAGES}I")
TOUCH_SECONDS = 60.0
"""A region that is read is marked as used at most this often."""
EVICTED_TO = 0.9
"""Part of the limit that an eviction leaves."""

logger = logging.getLogger(__name__)


class PageCache:
    """The pages of all remote stores in one folder.

    Args:
        folder: The cache folder, created if missing.
        limit: Largest size in bytes; 0 keeps nothing.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self.enabled = limit > 0
        self._written = 0  # bytes by this process since its last eviction
        self._touched: dict[Path, float] = {}

    def read(self, key: str, size: int, pages: Iterable[int]) -> dict[int, bytes]:
        """Read the pages that are there and intact.

        Args:
            key: Which content of which object, from :func:`make_key`.
            size: Size of the object in bytes.
            pages: Numbers of the pages, ascending.

        Returns:
            The pages found, by number.
        """
        found: dict[int, bytes] = {}
        if not self.enabled:
            return found
        for region, numbers in group_by_region(pages).items():
            path = self._locate(key, region)
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                table = TABLE.unpack(os.pread(descriptor, TABLE.size, 0))
                for run in split_runs(n for n in numbers if table[n % REGION_PAGES]):
                    data = memoryview(os.pread(descriptor, PAGE * len(run), locate_page(run[0])))
                    for number in run:
                        start = PAGE * (number - run[0])
                        page = data[start : start + min(PAGE, size - PAGE * number)]
                        if zlib.crc32(page) == table[number % REGION_PAGES]:
                            found[number] = bytes(page)
            except (OSError, struct.error):
                continue
            finally:
                os.close(descriptor)
            self._touch(path)
        return found

    def write(self, key: str, pages: Mapping[int, bytes]) -> None:
        """Keep pages, unless the disk is full; the last page of an object may be shorter."""
        if not self.enabled:
            return
        try:
            for region, numbers in group_by_region(pages).items():
                path = self._locate(key, region)
                descriptor = open_region(path)
                try:
                    for number in numbers:
                        write_all(descriptor, pages[number], locate_page(number))
                        crc = zlib.crc32(pages[number]).to_bytes(4, "little")
                        write_all(descriptor, crc, 4 * (number % REGION_PAGES))
                finally:
                    os.close(descriptor)
                self._written += PAGE * len(numbers)
        except OSError as error:
            self.disable(error)
            return
        if self._written > max(PAGE, min(64 << 20, self.limit // 50)):
            self._written = 0
            self.evict()

    def disable(self, error: OSError) -> None:
        """Keep no more pages in this process, and say so once."""
        if self.enabled:
            self.enabled = False
            logger.warning(
                "%s: cannot write the cache of remote stores (%s); reading on without it. Free "
                "some space, or set FLOWKIT_CACHE to another folder",
                self.folder,
                error.strerror or error,
            )

    def evict(self) -> None:
        """Delete the least recently used files if all of them exceed the limit."""
        with suppress(OSError):
            descriptor = os.open(
                self.folder / "evicting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                evict_files(self.folder, self.limit)
            except BlockingIOError:
                pass  # another process does it
            finally:
                os.close(descriptor)

    def _locate(self, key: str, region: int) -> Path:
        return self.folder / "pages" / key / str(region)

    def _touch(self, path: Path) -> None:
        """Mark a region as used now."""
        now = time.monotonic()
        if now - self._touched.get(path, -TOUCH_SECONDS) >= TOUCH_SECONDS:
            self._touched[path] = now
            with suppress(OSError):
                os.utime(path)


def make_key(name: str, state: ObjectState) -> str:
    """Return the name of the folder for the pages of one content of an object."""
    digest = hashlib.blake2b(f"{state.size} {state.tag}".encode(), digest_size=8).hexdigest()
    return f"{name.rpartition('/')[2].removesuffix('.arrow')}-{digest}"


def group_by_region(pages: Iterable[int]) -> dict[int, list[int]]:
    """Group numbers of pages by region."""
    regions: dict[int, list[int]] = {}
    for number in pages:
        regions.setdefault(number // REGION_PAGES, []).append(number)
    return regions


def split_runs(numbers: Iterable[int], gap: int = 0, longest: int = 1 << 30) -> list[range]:
    """Split ascending numbers into ranges of consecutive ones.

    Args:
        numbers: The numbers, ascending.
        gap: Missing numbers that a range may bridge.
        longest: Largest length of a range.
    """
    runs: list[range] = []
    for number in numbers:
        if runs and number <= runs[-1].stop + gap and number - runs[-1].start < longest:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs


def locate_page(number: int) -> int:
    """Return the position of a page in its region file."""
    return TABLE_BYTES + PAGE * (number % REGION_PAGES)


def open_region(path: Path) -> int:
    """Open a region file for writing, created with an empty table if missing."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o666)
    try:
        if os.fstat(descriptor).st_size < TABLE_BYTES:
            os.ftruncate(descriptor, TABLE_BYTES + PAGE * REGION_PAGES)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def write_all(descriptor: int, data: bytes, position: int) -> None:
    """Write all of ``data``; OSError if there is no room."""
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], position + written)


def evict_files(folder: Path, limit: int) -> None:
    """Delete the least recently used pages and whole shards until they take 90 % of the limit."""
    files: list[tuple[float, int, Path]] = []
    for path in [*folder.glob("pages/*/*"), *folder.glob("mirrors/*/**/*.arrow")]:
        if path.name in ("index.arrow", "annotations.arrow"):
            continue
        with suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime, 512 * status.st_blocks, path))
    total = sum(size for _, size, _ in files)
    if total <= limit:
        return
    for _, size, path in sorted(files):
        with suppress(OSError):
            path.unlink()
            total -= size
        with suppress(OSError):
            path.parent.rmdir()  # if it is empty now
        if total <= EVICTED_TO * limit:
            return


@cache
def get_cache(folder: Path, limit: int) -> PageCache:
    """Return the cache of a folder in this process."""
    return PageCache(folder, limit)
