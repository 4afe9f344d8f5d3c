"""Load the two scores that figures compare: of two runs, or of one.

score_names.py says which scores are compared if the user names none.
"""

from dataclasses import dataclass, replace

import numpy as np

from flowkit.errors import UsageError
from train.evaluation.scores import Scores
from train.report.figures.classes import check_labels
from train.report.figures.drawing import NotApplicable, Source
from train.report.figures.score_names import (
    BASELINE,
    check_score,
    choose_default_score,
    find_split,
    list_score_names,
)
from train.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two scores that are compared."""

    run: Run
    """The run of the score."""
    name: str
    """Name of the score."""
    scores: Scores
    """The scores of all videos."""
    title: str
    """What the figure calls it: the name of the score, with the run's if there are two runs."""


def load_sides(source: Source) -> tuple[Side, Side]:
    """Load the score of a run and the one that it is compared with.

    Args:
        source: The run, and the run or the score to compare it with.

    Returns:
        Both, with the same videos in the same order.

    Raises:
        NotApplicable: There is nothing to compare with, or videos have many labels.
        UsageError: The scores are of different videos, or a run has no such score.
    """
    check_labels(source.run)
    name = source.choose_score()
    other, other_name = choose_baseline(source, name)
    if other.recipe.labels == "many":
        raise UsageError(f"--against: the videos of {other.path} have many labels, those of "
                         f"{source.run.path} have one")  # fmt: skip
    titles = [name, other_name]
    if not is_same(source.run, other):
        runs = [source.run.path.name, other.path.name]
        runs = runs if runs[0] != runs[1] else [str(source.run.path), str(other.path)]
        titles = [f"{run}: {title}" for run, title in zip(runs, titles, strict=True)]
    ours, theirs = source.scores(name), source.scores(other_name, other)
    theirs = align_videos(source.run, ours, other, theirs)
    return (
        Side(run=source.run, name=name, scores=ours, title=titles[0]),
        Side(run=other, name=other_name, scores=theirs, title=titles[1]),
    )


def choose_baseline(source: Source, name: str) -> tuple[Run, str]:
    """Choose what a score is compared with, see score_names.py.

    Args:
        source: The run, and the run or the score to compare it with.
        name: Name of the score.

    Returns:
        The run to compare with, which may be the same one, and the name of its score.

    Raises:
        NotApplicable: There is nothing to compare with.
        UsageError: The run has no such score, or it is the same one.
    """
    other = source.against or source.run
    same = is_same(other, source.run)
    names = list_score_names(source.results(other))
    if source.against_score is not None:
        check_score(source.against_score, names, other, "--against-score")
        if same and source.against_score == name:
            raise UsageError(f"--against-score: {name} cannot be compared with itself")
        return other, source.against_score
    if not same:
        return other, choose_default_score(names, find_split(name))
    baseline = find_split(name) + BASELINE
    if baseline not in names or baseline == name:
        raise NotApplicable(
            f"there is nothing to compare {name} with; give --against RUN for another run, or "
            f"--against-score NAME for another score of this run ({', '.join(names)})"
        )
    return other, baseline


def is_same(run: Run, other: Run) -> bool:
    """Return whether two runs are the same folder."""
    return run.path.resolve() == other.path.resolve()


def align_videos(run: Run, ours: Scores, other: Run, theirs: Scores) -> Scores:
    """Bring the scores of another run into the order of a run's videos.

    Args:
        run: The run.
        ours: Its scores.
        other: The other run.
        theirs: Scores of the other run.

    Returns:
        The other scores, in the order of ours.

    Raises:
        UsageError: The classes or the videos differ, or a video has another label.
    """
    if run.classes != other.classes:
        raise UsageError(f"{run.path} and {other.path} have different classes; compare others")
    common = set(ours.ids) & set(theirs.ids)
    if len(common) != len(ours.ids) or len(common) != len(theirs.ids):
        raise UsageError(
            f"{run.path} and {other.path} were evaluated on different videos ({len(ours.ids)} and "
            f"{len(theirs.ids)}, {len(common)} of them the same); evaluate both on one store"
        )
    places = {id: place for place, id in enumerate(theirs.ids)}
    order = np.array([places[id] for id in ours.ids])
    if not np.array_equal(ours.labels, theirs.labels[order]):
        raise UsageError(
            f"{run.path} and {other.path} were evaluated with different labels of the same videos; "
            "evaluate both on one store"
        )
    return Scores(ours.ids, ours.labels, theirs.logits[order], theirs.softmax[order])


def list_parts(source: Source, fused: Side) -> list[Side]:
    """List the RGB and the flow score of a fusion; empty if the score is no fusion.

    Args:
        source: The run.
        fused: A score.
    """
    group, slash, branch = fused.name.rpartition("/")
    if branch != "fusion":
        return []
    parts = []
    for part in ("rgb", "flow"):
        name = f"{group}{slash}{part}"
        scores = align_videos(fused.run, fused.scores, fused.run, source.scores(name, fused.run))
        title = fused.title.removesuffix("fusion") + part
        parts.append(replace(fused, name=name, scores=scores, title=title))
    return parts
