"""Draw accuracy over fusion weights: Fig. 3 of Chi et al. 2019."""

import numpy as np

from train.evaluation.scores import METRICS, fuse_scores, measure
from train.report.figures.drawing import ACCENTS, Drawing, Source, make_figure
from train.runs.phases import list_scorings

RATIOS = ((1, 9), (1, 7), (1, 5), (1, 3), (1, 2), (1, 1), (2, 1), (3, 1), (5, 1), (7, 1), (9, 1))
"""Weights of RGB and flow."""


def draw_fusion(source: Source) -> list[Drawing]:
    """Draw the accuracy of fused scores for RGB : flow from 1:9 to 9:1, a line per iteration.

    Args:
        source: The run.

    Returns:
        A figure; nothing if the run does not fuse scores.
    """
    figure, axes = make_figure()
    over = source.run.recipe.testing.over
    metric, title = next(iter(METRICS[source.run.recipe.labels].items()))
    lines = 0
    for scoring in list_scorings(source.run.recipe):
        if scoring.fusion is None:
            continue
        prefix = f"{scoring.name}/" if scoring.name else ""
        rgb, flow = (source.scores(f"{prefix}{branch}") for branch in ("rgb", "flow"))
        accuracy = []
        for weights in RATIOS:
            fused = fuse_scores(rgb, flow, weights, over)
            accuracy.append(100 * measure(fused.get_averages(over), fused.labels)[metric])
        colour = ACCENTS[lines % len(ACCENTS)]
        axes.plot(np.arange(len(RATIOS)), accuracy, "o-", ms=3, color=colour,
                  label=scoring.name or "two-stream")  # fmt: skip
        lines += 1
    if not lines:
        return []
    axes.set_xticks(np.arange(len(RATIOS)), [f"{a}:{b}" for a, b in RATIOS])
    axes.set(xlabel="weights RGB : flow", ylabel=f"{title}, %")
    axes.legend(fontsize=8, frameon=False)
    return [
        Drawing(name="fusion", caption=f"Accuracy over fusion weights ({over}).", figure=figure)
    ]
