"""Let one run at a time write to a store at a URL, by an object that names the run.

Object storage has no locks that end with their process. ``writing.json`` is created with a
conditional request, which fails if it is there already, and deleted when the run ends. A run that
was killed leaves it behind: the next run with the same working store takes it over; other runs are
refused until it is removed on request.
"""

import json
import os
import socket
import time
from contextlib import suppress
from typing import Any

from flowkit.errors import LockedError, StoreError
from flowkit.store.format.location import WRITING_FILE
from flowkit.store.format.schema import encode_json
from flowkit.store.remote.objects import ObjectClient, read_if_present


class WriterLock:
    """The right to write to the store at a URL.

    Args:
        url: URL of the store.
        client: Its client.
        owner: The id of the working store of the run. Runs with the same one cannot be alive at the
            same time, because each locks its working store.
    """

    def __init__(self, url: str, client: ObjectClient, owner: str) -> None:
        self._url, self._client, self._owner = url, client, owner
        self._content = b""

    def acquire(self, *, break_lock: bool = False) -> None:
        """Create the object.

        Args:
            break_lock: Replace the object of another run, which must have ended.

        Raises:
            LockedError: Another run writes to the store.
            StoreError: The store cannot be written.
        """
        holder = read_if_present(self._client, WRITING_FILE)
        if holder is not None:
            if not break_lock and read_values(holder).get("owner") != self._owner:
                raise LockedError(describe_writer(self._url, holder))
            self._client.delete(WRITING_FILE)
        values = {
            "owner": self._owner,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        self._content = encode_json(values)
        self._client.create_object(WRITING_FILE, self._content)
        # Read it in any case: servers exist that ignore the condition of a request.
        holder = read_if_present(self._client, WRITING_FILE)
        if holder != self._content:
            raise LockedError(describe_writer(self._url, holder or b"{}"))

    def check(self) -> None:
        """Raise a LockedError if another run has removed or replaced the object."""
        holder = read_if_present(self._client, WRITING_FILE)
        if holder != self._content:
            by = "removed" if holder is None else f"replaced by {describe_holder(holder)}"
            raise LockedError(
                f"{self._url}: {WRITING_FILE}, which let this run write there, was {by}; let only "
                "one run at a time write to this URL"
            )

    def release(self) -> None:
        """Delete the object, unless it is of another run."""
        with suppress(StoreError):  # the next run with this working store takes it over
            if read_if_present(self._client, WRITING_FILE) == self._content:
                self._client.delete(WRITING_FILE)


def refuse_writing(url: str, client: ObjectClient) -> None:
    """Raise a LockedError if an extraction writes to the store at a URL."""
    holder = read_if_present(client, WRITING_FILE)
    if holder is not None:
        raise LockedError(describe_writer(url, holder))


def describe_writer(url: str, holder: bytes) -> str:
    """Describe which run writes to a store, and what to do."""
    return (
        f"{url}: expected it to be free, but {describe_holder(holder)} is writing to it; wait for "
        "it, or, if it has ended, extract with --break-lock (in Python: break_lock=True)"
    )


def describe_holder(holder: bytes) -> str:
    """Describe a run by the content of its object."""
    values = read_values(holder)
    if not values.keys() >= {"process", "host", "since"}:
        return "another run"
    return f"process {values['process']} on {values['host']} (since {values['since']})"


def read_values(holder: bytes) -> dict[str, Any]:
    """Read the content of the object; empty if it is damaged."""
    try:
        values = json.loads(holder)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
