"""List accuracies by iteration, and numbers of parameters: Tables 1 and 2 of Chi et al. 2019.

An *iteration* is a phase of the paper's alternating schedule (train/runs/phases.py): iteration 0
trains both branches without attention, and each later one trains one branch with attention to the
other.
"""

from train.evaluation.evaluate import join_name
from train.evaluation.scores import format_gflops, list_metrics
from train.report.figures.drawing import Drawing, Source
from train.tasks.registry import find_task


def list_iterations(source: Source) -> list[Drawing]:
    """List the accuracies of all scores in percent, beside those of the paper: Table 1.

    Args:
        source: The run.

    Returns:
        A table of top-1 / top-5 (top-1 alone of at most five classes), or of mAP / wAP with
        ``labels: many``.
    """
    scores, reported = source.results()["scores"], source.run.recipe.reported
    *shown, third = list_metrics(source.run.recipe).items()
    keys = tuple(key for key, _ in shown)
    groups = list(dict.fromkeys(name.rpartition("/")[0] for name in scores))
    branches = find_task(source.run.recipe).score_titles
    rows = [["", *branches.values(), f"{third[1]} (last)", "videos"]]
    for group in groups:
        cells: list[str] = []
        last: dict[str, float] = {}
        for branch in branches:
            name = join_name(group, branch)
            last = scores.get(name, last)
            cells.append(format_accuracies(scores.get(name), keys, reported.get(name)))
        rows.append([group or "all", *cells, f"{100 * last[third[0]]:.1f}", str(last["n"])])
    caption = f"{' / '.join(title for _, title in shown)} in percent."
    if reported:
        caption += f" In brackets: {source.run.recipe.paper}."
    return [Drawing(name="iterations", caption=caption, rows=rows)]


def format_accuracies(
    row: dict[str, float] | None, keys: tuple[str, ...], paper: tuple[float, ...] | None
) -> str:
    """Format accuracies in percent, with those of the paper in brackets.

    Args:
        row: Accuracies by metric, 0–1; None for a score that the run does not have.
        keys: Metrics to format.
        paper: Accuracies of the paper in percent, if it reports any.

    Returns:
        The formatted accuracies.
    """
    if row is None:
        return "–"
    ours = " / ".join(f"{100 * row[key]:.2f}" for key in keys)
    return f"{ours} [{' / '.join(f'{value:.2f}' for value in paper)}]" if paper else ours


def list_parameters(source: Source) -> list[Drawing]:
    """List the parameters that each score needs, and its accuracy: Table 2.

    Args:
        source: The run.

    Returns:
        A table of parameters, parameters relative to one branch, and accuracies.
    """
    results = source.results()
    score_names = {
        "one branch": ("iter_0/rgb", "rgb", "flow"),
        "two branches": ("iter_0/fusion", "fusion"),
        "network": ("sets", "audio"),
    }
    keys = list(list_metrics(source.run.recipe).items())[:-1]
    titles = [title for _, title in keys]
    rows = [["score", "parameters", "relative", "GFLOPs/view", "GFLOPs/video", *titles]]
    scores, costs = results["scores"], results["costs"]
    for name, cost in costs.items():
        own = name.partition(",")[0]
        # A row of the comparison shows the score only if it is that of such a network.
        others = [n for n in score_names.get(name, ()) if costs.get(n, cost) == cost]
        candidates = [n for name in (own, *others) for n in (name, f"mean/{name}")]
        row = next((scores[n] for n in candidates if n in scores), None)
        accuracy = (
            ["–"] * len(keys) if row is None else [f"{100 * row[key]:.2f}" for key, _ in keys]
        )
        flops = [format_gflops(cost.get(key)) for key in ("flops_per_view", "flops_per_video")]
        rows.append([name, f"{cost['parameters']:,}", f"{cost['ratio']:.2f}×", *flops, *accuracy])
    caption = (
        "Parameters of the layers that a score needs. Attention blocks that no phase has "
        "trained pass their input on unchanged, and can be removed without changing the score. "
        "GFLOPs are 10⁹ operations of convolutions and matrix products, where a multiply-add is "
        "two; the views of a video are its segments times crops."
    )
    return [Drawing(name="parameters", caption=caption, rows=rows)]
