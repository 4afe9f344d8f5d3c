"""Draw accuracy over fusion weights: Fig. 3 of Chi et al. 2019."""

import numpy as np

from train.evaluation.evaluate import join_name
from train.evaluation.scores import choose_metric, fuse_scores, measure
from train.report.figures.drawing import (
    ACCENTS,
    MARKERS,
    Drawing,
    NotApplicable,
    Source,
    make_figure,
)
from train.runs.phases import list_scorings

RATIOS = ((1, 9), (1, 7), (1, 5), (1, 3), (1, 2), (1, 1), (2, 1), (3, 1), (5, 1), (7, 1), (9, 1))
"""Weights of RGB and flow."""


def draw_fusion(source: Source) -> list[Drawing]:
    """Draw the accuracy of fused scores for RGB : flow from 1:9 to 9:1, a line per iteration.

    Args:
        source: The run. If it names a score, the line of its iteration is drawn alone.

    Returns:
        A figure, in a list.

    Raises:
        NotApplicable: The run does not fuse scores, or not the named one.
    """
    scorings = [s for s in list_scorings(source.run.recipe) if s.fusion is not None]
    if not scorings:
        raise NotApplicable(f"{source.run.path} does not fuse the scores of RGB and flow")
    if source.score is not None:
        group = source.choose_score().rpartition("/")[0]
        scorings = [s for s in scorings if s.name == group]
        if not scorings:
            raise NotApplicable(f"{source.score} is not fused with another score")
    figure, axes = make_figure()
    averaged_values = source.get_averaged_values()
    metric, title = choose_metric(source.run.recipe.labels)
    for index, scoring in enumerate(scorings):
        rgb, flow = (source.scores(join_name(scoring.name, b)) for b in ("rgb", "flow"))
        fused = [fuse_scores(rgb, flow, weights, averaged_values) for weights in RATIOS]
        accuracy = [100 * measure(f.get_averages(averaged_values), f.labels)[metric] for f in fused]
        colour = ACCENTS[index % len(ACCENTS)]
        label = scoring.name.replace("iter_0", "two-stream (iter_0)") or "two-stream"
        axes.plot(np.arange(len(RATIOS)), accuracy, marker=MARKERS[index % len(MARKERS)], ms=4,
                  color=colour, label=label)  # fmt: skip
    axes.set_xticks(np.arange(len(RATIOS)), [f"{a}:{b}" for a, b in RATIOS])
    axes.set(xlabel="weights RGB : flow", ylabel=f"{title}, %")
    axes.legend(fontsize=8, frameon=False)
    caption = f"{title} of {averaged_values} that are fused with these weights, by iteration."
    if len(scorings) == 1:
        caption = f"{title} of {averaged_values} that are fused with these weights."
    return [Drawing(name="fusion", caption=caption, figure=figure)]
