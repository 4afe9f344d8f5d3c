"""Convert the exceptions that one video causes to its outcome, so that a run continues."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flowkit.errors import FlowkitError, VideoError
from flowkit.extraction.flow_solver import Stopped
from flowkit.extraction.internal_errors import check_disk, fail_internally, is_about
from flowkit.extraction.source import measure_source
from flowkit.extraction.tasks import ExtractionTask, Outcome
from flowkit.path_text import printable_path
from flowkit.store.failures import Failure


def convert_failures(task: ExtractionTask, root: Path, work: Callable[[], Outcome]) -> Outcome:
    """Compute the outcome of a task, which tells why if the video cannot be worked on.

    Args:
        task: The task.
        root: Folder that the results are written to.
        work: Does the work of the task.

    Returns:
        What ``work`` returns, or a failed or stopped outcome.

    Raises:
        DiskFullError: The disk is full.
        StoreError: The folder cannot be written.
        FlowkitError: The machine, not the video, is the cause.
    """
    source = printable_path(task.source)
    try:
        return work()
    except VideoError as error:
        return task.make_outcome("failed", error.kind, str(error))
    except Stopped:
        return task.make_outcome("stopped", reason="the run was requested to stop")
    except MemoryError as error:
        reason = str(error) or "not enough memory"
        return task.make_outcome("failed", "memory", f"{source}: {reason}")
    except FlowkitError:
        raise
    except Exception as error:  # noqa: BLE001 (unforeseen errors become failures of the video)
        if is_about(error, task.source):
            return task.make_outcome("failed", "unreadable", f"{source} cannot be read: {error}")
        check_disk(error, root)
        return fail_internally(task.make_outcome("failed"), error)


def make_failure(task: ExtractionTask, outcome: Outcome, retry: bool = False) -> Failure:
    """Make the record of the failure of a task, for ``failures.jsonl``.

    Args:
        task: The task.
        outcome: Its outcome, which is ``failed``.
        retry: Whether the next run tries the video again.

    Returns:
        The failure, with the size and time of a file or frame folder, by which a later run sees
        that it was replaced.
    """
    size = mtime_ns = 0
    if task.stored is None:
        with suppress(OSError):
            size, mtime_ns = measure_source(task.source)
    return Failure(
        id=outcome.id,
        source=printable_path(task.source),
        kind=outcome.kind,
        reason=outcome.reason,
        attempts=outcome.attempts,
        time=time.time(),
        size=size,
        mtime_ns=mtime_ns,
        traceback=outcome.traceback,
        retry=retry,
        streams=task.streams,
    )
