"""``flowkit doctor``: what will go wrong on this machine, before it does.

Imports stay light here: the CLI uses ``flowkit.doctor.shadowing`` at every start.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flowkit.doctor.finding import Finding

if TYPE_CHECKING:
    from flowkit.catalog import Dataset, Presence

__all__ = ["Finding", "diagnose"]


def diagnose(store: Path, dataset: "Dataset | None" = None) -> list[Finding]:
    """All findings, in the order that people should read them.

    ``store`` is where the store is or will be; with ``dataset``, its room is compared with
    what that dataset will need, and its videos are counted.
    """
    from flowkit.doctor import backends, machine, packages
    from flowkit.doctor.storage import Need, check_storage

    checks: list[Callable[[], list[Finding]]] = [
        packages.check_python,
        packages.check_packages,
        packages.check_names,
        backends.check_codecs,
        backends.check_flow,
        backends.check_gpu,
        backends.check_ray,
        machine.check_cores,
        machine.check_memory,
        machine.check_open_files,
        machine.check_shared_memory,
    ]
    findings = [finding for check in checks for finding in check()]
    if dataset is None:
        return findings + check_storage(store)
    presence = dataset.presence()
    # As long as the videos are not here, the store is planned for all of them.
    videos = presence.found or dataset.expected_videos
    need = Need(dataset.full_name, videos, dataset.bytes_per_video)
    return findings + check_storage(store, need) + check_presence(dataset, presence)


def check_presence(dataset: "Dataset", presence: "Presence") -> list[Finding]:
    """Whether the dataset's videos and annotations are where the catalogue says."""
    advice = dataset.obtain or f"put it where the catalogue says ({dataset.catalog})"
    if presence.problem:
        message = f"{dataset.full_name}: {presence.problem}"
        return [Finding("dataset", "fail", message, advice)]
    message = (
        f"{dataset.full_name}: {presence.found} of {presence.annotated} videos in {presence.videos}"
    )
    if presence.found == 0:
        return [Finding("dataset", "fail", message, advice)]
    if presence.missing:
        advice = f"{presence.missing} are missing; extraction goes on without them"
        return [Finding("dataset", "warn", message, advice)]
    return [Finding("dataset", "ok", message)]
