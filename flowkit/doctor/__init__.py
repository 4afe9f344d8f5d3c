"""Check whether extraction and training can run on this machine, for `flowkit doctor`.

A check inspects the machine and returns findings. A trial step does some of the work of an
extraction or a training. A plugin step is a trial step of another package. The topic of each is its
name in the report.

Only modules that are fast to import are imported here, because every command of flowkit imports
``flowkit.doctor.shadowing``.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flowkit.doctor.finding import Finding

if TYPE_CHECKING:
    from flowkit.catalog import Dataset, Presence
    from flowkit.doctor.steps import CheckFunction
    from flowkit.doctor.storage import RequiredSpace

__all__ = ["Finding", "diagnose"]


def diagnose(
    store_path: Path,
    dataset: "Dataset | None" = None,
    *,
    address: str | None = None,
    quick: bool = False,
    progress: Callable[[str], object] = lambda topic: None,
) -> list[Finding]:
    """Check this machine, then extract tiny clips and train a step on them.

    Args:
        store_path: Path where the store is or will be. Only a temporary file is written there.
        dataset: Dataset whose videos are counted, and whose store must fit on the disk.
        address: Address of a Ray cluster to check. Default: the environment variable RAY_ADDRESS.
        quick: Whether to skip the slow steps: starting a Ray worker, and a training step.
        progress: Called with the topic of each check and step before it runs.

    Returns:
        All findings, in the order in which people should read them.

    Example:
        >>> [f.message for f in diagnose(Path("stores/ucf101")) if f.status in ("warn", "fail")]
        ['limit on open files: 1024']
    """
    from flowkit.doctor.steps import run_check

    findings = []
    for topic, check in list_checks(store_path, dataset, address):
        progress(topic)
        findings += run_check(topic, check)
    return findings + run_trial(quick, progress, address)


def list_checks(
    store_path: Path, dataset: "Dataset | None", address: str | None = None
) -> "list[tuple[str, CheckFunction]]":
    """List the checks, which inspect the machine but extract and train nothing.

    Args:
        store_path: Path where the store is or will be.
        dataset: Dataset to check, if there is one.
        address: Address of a Ray cluster to check. Default: the environment variable RAY_ADDRESS.

    Returns:
        The topic and the function of each check.
    """
    from flowkit.doctor import backends, codecs, environment, machine, packages, storage

    checks: list[tuple[str, CheckFunction]] = [
        ("python", packages.check_python),
        ("packages", packages.check_packages),
        ("names", packages.check_names),
        ("codecs", codecs.check_codecs),
        ("flow", backends.check_flow),
        ("gpu", backends.check_gpu),
        ("ray", lambda: backends.check_ray(address)),
        ("cores", machine.check_cores),
        ("memory", machine.check_memory),
        ("open files", machine.check_open_files),
        ("shared memory", machine.check_shared_memory),
        ("temporary", environment.check_temporary_folder),
        ("home", environment.check_home),
        ("encoding", environment.check_encoding),
    ]
    if dataset is None:
        return [*checks, ("disk", lambda: storage.check_storage(store_path))]
    return [
        *checks,
        ("disk", lambda: storage.check_storage(store_path, estimate_space(dataset))),
        ("dataset", lambda: check_presence(dataset, dataset.detect_presence())),
    ]


def run_trial(
    quick: bool, progress: Callable[[str], object], address: str | None = None
) -> list[Finding]:
    """Extract, verify and read clips, start a Ray worker, and train a step on the extracted store.

    All files go into a temporary folder, which is always removed.

    Args:
        quick: Whether to skip the Ray worker and the training step.
        progress: Called with the topic of each step before it runs.
        address: Address of the Ray cluster in which the worker is started. Default: the environment
            variable RAY_ADDRESS; without it, this machine.

    Returns:
        One finding for each step.
    """
    from flowkit.doctor import pipeline, plugin_steps, ray_worker
    from flowkit.doctor.steps import TrialStep, run_check, run_steps

    def run_all_steps() -> list[Finding]:
        with tempfile.TemporaryDirectory(prefix="flowkit-doctor-") as name:
            folder = Path(name)
            trial = pipeline.TrialExtraction(folder)
            steps = trial.list_steps()
            if not quick:
                advice = "--workers 0 works without Ray"
                try_worker = partial(ray_worker.try_ray_worker, address=address)
                steps.append(TrialStep("ray worker", try_worker, (), advice))
                steps += plugin_steps.list_plugin_steps(
                    trial.store_path, folder, (pipeline.LAST_TOPIC,)
                )
            return list(run_steps(steps, progress))

    return run_check("open", run_all_steps)


def estimate_space(dataset: "Dataset") -> "RequiredSpace":
    """Estimate the space that the store of a dataset will need.

    Args:
        dataset: Dataset to extract. If none of its videos is found yet, all of them are expected.

    Returns:
        The estimate.
    """
    from flowkit.doctor.storage import RequiredSpace

    videos = dataset.detect_presence().found or dataset.expected_videos
    return RequiredSpace(dataset.full_name, videos, dataset.bytes_per_video)


def check_presence(dataset: "Dataset", presence: "Presence") -> list[Finding]:
    """Check that the videos and annotations of a dataset are where the catalogue expects them.

    Args:
        dataset: Entry of the catalogue.
        presence: What was found of it.

    Returns:
        One finding.
    """
    advice = (
        dataset.obtain or f"put it into the folder that the catalogue names ({dataset.catalog})"
    )
    if presence.problem:
        message = f"{dataset.full_name}: {presence.problem}"
        return [Finding("dataset", "fail", message, advice)]
    message = (
        f"{dataset.full_name}: {presence.found} of {presence.annotated} videos in {presence.videos}"
    )
    if presence.found == 0:
        return [Finding("dataset", "fail", message, advice)]
    if presence.missing:
        advice = f"{presence.missing} are missing; extraction works without them"
        return [Finding("dataset", "warn", message, advice)]
    return [Finding("dataset", "ok", message)]
