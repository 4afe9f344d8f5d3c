"""List the steps that other packages add to `flowkit doctor`, such as the training of `train`.

A package adds a step with an entry point of the group ``flowkit.checks``, which names a function
``check(store, folder) -> str``. The function does some real work, returns what it did ("1 step on
cuda"), and raises an exception if something is wrong. The store holds four videos with RGB, flow
and audio: of each of the classes ``left`` and ``right``, one video in the subset ``train`` and one
in ``test``. The folder is empty, and is removed afterwards.
"""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from flowkit.doctor.steps import TrialStep

GROUP = "flowkit.checks"
"""Name of the entry-point group."""


def list_plugin_steps(store: Path, folder: Path, needs: tuple[str, ...]) -> list[TrialStep]:
    """List a step for each installed entry point.

    Args:
        store: Store that the checks use, once the steps in ``needs`` are done.
        folder: Folder in which each check gets a folder of its own.
        needs: Topics of the steps that create the store.

    Returns:
        The steps, whose topics are the names of the entry points.
    """
    # An old installation beside a new one may register the same entry point twice.
    entries = {entry.name: entry for entry in entry_points(group=GROUP)}
    return [make_step(entries[name], store, folder / name, needs) for name in sorted(entries)]


def make_step(entry: EntryPoint, store: Path, folder: Path, needs: tuple[str, ...]) -> TrialStep:
    """Make the step of one entry point, which is imported only when the step runs.

    Args:
        entry: The entry point.
        store: Store that the check uses.
        folder: Folder for the check; it is created when the step runs.
        needs: Topics of the steps that create the store.

    Returns:
        The step.
    """

    def run() -> str:
        folder.mkdir(parents=True)
        return str(entry.load()(store, folder))

    return TrialStep(entry.name, run, needs)
