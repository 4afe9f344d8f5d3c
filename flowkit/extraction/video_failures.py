"""Convert the exceptions that one video causes to its outcome, so that a run continues."""

from collections.abc import Callable
from pathlib import Path

from flowkit.errors import FlowkitError, VideoError
from flowkit.extraction.flow_solver import Stopped
from flowkit.extraction.internal_errors import check_disk, fail_internally, is_about
from flowkit.extraction.tasks import ExtractionTask, Outcome
from flowkit.path_text import printable_path


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
        return task.make_outcome("failed", "memory", f"{source}: {error or 'not enough memory'}")
    except FlowkitError:
        raise
    except Exception as error:  # noqa: BLE001 (unforeseen errors become failures of the video)
        if is_about(error, task.source):
            return task.make_outcome("failed", "unreadable", f"{source} cannot be read: {error}")
        check_disk(error, root)
        return fail_internally(task.make_outcome("failed"), error)
