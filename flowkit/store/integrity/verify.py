"""`flowkit verify`: inspect a store, and repair it if asked."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from flowkit.store.format.header import read_header
from flowkit.store.format.locks import held_parts, hold_store
from flowkit.store.integrity.inspection import Inspection, Problem, Progress, Report
from flowkit.store.integrity.repair import repair_store

__all__ = ["Problem", "Progress", "Report", "verify"]


def verify(
    root: Path | str,
    *,
    deep: bool = False,
    repair: bool = False,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Report:
    """Check a store, and repair it if asked.

    Parameters
    ----------
    deep: also decode every picture and look at every number.
    repair: under the store's lock, move bad shards to ``quarantine/``, carry their whole videos
        over into new shards, and rebuild the index. Nothing is deleted.
    progress: called with (bytes read, bytes in all).
    workers: threads that decode; None is one per core.

    Raises FormatError where there is no store or it is newer, LockedError where ``repair`` finds
    somebody writing.
    """
    root = Path(root)
    header = read_header(root)
    busy = bool(held_parts(root))  # by others: with ``repair`` it is soon held by this
    with hold_store(root) if repair else nullcontext():
        with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
            inspection = Inspection(root, header, pool if deep else None, progress, busy)
            report = inspection.run()
        if repair:
            repair_store(root, header, inspection)
    return report
