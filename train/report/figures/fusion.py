"""Draw accuracy over fusion weights: Fig. 3 of Chi et al. 2019."""

import numpy as np

from train.evaluation.evaluate import join_name
from train.evaluation.scores import choose_metric, fuse_scores, measure
from train.report.figures.drawing import ACCENTS, Drawing, Source, make_figure
from train.runs.phases import list_scorings

RATIOS = ((1, 9), (1, 7), (1, 5), (1, 3), (1, 2), (1, 1), (2, 1), (3, 1), (5, 1), (7, 1), (9, 1))
"""Weights of RGB and flow."""


def draw_fusion(source: Source) -> list[Drawing]:
    """Draw the accuracy of fused scores for RGB : flow from 1:9 to 9:1, a line per iteration.

    Args:
        source: The run.

    Returns:
        A figure, in a list; an empty list if the run does not fuse scores.
    """
    scorings = [s for s in list_scorings(source.run.recipe) if s.fusion is not None]
    if not scorings:
        return []
    figure, axes = make_figure()
    averaged_values = source.averaged_values
    metric, title = choose_metric(source.run.recipe.labels)
    for index, scoring in enumerate(scorings):
        rgb, flow = (source.scores(join_name(scoring.name, b)) for b in ("rgb", "flow"))
        fused = [fuse_scores(rgb, flow, weights, averaged_values) for weights in RATIOS]
        accuracy = [100 * measure(f.get_averages(averaged_values), f.labels)[metric] for f in fused]
        colour = ACCENTS[index % len(ACCENTS)]
        axes.plot(np.arange(len(RATIOS)), accuracy, "o-", ms=3, color=colour,
                  label=scoring.name or "two-stream")  # fmt: skip
    axes.set_xticks(np.arange(len(RATIOS)), [f"{a}:{b}" for a, b in RATIOS])
    axes.set(xlabel="weights RGB : flow", ylabel=f"{title}, %")
    axes.legend(fontsize=8, frameon=False)
    caption = f"Accuracy over fusion weights ({averaged_values})."
    return [Drawing(name="fusion", caption=caption, figure=figure)]
