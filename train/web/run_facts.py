"""Collect the facts of a run's page: tables, confusions, gains and curves, as JSON values."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from flowkit.errors import FlowkitError, UsageError
from train.evaluation.scores import choose_metric, list_metrics
from train.report.figures.classes import count_tested_confusions, measure_accuracies
from train.report.figures.comparison import measure_gains
from train.report.figures.curves import list_curves, read_epochs
from train.report.figures.drawing import NotApplicable
from train.report.figures.sides import load_sides
from train.report.figures.tables import list_iterations, list_parameters
from train.runs.phases import list_phases
from train.runs.run import RunError
from train.web.attention_kind import find_kind
from train.web.open_runs import OpenRun

SHOWN_GAINS = 20
"""Classes with the largest gains, and as many with the largest losses."""
MAX_CELLS = 60 * 60
"""A larger confusion matrix is sent as its most frequent confusions alone."""
MAX_PAIRS = 100
"""Confusions that are listed, the most frequent first."""


def describe_run(run: OpenRun) -> dict[str, Any]:
    """Describe a run as JSON values, for ``/api/runs`` and ``/api/runs/RUN``."""
    recipe = run.run.recipe
    unfinished = [phase.name for phase in run.run.list_unfinished_phases()]
    names = run.list_scores()
    kind = find_kind(run.run)
    return {
        "key": run.key,
        "name": run.name,
        "title": recipe.title,
        "paper": recipe.paper,
        "classes": len(run.run.classes),
        "labels": recipe.labels,
        "note": run.note,
        "unfinished": unfinished,
        "state": "" if names else describe_state(run, unfinished),
        "scores": names,
        "best": run.source.best_score() if names else None,
        "metrics": list_metrics(recipe),
        "results": run.source.results()["scores"] if names else {},
        "attention": {
            "kind": kind.name,
            "reason": kind.reason,
            "phases": [phase.name for phase in kind.phases],
        },
    }


def describe_state(run: OpenRun, unfinished: list[str]) -> str:
    """Say in one line what a run without scores needs before it has them."""
    if unfinished:
        return (
            f"Not finished (phases to train: {', '.join(unfinished)}); `flowkit train` continues it"
        )
    try:
        run.source.results()
    except RunError as error:
        if (run.run.path / "results.json").exists():
            return str(error)
    return "Not evaluated; `flowkit evaluate` writes its scores"


def describe_tables(run: OpenRun) -> list[dict[str, Any]]:
    """Return the tables of the report: scores, and parameters; empty if it was not evaluated.

    The first row of a table is its header. The table of parameters is left out if they were not
    counted.
    """
    if not run.list_scores():
        return []
    drawings = list_iterations(run.source)
    with suppress(NotApplicable):
        drawings += list_parameters(run.source)
    return [{"name": d.name, "caption": d.caption, "rows": d.rows} for d in drawings]


def describe_confusions(run: OpenRun, score: str) -> dict[str, Any]:
    """Describe the confusion matrix of a score, for ``/api/runs/RUN/confusion``.

    Args:
        run: The run.
        score: Name of the score.

    Returns:
        The tested classes with their accuracy, the counts by (true, predicted) class of the tested
        ones (None if they are too many to show), and the most frequent confusions.
    """
    check_labels(run)
    scores = run.load_scores(score)
    names = run.run.classes
    confusions = count_tested_confusions(run.source, scores)
    accuracies = measure_accuracies(run.source, scores)
    tested, matrix = confusions.tested.tolist(), confusions.matrix
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
    pairs = []
    for row, column in (np.unravel_index(pair, wrong.shape) for pair in order):
        true, predicted, videos = tested[row], tested[column], int(wrong[row, column])
        if videos:
            pairs.append({
                "true": true, "predicted": predicted, "videos": videos,
                "true_name": names[true], "predicted_name": names[predicted],
            })  # fmt: skip
    return {
        "score": score,
        "classes": [
            {"class": c, "name": names[c], "accuracy": float(accuracies[c]),
             "videos": int(matrix[i].sum() + confusions.others[i])}
            for i, c in enumerate(tested)
        ],
        "matrix": matrix.tolist() if matrix.size <= MAX_CELLS else None,
        "others": confusions.others.tolist(),
        "pairs": pairs,
        "untested": len(names) - len(tested),
    }  # fmt: skip


def check_labels(run: OpenRun) -> None:
    """Check that each video of a run has one label.

    Raises:
        UsageError: Videos have many labels, so no class is the right one.
    """
    if run.run.recipe.labels == "many":
        raise UsageError("videos with many labels have no confusion matrix and no right class")


def describe_gains(run: OpenRun, against: OpenRun) -> dict[str, Any]:
    """Describe the classes that gained or lost against another run.

    Args:
        run: The run.
        against: The run to compare it with.

    Raises:
        UsageError: The runs have other classes, were evaluated on different videos or are the same
            run, or videos have many labels.
    """
    check_labels(run)
    check_labels(against)
    source = replace(run.source, against=against.run)
    gains = measure_gains(source, *load_sides(source))
    points = gains.points
    return {
        "against": against.key,
        "scores": list(gains.names),
        "summary": gains.describe_shares(),
        "classes": [
            {"class": c, "name": run.run.classes[c], "gain": float(points[c]),
             "ours": float(gains.ours[c]), "theirs": float(gains.theirs[c])}
            for c in gains.choose_largest(SHOWN_GAINS)
        ],
    }  # fmt: skip


def describe_curves(run: OpenRun) -> dict[str, Any]:
    """Describe the training curves, for ``/api/runs/RUN/curves``.

    Returns:
        For each phase with a finished epoch: its epochs, and the logged losses and accuracies.
    """
    metric, title = choose_metric(run.run.recipe.labels)
    losses, accuracies = list_curves(metric)
    phases = []
    for phase in list_phases(run.run.recipe):
        try:
            records = read_epochs(run.run, phase.name)
            if records:
                phases.append({
                    "name": phase.name,
                    "epochs": [record["epoch"] for record in records],
                    "values": {
                        name: [record[name] for record in records]
                        for name in (*losses, *accuracies)
                    },
                })  # fmt: skip
        except (ValueError, KeyError) as error:
            path = run.run.folder(phase.name) / "epochs.jsonl"
            raise FlowkitError(f"{path} is damaged ({error})") from error
    return {"metric": title, "losses": losses, "accuracies": accuracies, "phases": phases}
