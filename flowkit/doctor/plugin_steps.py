"""List the trial steps that other packages, such as `train`, add to `flowkit doctor`.

A package adds a step with an entry point of the group ``flowkit.checks``, which names a function
``check(store_path, folder) -> str``. The function uses the store, for example to train on it
briefly. It returns a description such as "1 step on cuda", and raises an exception if something is
wrong.

The store holds four videos with the streams ``rgb``, ``flow`` and ``audio``. Each of the classes
``left`` and ``right`` has one video in the subset ``train`` and one in ``test``. The folder is
empty, and is removed afterwards.
"""

from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from flowkit.doctor.steps import TrialStep

GROUP = "flowkit.checks"
"""Name of the entry-point group."""


def list_plugin_steps(
    store_path: Path, folder: Path, required_topics: tuple[str, ...]
) -> list[TrialStep]:
    """Make a trial step for each installed entry point of the group.

    Args:
        store_path: Path of the store, which the steps in ``required_topics`` create.
        folder: Folder in which each step gets a folder of its own.
        required_topics: Topics of the steps that must succeed before.

    Returns:
        The steps, sorted by their topics, which are the names of the entry points.
    """
    # Two packages may use the same name; only one of their steps is listed then.
    entries = {entry.name: entry for entry in entry_points(group=GROUP)}
    return [
        TrialStep(
            name, partial(run_plugin, entries[name], store_path, folder / name), required_topics
        )
        for name in sorted(entries)
    ]


def run_plugin(entry: EntryPoint, store_path: Path, folder: Path) -> str:
    """Import the function of an entry point, and run it.

    Args:
        entry: The entry point.
        store_path: Path of the store that the function uses.
        folder: Folder for the function, which is created.

    Returns:
        The description that the function returns.
    """
    folder.mkdir(parents=True)
    return str(entry.load()(store_path, folder))
