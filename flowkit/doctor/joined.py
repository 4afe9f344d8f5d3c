"""Steps that other packages bring, as ``train`` does: the entry-point group ``flowkit.checks``.

An entry point names a function ``check(store, folder) -> str``. It does some real work, returns
what it did ("1 step on cuda"), and raises whatever is wrong. The store holds four videos with RGB,
flow and sound: two classes, ``left`` and ``right``, and of each one video in the subsets ``train``
and ``test``. The folder is empty, and removed afterwards.
"""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from flowkit.doctor.steps import Step

GROUP = "flowkit.checks"


def list_joined_steps(store: Path, folder: Path, needs: tuple[str, ...]) -> list[Step]:
    """A step for each check that is installed; its name is the topic.

    Args:
        store: the store that the checks work on, once the steps of ``needs`` are done.
        folder: where each check gets a folder of its own.
        needs: topics of the steps that make the store.
    """
    # One that is registered twice, as by an old installation beside a new one, counts once.
    entries = {entry.name: entry for entry in entry_points(group=GROUP)}
    return [make_step(entries[name], store, folder / name, needs) for name in sorted(entries)]


def make_step(entry: EntryPoint, store: Path, folder: Path, needs: tuple[str, ...]) -> Step:
    """The step of one check, which is imported only when it runs."""

    def run() -> str:
        folder.mkdir(parents=True)
        return str(entry.load()(store, folder))

    return Step(entry.name, run, needs)
