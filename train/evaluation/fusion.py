"""Fuse kept scores of RGB and flow with other weights, without running a network."""

import math

from flowkit.errors import UsageError
from train.evaluation.evaluate import average_splits, join_name
from train.evaluation.results import find_folder, load_run_scores, read_testing
from train.evaluation.scores import fuse_scores, measure
from train.runs.phases import list_scorings
from train.runs.run import Run, RunError


def parse_ratio(text: str) -> tuple[float, float]:
    """Parse weights of RGB and flow, such as ``5:1``.

    Raises:
        UsageError: The text is not two numbers of at least 0, of which one is above 0.
    """
    try:
        rgb, flow = (float(part) for part in text.split(":"))
    except ValueError:
        rgb = flow = math.nan
    if not (0 <= rgb < math.inf and 0 <= flow < math.inf and rgb + flow > 0):
        raise UsageError(
            f"--fusion {text!r}: expected the weights of RGB and flow, such as 5:1; each at least "
            "0, and not both"
        )
    return rgb, flow


def fuse_kept_scores(
    run: Run, weights: tuple[float, float], evaluation: str | None = None
) -> dict[str, dict[str, float]]:
    """Measure fused scores of a run with other weights, from the scores that it has kept.

    Args:
        run: The run.
        weights: Weights of RGB and flow.
        evaluation: Name of the evaluation whose scores are fused. Default: the default one.

    Returns:
        Metrics by the name of the fused score.

    Raises:
        UsageError: The run has no two branches, or was not evaluated.
        RunError: A file of scores is damaged.
    """
    scorings = [s for s in list_scorings(run.recipe) if s.fusion is not None]
    if not scorings:
        raise UsageError(
            f"{run.path} has no scores to fuse: its recipe trains {', '.join(run.recipe.branches)} "
            "alone, not rgb and flow"
        )
    results: dict[str, dict[str, float]] = {}
    try:
        over = read_testing(run, evaluation).over
        for scoring in scorings:
            rgb, flow = (
                load_run_scores(run, join_name(scoring.name, branch), evaluation)
                for branch in ("rgb", "flow")
            )
            fused = fuse_scores(rgb, flow, weights, over)
            name = join_name(scoring.name, "fusion")
            results[name] = measure(fused.get_averages(over), fused.labels)
    except RunError as error:
        if any((find_folder(run, evaluation) / "scores").rglob("*.npz")):
            raise
        raise UsageError(str(error)) from error  # not evaluated
    means = average_splits(run.recipe, results)
    return {**results, **means}
