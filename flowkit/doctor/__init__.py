"""``flowkit doctor``: what will go wrong on this machine, before it does.

Imports stay light here: the CLI uses ``flowkit.doctor.shadowing`` at every start.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flowkit.doctor.finding import Finding

if TYPE_CHECKING:
    from flowkit.catalog import Dataset, Presence
    from flowkit.doctor.steps import Check

__all__ = ["Finding", "diagnose"]


def diagnose(
    store: Path,
    dataset: "Dataset | None" = None,
    *,
    quick: bool = False,
    progress: Callable[[str], object] = lambda topic: None,
) -> list[Finding]:
    """Look at the machine, and try out all that extraction and training do.

    Args:
        store: where the store is or will be. Nothing is written there but a file that is removed.
        dataset: its videos are counted, and what its store will need is compared with the room.
        quick: leave out what takes seconds: a Ray worker and a training step.
        progress: called with the topic of each check before it runs.

    Returns:
        All findings, in the order that people should read them.
    """
    from flowkit.doctor.steps import guard

    findings = []
    for topic, check in list_checks(store, dataset):
        progress(topic)
        findings += guard(topic, check)
    return findings + try_everything(quick, progress)


def list_checks(store: Path, dataset: "Dataset | None") -> "list[tuple[str, Check]]":
    """What is looked at, without trying it out: topics and checks."""
    from flowkit.doctor import backends, codecs, environment, machine, packages, storage

    checks: list[tuple[str, Check]] = [
        ("python", packages.check_python),
        ("packages", packages.check_packages),
        ("names", packages.check_names),
        ("codecs", codecs.check_codecs),
        ("flow", backends.check_flow),
        ("gpu", backends.check_gpu),
        ("ray", backends.check_ray),
        ("cores", machine.check_cores),
        ("memory", machine.check_memory),
        ("open files", machine.check_open_files),
        ("shared memory", machine.check_shared_memory),
        ("temporary", environment.check_temporary_folder),
        ("home", environment.check_home),
        ("encoding", environment.check_encoding),
    ]
    if dataset is None:
        return [*checks, ("disk", lambda: storage.check_storage(store))]
    return [
        *checks,
        ("disk", lambda: check_need(store, dataset)),
        ("dataset", lambda: check_presence(dataset, dataset.detect_presence())),
    ]


def try_everything(quick: bool, progress: Callable[[str], object]) -> list[Finding]:
    """Extract, verify and read a clip, start a Ray worker, and train a step on what was extracted.

    Works in a folder of its own, which is removed whatever happens.
    """
    from flowkit.doctor import joined, pipeline, ray_worker
    from flowkit.doctor.steps import Step, guard, run_steps

    def work() -> list[Finding]:
        with tempfile.TemporaryDirectory(prefix="flowkit-doctor-") as name:
            folder = Path(name)
            trial = pipeline.Trial(folder)
            steps = trial.list_steps()
            if not quick:
                steps.append(Step("ray worker", ray_worker.try_ray_worker, (), ray_worker.ADVICE))
                steps += joined.list_joined_steps(trial.store, folder, (pipeline.LAST,))
            return list(run_steps(steps, progress))

    return guard("open", work)


def check_need(store: Path, dataset: "Dataset") -> list[Finding]:
    """The place of the store, against what the dataset will need there."""
    from flowkit.doctor.storage import Need, check_storage

    # As long as the videos are not here, the store is planned for all of them.
    videos = dataset.detect_presence().found or dataset.expected_videos
    return check_storage(store, Need(dataset.full_name, videos, dataset.bytes_per_video))


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
