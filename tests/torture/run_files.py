"""Trials: a file of a finished run is damaged; everything that reads runs ends in one line."""

import random
import shutil
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tests.torture.mutations import mutate_file
from tests.torture.tiny_store import refuse_others
from tests.torture.trial import Outcome, Unavailable

GOLDEN = Path(__file__).parents[1] / "golden" / "run"


def prepare(shared: Any) -> Path:
    """Copy the run of an earlier version that the tests have."""
    if not GOLDEN.is_dir():
        raise Unavailable("tests/golden is not part of the sdist")
    root = shared.folder / "run"
    for name in ("loop.checkpoint", "evaluation.scores", "report.figures.drawing", "runs.journal"):
        import_module(f"train.{name}")  # once, before processes are forked
    shutil.copytree(GOLDEN, root)
    return root


def run_trial(shared: Any, folder: Path, rng: random.Random, outcome: Outcome) -> None:
    """Damage one file of the run, and read all of it."""
    from train.loop.checkpoint import read_tensors

    original, root = shared.get("runs"), folder / "run"
    shutil.copytree(original, root)
    suffixes = (".json", ".yaml", ".pt", ".npz", ".jsonl")
    suffix = rng.choice(suffixes)
    files = sorted(path for path in root.rglob(f"*{suffix}"))
    path = rng.choice(files)
    source = original / path.relative_to(root)
    outcome.what = f"{path.relative_to(root)}: {mutate_file(path, rng, files)}"
    outcome.counts["mutations"] += 1
    with refuse_others("run", outcome.problems):
        look_at_run(root)
    if suffix == ".pt":
        with refuse_others("weights", outcome.problems):
            compare(read_tensors(path), read_tensors(source), outcome)
    if suffix == ".npz":
        from train.evaluation.scores import load_scores

        with refuse_others("scores", outcome.problems):
            compare(asdict(load_scores(path)), asdict(load_scores(source)), outcome)


def compare(values: Any, expected: Any, outcome: Outcome) -> None:
    """Compare what a damaged file gives with what it held; another file's content is no damage."""
    if "content of" in outcome.what:
        return
    wrong = values.keys() ^ expected.keys() or {
        name for name in values if not np.array_equal(values[name], expected[name])
    }
    if wrong:
        outcome.problems.append(f"wrong and not noticed: {sorted(wrong)}")


def look_at_run(root: Path) -> None:
    """Read what the report and the web view show of a run."""
    from train.report.figures.drawing import Source
    from train.runs.journal import read_lines
    from train.runs.run import Run

    run = Run(root)
    assert run.classes
    run.is_finished()
    for path in sorted(root.rglob("*.jsonl")):
        read_lines(path)
    source = Source(run=run)
    source.best_score()
