"""Verify a store, and repair it if asked to."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from flowkit.store.format.header import read_header
from flowkit.store.format.location import read_mirror_url, refuse_remote
from flowkit.store.format.locks import find_locked_parts, hold_store
from flowkit.store.integrity.inspection import Inspection, Progress
from flowkit.store.integrity.recovery import commit_intact_shards
from flowkit.store.integrity.remote_inspection import RemoteInspection
from flowkit.store.integrity.repair import repair_store
from flowkit.store.integrity.report import Problem, Report
from flowkit.store.remote.mirror import find_store_folder

__all__ = ["Problem", "Progress", "Report", "verify"]


def verify(
    root: Path | str,
    *,
    deep: bool = False,
    repair: bool = False,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Report:
    """Check a store, and repair it if asked to.

    Args:
        root: Folder or URL of the store; one at a URL is downloaded shard by shard.
        deep: Also decode every image and check every number.
        repair: Under the store's lock, move damaged shards to ``quarantine/``, copy their intact
            videos into new shards, and rebuild the index. Nothing is deleted.
        progress: Called with (bytes read, total bytes).
        workers: Threads that decode images; None means one per core.

    Returns:
        What was found and repaired.

    Raises:
        FormatError: There is no store at ``root``, or it has a newer format.
        LockedError: Another process writes to the store, and ``repair`` is set.
    """
    if repair:
        refuse_remote(root)
    root = find_store_folder(root, complete=True)
    header, url = read_header(root), read_mirror_url(root)
    was_busy = bool(find_locked_parts(root))  # by other processes: a repair locks the store below

    def is_busy() -> bool:
        return was_busy or (not repair and bool(find_locked_parts(root)))

    with hold_store(root) if repair else nullcontext():
        # First, since a killed repair may have left a shard without a record that has the videos to
        # copy.
        committed = commit_intact_shards(root) if repair else []
        with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
            decoding_pool = pool if deep else None
            if url is None:
                inspection = Inspection(root, header, decoding_pool, progress, is_busy)
            else:
                inspection = RemoteInspection(url, root, header, decoding_pool, progress)
            report = inspection.run()
        if repair:
            report.repaired += [f"wrote the missing commit record of {name}" for name in committed]
            repair_store(inspection)
    return report
