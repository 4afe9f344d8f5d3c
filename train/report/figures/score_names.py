"""Choose the scores that figures show, by their names, as the figures of the papers do.

    run                                        its score          what it is compared with
    with iterations of cross-modality          iter_1/rgb         its own iter_0/fusion
    RGB and flow                               fusion             another run, or another score
    one stream, sound, or feature sets         the only one       another run

Chi et al. 2019, Tables 2 and 3 and Fig. 4 to 6, show the RGB score after the first iteration
(CMA_iter1-R), and compare it with the two-stream network: the fusion of iteration 0. Later
iterations are not better (Table 1), so the last one does not represent a run. Figures of a run with
several splits show the first split, which is the split of the ablations in the papers. Names of
scores are listed in train/evaluation/evaluate.py.
"""

from collections.abc import Iterable
from typing import Any

from flowkit.errors import UsageError
from train.runs.run import Run

OURS, BASELINE = "iter_1/rgb", "iter_0/fusion"
"""The score of a run with iterations, and the two-stream score that it is compared with."""
MEANS = "mean/"
"""Prefix of means over splits, which are metrics without scores of videos."""


def list_score_names(results: dict[str, Any]) -> list[str]:
    """List the names of scores in results, without means over splits.

    Args:
        results: The content of ``results.json``.
    """
    return [name for name in results["scores"] if not name.startswith(MEANS)]


def find_split(name: str) -> str:
    """Return the prefix of a name that is its split, such as ``split_1/``; empty without one."""
    split, slash, _ = name.partition("/")
    return split + slash if split.startswith("split_") else ""


def choose_default_score(names: list[str], split: str | None = None) -> str:
    """Choose the score that represents a run.

    Args:
        names: Names of its scores.
        split: Prefix of the split. Default: the first one.

    Returns:
        The RGB score after iteration 1, or else the fusion, or else the last score.
    """
    first = find_split(names[0]) if split is None else split
    candidates = [name for name in names if find_split(name) == first] or names
    for ending in (OURS, "fusion"):
        for name in candidates:
            if name == find_split(name) + ending:
                return name
    return candidates[-1]


def check_score(name: str, names: Iterable[str], run: Run, option: str) -> str:
    """Check that a run has a score.

    Args:
        name: Name of the score.
        names: Names of the run's scores.
        run: The run, for the message.
        option: The option that names the score, for the message.

    Returns:
        The name.

    Raises:
        UsageError: It has no such score; the message lists those that it has.
    """
    names = list(names)
    if name not in names:
        means = ", which is a mean over splits" if name.startswith(MEANS) else ""
        raise UsageError(
            f"{option}: {run.path} has no scores of videos named {name!r}{means}; it has "
            f"{', '.join(names)}"
        )
    return name
