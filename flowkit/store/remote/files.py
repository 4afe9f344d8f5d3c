"""Read ranges of a store's shards from object storage, through pages in memory and on disk.

The shards of one store share a `RemoteFiles`. Its method `load` reads the pages of many ranges at
once: those that neither memory nor disk has are requested side by side, neighbouring pages in one
request. Each answer tells the size and the ETag of the object, so an object that was replaced is
noticed, and pages of two contents are never mixed.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from flowkit.errors import CorruptError, StoreError
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.schema import encode_json
from flowkit.store.remote.client import get_client
from flowkit.store.remote.failures import MissingObjectError
from flowkit.store.remote.objects import ObjectState, Range
from flowkit.store.remote.page_cache import PAGE, get_cache, make_key, split_runs
from flowkit.store.remote.settings import find_folder, read_cache_size

MEMORY_PAGES = 6144
"""Pages that a process keeps in memory for each store, 96 MiB."""
GAP_PAGES = 2
"""Pages between two wanted ones that are requested with them, rather than in two requests."""
REQUEST_PAGES = 128
"""Largest number of pages of a request, 2 MiB."""
END_PAGES = 2
"""Pages at the end of a shard, with its footer, that are requested when it is opened."""


class WantedRange(NamedTuple):
    """A range of bytes of a shard that will be read."""

    file: "RemoteFile"
    """The shard."""
    start: int
    """First byte."""
    stop: int
    """End, exclusive."""


class RemoteFile:
    """One shard on object storage; `read_exactly` reads it like a file descriptor.

    Args:
        files: The files of its store.
        name: Name of the object below the URL of the store.
        state: Its size and tag.
    """

    def __init__(self, files: "RemoteFiles", name: str, state: ObjectState) -> None:
        self.files, self.name, self.state = files, name, state
        self.size = state.size
        self.key = make_key(name, state)

    @property
    def location(self) -> str:
        """Return the URL of the object."""
        return f"{self.files.url}/{self.name}"

    def make_error(self, error: CorruptError) -> CorruptError:
        """Add the URL of this shard to an error, and what to do, unless it says both."""
        if str(error).startswith(self.files.url):
            return error
        return CorruptError(
            f"{self.location}: {error}; run `flowkit verify {self.files.url}`, and copy the store "
            "again"
        )

    def pread(self, length: int, position: int) -> bytes:
        """Read up to ``length`` bytes at ``position``; fewer at the end, as ``os.pread``."""
        stop = min(position + length, self.size)
        if stop <= position:
            return b""
        pages = self.files.load([WantedRange(self, position, stop)])
        first = position // PAGE
        numbers = range(first, (stop - 1) // PAGE + 1)
        data = b"".join([pages[self.name, number] for number in numbers])
        return data[position - first * PAGE : stop - first * PAGE]


class RemoteFiles:
    """The shards of the store at a URL.

    Args:
        url: URL of the store.
        mirror: Folder of its mirror.
    """

    def __init__(self, url: str, mirror: Path) -> None:
        self.url, self.mirror = url, mirror
        self._cache = get_cache(find_folder(), read_cache_size())
        # No lock, which a fork could leave locked: each operation on it is atomic.
        self._memory: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def open(self, sizes: dict[str, int]) -> list[RemoteFile]:
        """Open shards side by side, with the pages of their footers.

        Args:
            sizes: Their sizes in bytes as the index has them, −1 if unknown, by the names of the
                objects, such as ``frames/<uuid>.arrow``.

        Raises:
            CorruptError: A shard is gone, or has another size or tag than before.
        """
        states = {name: self._read_state(name) for name in sizes}
        new = [name for name, state in states.items() if state is None]
        if new:
            states.update(self._find_states(new, sizes))
        files = []
        for name, size in sizes.items():
            state = states[name]
            assert state is not None
            if size >= 0 and state.size != size:
                raise CorruptError(
                    f"{self.url}/{name}: expected {size:,} bytes, as the index says, got "
                    f"{state.size:,}; copy the store again"
                )
            files.append(RemoteFile(self, name, state))
        for file in files:
            if file.name in new:
                self._write_state(file.name, file.state)
        self.load(WantedRange(file, find_end(file.size), file.size) for file in files)
        return files

    def _find_states(self, names: Sequence[str], sizes: dict[str, int]) -> dict[str, ObjectState]:
        """Find the states of objects side by side, by reading their ends where sizes are known."""
        client = get_client(self.url)
        ends = [Range(n, find_end(sizes[n]), sizes[n] - find_end(sizes[n])) for n in names]
        states = {}
        if all(end.length > 0 for end in ends):
            # An object of another size than the index says can make this fail.
            with suppress(StoreError):
                for end, (data, state) in zip(ends, client.read_ranges(ends), strict=True):
                    states[end.name] = state
                    if state.size == sizes[end.name]:
                        file = RemoteFile(self, end.name, state)
                        self._keep_answer(file, end.start // PAGE, data, {})
        for name in names:
            if name not in states:
                try:
                    states[name] = client.find_state(name)
                except MissingObjectError:
                    raise self._make_missing_error(name) from None
        return states

    def load(self, wanted: Iterable[WantedRange]) -> dict[tuple[str, int], bytes]:
        """Read the pages of ranges, and keep them in memory and on disk.

        Args:
            wanted: The ranges.

        Returns:
            The pages, by name of the object and number.
        """
        pages: dict[tuple[str, int], bytes] = {}
        absent: dict[RemoteFile, set[int]] = {}
        for file, start, stop in wanted:
            for number in range(start // PAGE, (stop - 1) // PAGE + 1):
                key = (file.name, number)
                page = self._memory.get(key)
                if page is None:
                    absent.setdefault(file, set()).add(number)
                else:
                    pages[key] = page
                    with suppress(KeyError):  # another thread has just dropped it
                        self._memory.move_to_end(key)
        if not absent:
            return pages
        requests: list[tuple[RemoteFile, range]] = []
        for file, numbers in absent.items():
            found = self._cache.read(file.key, file.size, sorted(numbers))
            self._keep(file, found, pages)
            runs = split_runs(sorted(numbers - found.keys()), GAP_PAGES, REQUEST_PAGES)
            requests += [(file, run) for run in runs]
        if requests:
            self._request(requests, pages)
        return pages

    def _request(
        self, requests: Sequence[tuple[RemoteFile, range]], pages: dict[tuple[str, int], bytes]
    ) -> None:
        """Request runs of pages side by side, check the answers, and keep them."""
        ranges = [
            Range(file.name, run.start * PAGE, min(run.stop * PAGE, file.size) - run.start * PAGE)
            for file, run in requests
        ]
        try:
            answers = get_client(self.url).read_ranges(ranges)
        except MissingObjectError as error:
            name = str(error).removeprefix(f"{self.url}/").partition(":")[0]
            raise self._make_missing_error(name) from None
        for (file, run), (data, state) in zip(requests, answers, strict=True):
            if state != file.state:
                raise CorruptError(
                    f"{self.url}/{file.name}: the object was replaced since it was first read "
                    f"({file.state.size:,} bytes with tag {file.state.tag}, now {state.size:,} "
                    f"with {state.tag}), and shards never change; run `flowkit verify {self.url}`"
                )
            self._keep_answer(file, run.start, data, pages)

    def _keep_answer(
        self, file: RemoteFile, first: int, data: bytes, pages: dict[tuple[str, int], bytes]
    ) -> None:
        """Add the pages of an answer, from number ``first`` on, to ``pages``, memory and disk."""
        count = (len(data) - 1) // PAGE + 1
        found = {first + k: data[PAGE * k : PAGE * (k + 1)] for k in range(count)}
        self._keep(file, found, pages)
        self._cache.write(file.key, found)

    def _keep(
        self, file: RemoteFile, found: dict[int, bytes], pages: dict[tuple[str, int], bytes]
    ) -> None:
        """Add pages to those of a read and to those in memory."""
        for number, page in found.items():
            pages[file.name, number] = self._memory[file.name, number] = page
        while len(self._memory) > MEMORY_PAGES:
            with suppress(KeyError):
                self._memory.popitem(last=False)

    def _make_missing_error(self, name: str) -> CorruptError:
        return CorruptError(
            f"{self.url}/{name}: expected a committed shard, found no object: it was deleted, or "
            "the store was changed since it was opened; open it again, or copy it again with "
            "`flowkit copy`"
        )

    def _read_state(self, name: str) -> ObjectState | None:
        """Read the state that an object had when it was first opened, from the mirror."""
        try:
            values = json.loads((self.mirror / "states" / make_state_name(name)).read_bytes())
            return ObjectState(int(values["size"]), values["tag"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write_state(self, name: str, state: ObjectState) -> None:
        path = self.mirror / "states" / make_state_name(name)
        with suppress(StoreError, OSError):  # without it, the next process asks again
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, encode_json(state._asdict()), is_shared=True)

    def forget_state(self, name: str) -> None:
        """Forget the state of an object, because its present content is known to be right."""
        (self.mirror / "states" / make_state_name(name)).unlink(missing_ok=True)


def find_end(size: int) -> int:
    """Return where the pages at the end of an object begin that hold its footer."""
    return max(0, (size - 1) // PAGE + 1 - END_PAGES) * PAGE


def make_state_name(name: str) -> str:
    """Return the name of the file that holds the state of an object."""
    return f"{name.rpartition('/')[2].removesuffix('.arrow')}.json"


@lru_cache(maxsize=64)
def get_files(url: str, mirror: Path) -> RemoteFiles:
    """Return the shards of a store in this process."""
    return RemoteFiles(url, mirror)
