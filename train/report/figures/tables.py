"""List accuracies by iteration, and numbers of parameters: Tables 1 and 2 of Chi et al. 2019.

An *iteration* is a phase of the paper's alternating schedule (train/runs/phases.py): iteration 0
trains both branches without attention, and each later one trains one branch with attention to the
other.
"""

from typing import Any

from train.evaluation.evaluate import join_name
from train.evaluation.scores import format_gflops, list_metrics
from train.report.figures.drawing import Drawing, NotApplicable, Source
from train.report.figures.score_names import MEANS, check_score, find_split
from train.tasks.registry import find_task


def list_iterations(source: Source) -> list[Drawing]:
    """List the accuracies of all scores in percent, beside those of the paper: Table 1.

    Args:
        source: The run. If it names a score, the table shows that one alone.

    Returns:
        A table of top-1 / top-5 (top-1 alone of at most five classes), or of mAP / wAP with
        ``labels: many``.

    Raises:
        UsageError: The run has no such score.
    """
    results, recipe = source.results(), source.run.recipe
    scores: dict[str, dict[str, float]] = results["scores"]
    reported = results.get("reported", recipe.reported if source.evaluation is None else {})
    if source.score is not None:
        name = check_score(source.score, scores, source.run, "--score")
        scores = {name: scores[name]}
    *shown, third = list_metrics(recipe).items()
    keys = tuple(key for key, _ in shown)
    groups = list(dict.fromkeys(name.rpartition("/")[0] for name in scores))
    titles = find_task(recipe).score_titles
    present = {name.rpartition("/")[2] for name in scores}
    branches = {branch: title for branch, title in titles.items() if branch in present}
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
        caption += f" In brackets: {results.get('paper', recipe.paper)}."
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
        source: The run. If it names a score, the table shows the costs of that one alone.

    Returns:
        A table of parameters, parameters relative to one branch, and accuracies.

    Raises:
        NotApplicable: The costs of the named score were not counted.
        UsageError: The run has no such score.
    """
    results = source.results()
    keys = list(list_metrics(source.run.recipe).items())[:-1]
    titles = [title for _, title in keys]
    rows = [["score", "parameters", "relative", "GFLOPs/view", "GFLOPs/video", *titles]]
    chosen = None if source.score is None else source.choose_score()
    for name, cost in results["costs"].items():
        score = find_score(name, results, chosen)
        if chosen is not None and score != chosen:
            continue
        row = results["scores"].get(score)
        accuracy = (
            ["–"] * len(keys) if row is None else [f"{100 * row[key]:.2f}" for key, _ in keys]
        )
        flops = [format_gflops(cost.get(key)) for key in ("flops_per_view", "flops_per_video")]
        rows.append([name, f"{cost['parameters']:,}", f"{cost['ratio']:.2f}×", *flops, *accuracy])
    if len(rows) == 1:
        raise NotApplicable(f"the parameters of {chosen or 'its scores'} were not counted")
    caption = (
        "Parameters of the layers that a score needs. GFLOPs are 10⁹ operations of convolutions "
        "and matrix products, where a multiply-add is two; the views of a video are its segments "
        "times crops."
    )
    if any("identities" in row[0] for row in rows):
        caption += (
            " Attention blocks that no phase has trained pass their input on unchanged (they are "
            "identities), and can be removed without changing the score."
        )
    return [Drawing(name="parameters", caption=caption, rows=rows)]


def find_score(cost: str, results: dict[str, Any], chosen: str | None) -> str | None:
    """Find the score that costs belong to.

    Args:
        cost: Name of the costs.
        results: The content of ``results.json``.
        chosen: A score that the user named, whose split is preferred.

    Returns:
        The score; of several splits, their mean, or else the first split. None if no score is
        that of such a network: costs of a part of it, or of one to compare with.
    """
    scores, costs = results["scores"], results["costs"]
    compared = {
        "one branch": ("iter_0/rgb", "rgb", "flow"),
        "two branches": ("iter_0/fusion", "fusion"),
        "network": ("sets", "audio"),
    }.get(cost, ())
    # A network to compare with has the score of a network that costs the same.
    same = [name for name in compared if costs.get(name, costs[cost]) == costs[cost]]
    splits = [find_split(chosen)] if chosen is not None else ["", MEANS]
    splits += dict.fromkeys(find_split(name) for name in scores)
    candidates = (split + name for name in (cost.partition(",")[0], *same) for split in splits)
    return next((name for name in candidates if name in scores), None)
