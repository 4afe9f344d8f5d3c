"""Verify a store, and repair it if asked to."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from flowkit.store.format.header import read_header
from flowkit.store.format.locks import find_locked_parts, hold_store
from flowkit.store.integrity.inspection import Inspection, Progress
from flowkit.store.integrity.repair import repair_store
from flowkit.store.integrity.report import Problem, Report

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
        root: Folder of the store.
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
    root = Path(root)
    header = read_header(root)
    busy = bool(find_locked_parts(root))  # by other processes: a repair locks the store below
    with hold_store(root) if repair else nullcontext():
        with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
            inspection = Inspection(root, header, pool if deep else None, progress, busy)
            report = inspection.run()
        if repair:
            repair_store(inspection)
    return report
