"""Evaluate a run and keep the results: as the default evaluation, or beside it under a name.

An evaluation with a name is written into a hidden folder and gets its name when it is complete, so
that an interrupted one leaves what was there before (`results.py` describes the files).
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from flowkit.errors import UsageError
from flowkit.store import Store
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.locks import try_lock
from flowkit.version import __version__
from train.evaluation.evaluate import evaluate
from train.evaluation.results import FOLDER, find_folder, list_evaluations, read_results
from train.evaluation.scoring import Progress
from train.evaluation.testing import (
    change_test_settings,
    check_segments,
    list_test_changes,
)
from train.recipe.recipe import drop_reported
from train.recipe.sections import Testing
from train.runs.run import Run, RunError, Settings, describe_changes, describe_store, encode_json
from train.tasks.registry import find_task

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,99}")
"""Names of evaluations, which are names of folders."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A finished evaluation."""

    name: str | None
    """Its name; None for the default one."""
    run: Run
    """The run, with the test settings of the evaluation in its recipe."""
    scores: dict[str, dict[str, float]]
    """Metrics by the name of the score."""
    costs: dict[str, dict[str, float]]
    """Costs by name, see `Task.count_costs`."""
    changes: dict[str, Any]
    """The test settings that differ from the run's recipe, by dotted key."""


def make_evaluation(
    run: Run,
    store: Store,
    settings: Settings,
    changes: Mapping[str, Any],
    name: str | None = None,
    progress: Callable[[str], Progress] = lambda name: lambda done, total: None,
) -> Evaluation:
    """Evaluate a run, and keep scores and results in its folder.

    Args:
        run: The finished run.
        store: The store with the test videos.
        settings: Device, precision, processes and batch.
        changes: Changed test settings by dotted key, such as ``testing.segments``: YAML text, or
            Python values.
        name: Name of the evaluation. Default: made of the changes, such as ``segments=10``; without
            changes it is the default evaluation.
        progress: See `evaluate`.

    Raises:
        UsageError: A change is not allowed, the store cannot serve it, or the run has an evaluation
            of this name with other test settings.
        RunError: The run is not finished, or another process is writing this evaluation.
    """
    changed = change_test_settings(run, changes)
    if store.header.dataset != run.recipe.dataset:
        changed = changed.with_recipe(drop_reported(changed.recipe))
    different = list_test_changes(run, changed)
    paper = {"paper": changed.recipe.paper, "reported": changed.recipe.reported}
    if name is None and not changes:
        scores = evaluate(changed, store, settings, progress)
        costs = find_task(changed.recipe).count_costs(changed)
        results = {"scores": scores, "costs": costs, **paper}
        write_atomic(run.path / "results.json", encode_json(results))
        return Evaluation(name=None, run=changed, scores=scores, costs=costs, changes={})
    name = derive_name(changes) if name is None else name
    check_name(run, name, changed)
    if "testing.segments" in different:
        check_segments(changed, store)
    with replace_folder(run, name) as folder:
        scores = evaluate(changed, store, settings, progress, folder)
        costs = find_task(changed.recipe).count_costs(changed)
        results = {
            "scores": scores,
            "costs": costs,
            **paper,
            "changes": different,
            "testing": dump_testing(changed),
            "made_with": {
                "flowkit": __version__,
                "store": describe_store(store),
                "settings": {key: asdict(settings)[key] for key in ("device", "precision")},
            },
        }
        write_atomic(folder / "results.json", encode_json(results))
    return Evaluation(name=name, run=changed, scores=scores, costs=costs, changes=different)


def derive_name(changes: Mapping[str, Any]) -> str:
    """Make the name of an evaluation of its changes, such as ``crops=centre+segments=10``."""
    parts = sorted(f"{key.removeprefix('testing.')}={value}" for key, value in changes.items())
    return re.sub(r"[^A-Za-z0-9._=+-]+", "-", "+".join(parts)).strip("-.+")[:100]


def check_name(run: Run, name: str, changed: Run) -> None:
    """Check the name of an evaluation, and that no other one has it.

    Raises:
        UsageError: The name cannot be that of a folder, or the run has an evaluation of this name
            with other test settings.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"--name {name!r}: expected at most 100 letters, digits and . _ = + -, starting with a "
            "letter or digit"
        )
    if name not in list_evaluations(run):
        return
    before, after = read_results(run, name).get("testing", {}), dump_testing(changed)
    if before != after:
        raise UsageError(
            f"{run.path} has an evaluation {name!r} with other test settings "
            f"({describe_changes(before, after)}); use another --name, or remove "
            f"{find_folder(run, name)}"
        )


def dump_testing(run: Run) -> dict[str, Any]:
    """Return the test settings of a run, as JSON has them."""
    testing: dict[str, Any] = TypeAdapter(Testing).dump_python(run.recipe.testing, mode="json")
    return testing


@contextmanager
def replace_folder(run: Run, name: str) -> Iterator[Path]:
    """Provide an empty folder, which replaces that of an evaluation when the context ends.

    If the context ends with an exception, the evaluation stays as it was. If the process is killed
    while one folder replaces the other, the next evaluation of this name restores the older one.

    Args:
        run: The run.
        name: Name of the evaluation.

    Raises:
        RunError: Another process is writing this evaluation.
    """
    parent, final = run.path / FOLDER, find_folder(run, name)
    parent.mkdir(exist_ok=True)
    incomplete, replaced = parent / f".{name}.part", parent / f".{name}.old"
    lock_path = parent / f".{name}.lock"
    with lock_path.open("w") as lock:
        if not try_lock(lock.fileno()):
            raise RunError(
                f"another process is writing the evaluation {name!r} of {run.path}; wait"
            )
        if replaced.exists() and not final.exists():
            replaced.rename(final)
        shutil.rmtree(incomplete, ignore_errors=True)
        incomplete.mkdir()
        try:
            yield incomplete
        except BaseException:
            shutil.rmtree(incomplete, ignore_errors=True)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
        if final.exists():
            final.rename(replaced)
        incomplete.rename(final)
        shutil.rmtree(replaced, ignore_errors=True)
