"""Define what reads and writes the objects of a store: the interface of all clients."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from flowkit.store.remote.failures import MissingObjectError

PART_BYTES = 8 << 20
"""Bytes of a large object that are requested, or sent, at a time."""


class ObjectState(NamedTuple):
    """What tells one content of an object from another."""

    size: int
    """Size in bytes."""
    tag: str | None
    """ETag, or the time of the last change if the server has none."""


class Range(NamedTuple):
    """A range of bytes of an object."""

    name: str
    """Name of the object below the URL of the store."""
    start: int
    """First byte."""
    length: int
    """Number of bytes."""


class ObjectClient(Protocol):
    """Reads and writes the objects below one URL. Names are paths relative to it.

    Every method raises a StoreError that says what to do, and MissingObjectError if there is no
    such object.
    """

    def read_ranges(self, ranges: Sequence[Range]) -> list[tuple[bytes, ObjectState]]:
        """Read ranges of bytes side by side."""

    def read_object(self, name: str) -> tuple[bytes, ObjectState]:
        """Read a whole object, which must be small."""

    def find_state(self, name: str) -> ObjectState:
        """Return the state of an object."""

    def list_objects(self) -> dict[str, ObjectState] | None:
        """List all objects by name; None where that is impossible, as over plain HTTP."""

    def write_object(self, name: str, content: bytes) -> None:
        """Write a small object."""

    def create_object(self, name: str, content: bytes) -> bool:
        """Write a small object unless there is one; return whether it was written.

        If a request was repeated, False can also mean that this call wrote the object.
        """

    def upload(self, path: Path, name: str) -> None:
        """Write the content of a file as an object."""

    def delete(self, name: str) -> None:
        """Delete an object."""


def read_if_present(client: ObjectClient, name: str) -> bytes | None:
    """Read a small object; None if there is no such object."""
    try:
        return client.read_object(name)[0]
    except MissingObjectError:
        return None
