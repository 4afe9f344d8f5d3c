"""Open the runs that `flowkit view` shows, and read their scores when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flowkit.errors import FlowkitError, UsageError
from flowkit.path_text import printable_path
from flowkit.store import Store
from flowkit.web.keys import make_name_key
from train.evaluation.scores import Scores, load_scores
from train.report.figures.drawing import Source
from train.report.figures.score_names import list_score_names
from train.runs.run import Run, RunError


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run that is shown."""

    key: str
    """Its key in URLs."""
    name: str
    """Its name on the page: that of its folder, with a number if another run has the same."""
    run: Run
    """The run folder."""
    note: str | None
    """What to know about the run and the store, in one line."""

    @property
    def source(self) -> Source:
        """Return the inputs of the functions of the report."""
        return Source(run=self.run)

    def list_scores(self) -> list[str]:
        """List the names of the run's scores; empty if it has none, or its results are damaged.

        The means over splits (``mean/…``) are left out, since they have no file.
        """
        try:
            return list_score_names(self.source.results())
        except RunError:
            return []

    def choose_score(self, name: str) -> str:
        """Return the name of a score, or for an empty one, of the score that represents the run.

        Raises:
            RunError: The run was not evaluated.
            UsageError: It has no such score.
        """
        if not name:
            return self.source.best_score()
        if name not in self.list_scores():
            raise UsageError(f"the run {self.name} has no score {name!r}")
        return name

    def load_scores(self, name: str) -> Scores:
        """Load the scores of this name, which `choose_score` has checked."""
        path = self.run.path / "scores" / f"{name}.npz"
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            changed = 0  # loading raises the error
        return load_cached_scores(path, changed)


@lru_cache(maxsize=8)
def load_cached_scores(path: Path, changed: int) -> Scores:
    """Load a file of scores, and keep it until the file changes."""
    return load_scores(path)


def open_runs(paths: Sequence[Path], store: Store) -> dict[str, OpenRun]:
    """Open runs, and check that the store fits them.

    Args:
        paths: Folders of runs.
        store: The store that is shown.

    Returns:
        The runs by key, in the order of the paths.

    The store may be another one than a run was trained on, if both have the same classes and
    features (`Run.check_store`), as for `flowkit evaluate`; then its `note` says so.

    Raises:
        UsageError: A path is no run, or the store does not fit the run.
    """
    runs: dict[str, OpenRun] = {}
    names: set[str] = set()
    for path in dict.fromkeys(path.resolve() for path in paths):
        try:
            run = Run(path)
            run.check_store(store)
        except FlowkitError as error:
            reason = " ".join(str(error).split())  # one line, whatever the names of classes are
            raise UsageError(
                f"--run {printable_path(path)}: {reason}, or leave out this run"
            ) from error
        name = choose_name(printable_path(path.name), names)
        names.add(name)
        key = make_name_key(name)
        runs[key] = OpenRun(key=key, name=name, run=run, note=describe_difference(run, store))
    return runs


def choose_name(name: str, taken: set[str]) -> str:
    """Return a name, with a number if it is taken."""
    candidates = (name if n == 1 else f"{name} ({n})" for n in range(1, len(taken) + 2))
    return next(candidate for candidate in candidates if candidate not in taken)


def describe_difference(run: Run, store: Store) -> str | None:
    """Say that a run was trained on another store with the same classes, if it was."""
    trained_on = run.facts["store"]
    if trained_on["created"] == store.header.created:
        return None
    return (
        f"trained on another store with the same classes ({trained_on['path']}): videos that this "
        "store does not have are listed without links"
    )
