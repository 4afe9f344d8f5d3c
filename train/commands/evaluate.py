"""Define `flowkit evaluate`, which scores the test videos with a finished run."""

import json as json_text
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowkit.commands.terminal import progress_bar
from train.commands.options import (
    PATH,
    machine_options,
    parse_changes,
    run_argument,
    scoring_options,
)

if TYPE_CHECKING:
    from train.recipe.recipe import Recipe
    from train.runs.run import Run

Results = dict[str, dict[str, float]]


@click.command()
@run_argument
@click.option("--store", type=PATH, help="Store with the test videos.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE",
              help="Change a test setting of the run, such as testing.segments=10; can be given "
                   "more than once.")  # fmt: skip
@click.option("--name", metavar="NAME",
              help="Keep scores and results beside the default ones, in RUN/evaluations/NAME. "
                   "[default: made of the changes of --set, such as segments=10]")  # fmt: skip
@click.option("--list", "listed", is_flag=True,
              help="List the evaluations that RUN has; with --name, this one.")  # fmt: skip
@click.option("--fusion", metavar="RGB:FLOW",
              help="Show fused scores with these weights, from kept scores: no network runs, and "
                   "no --store is needed. With --name, those of an evaluation.")  # fmt: skip
@click.option("--json", is_flag=True,
              help="Print results as JSON: for each score top1, top5, mean_class and n (videos), "
                   "or mAP, wAP (the mean AP weighted by the videos of each class), …")  # fmt: skip
@scoring_options
@machine_options
def evaluate(
    run: Path, store: Path | None, changes: tuple[str, ...], name: str | None, listed: bool,
    fusion: str | None, json: bool, processes: int, precision: str, test_batch: int | None,
    device: str, workers: int | None, threads: int | None,
) -> None:  # fmt: skip
    """Score the test videos of a store with the networks of all phases of RUN.

    \b
    flowkit evaluate R --store S
    flowkit evaluate R --store S --set testing.segments=10 --set testing.crops=centre --name fast
    flowkit evaluate R --store S --processes 8 --precision bfloat16
    flowkit evaluate R --fusion 5:1
    flowkit evaluate R --list

    Saves scores and results in the run folder, where `flowkit report` finds them. With --set or
    --name, they are kept beside the default ones.
    """
    from flowkit.errors import UsageError
    from flowkit.store import Store
    from train.evaluation.cautions import list_cautions
    from train.evaluation.evaluations import make_evaluation
    from train.runs.run import Run
    from train.runs.settings import make_settings
    from train.tasks.registry import find_task

    opened_run = Run(run)
    if listed or fusion is not None:
        option = "--list" if listed else "--fusion"
        given_options = {"--store": store, "--set": changes, "--fusion": listed and fusion}
        for other, given in given_options.items():
            if given:
                raise UsageError(f"{option} reads what is kept in the run: leave out {other}")
        if listed:
            click.echo(format_evaluations(opened_run, json, name))
        else:
            click.echo(format_fused(opened_run, str(fusion), name, json))
        return
    if store is None:
        raise UsageError("expected --store, the store with the test videos")
    values = parse_changes(changes, "--set")
    if workers is None:
        workers = find_task(opened_run.recipe).default_workers
    settings = make_settings(
        device, workers, threads, processes, precision=precision, test_batch=test_batch
    )
    opened_store = Store(store)
    with show_progress_bars() as progress:
        made = make_evaluation(opened_run, opened_store, settings, values, name, progress)
    if json:
        click.echo(json_text.dumps(made.scores))
        return
    if made.name is not None:
        changed = ", ".join(f"{key}={value}" for key, value in made.changes.items())
        click.echo(f"evaluation {made.name!r} ({changed or 'the test settings of the recipe'})\n")
    click.echo(format_scores(made.scores, made.run.recipe, [*made.scores, *made.costs]))
    click.echo(f"\n{format_costs(made.costs, [*made.scores, *made.costs])}")
    for caution in list_cautions(opened_run, opened_store, made.scores):
        click.echo(f"\nnote: {caution}")


@contextmanager
def show_progress_bars() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Show one progress bar after another, each with its name."""
    with ExitStack() as stack:

        def start_bar(name: str) -> Callable[[int, int], None]:
            stack.close()
            return stack.enter_context(progress_bar(name))

        yield start_bar


def format_scores(results: Results, recipe: "Recipe", names: list[str] | None = None) -> str:
    """Format metrics as a table, with those of the paper if the recipe has them.

    Args:
        results: Metrics by the name of the score.
        recipe: The recipe.
        names: All names that the first column must have space for. Default: those of the results.
    """
    from train.evaluation.scores import list_metrics

    width, metrics = max(map(len, names or results)), list_metrics(recipe)
    heads = "  ".join(f"{title:>6}" for title in metrics.values())
    lines = [f"{'score':{width}}  {heads}  videos{'  paper' if recipe.reported else ''}"]
    for name, row in results.items():
        paper = " / ".join(f"{value:.2f}" for value in recipe.reported.get(name, ()))
        cells = "  ".join(f"{row[key]:{max(6, len(title))}.1%}" for key, title in metrics.items())
        lines.append(f"{name:{width}}  {cells}  {row['n']:6.0f}  {paper}".rstrip())
    return "\n".join(lines)


def format_costs(costs: Results, names: list[str]) -> str:
    """Format costs as a table: parameters, and GFLOPs of a view and of a video.

    Args:
        costs: Costs by name, see `Task.count_costs`.
        names: All names that the first column must have space for.
    """
    from train.evaluation.scores import format_gflops

    width = max(map(len, names))
    lines = [f"{'cost':{width}}   parameters  ratio  GFLOPs/view  views  GFLOPs/video"]
    for name, cost in costs.items():
        view, video = (format_gflops(cost.get(f"flops_per_{unit}")) for unit in ("view", "video"))
        views = f"{cost['views']:.0f}" if "views" in cost else "–"
        lines.append(
            f"{name:{width}}  {cost['parameters']:11,.0f}  {cost['ratio']:4.2f}×  {view:>11}  "
            f"{views:>5}  {video:>12}"
        )
    lines.append("(ratio: parameters relative to the first line; a multiply-add counts as two "
                 "operations)")  # fmt: skip
    return "\n".join(lines)


def format_fused(run: "Run", fusion: str, name: str | None, json: bool) -> str:
    """Format fused scores with other weights, from kept scores, as a table or as JSON.

    Args:
        run: The run.
        fusion: Weights of RGB and flow, such as ``5:1``.
        name: Name of the evaluation that has the scores; None for the default one.
        json: Whether the result is JSON.
    """
    from train.evaluation.fusion import fuse_kept_scores, parse_ratio
    from train.recipe.recipe import drop_reported

    fused = fuse_kept_scores(run, parse_ratio(fusion), name)
    recipe = drop_reported(run.recipe)  # the paper's results have its own weights
    return json_text.dumps(fused) if json else format_scores(fused, recipe)


def format_evaluations(run: "Run", json: bool, name: str | None = None) -> str:
    """Format the evaluations of a run as a table, or as JSON: changed settings and all scores.

    Args:
        run: The run.
        json: Whether the result is JSON.
        name: Name of the only evaluation to list. Default: all.
    """
    from train.evaluation.results import find_folder, list_evaluations, read_results
    from train.evaluation.scores import choose_metric

    names = list_evaluations(run) if name is None else [name]
    found = {name: read_results(run, name) for name in names}
    if name is None and (find_folder(run) / "results.json").exists():
        found = {"": read_results(run), **found}
    if json:
        keys = ("scores", "changes", "testing", "made_with")
        return json_text.dumps(
            {name: {k: r[k] for k in keys if k in r} for name, r in found.items()}
        )
    if not found:
        return f"{run.path} has no evaluation yet; run flowkit evaluate {run.path} --store S"
    metric, title = choose_metric(run.recipe.labels)
    width = max(len("evaluation"), *(len(name) for name in found))
    lines = [f"{'evaluation':{width}}  {title:>6}  score; test settings that differ"]
    for name, results in found.items():
        scores = results["scores"]
        best = max(list_comparable(list(scores)), key=lambda score: scores[score][metric])
        changes = ", ".join(f"{key}={value}" for key, value in results.get("changes", {}).items())
        value = scores[best][metric]
        lines.append(
            f"{name or '(default)':{width}}  {value:6.1%}  {best}; {changes or 'none'}".rstrip()
        )
    return "\n".join(lines)


def list_comparable(names: list[str]) -> list[str]:
    """List the scores that can represent an evaluation: no control experiments, no single splits.

    Args:
        names: Names of scores, of which at least one is returned.
    """
    from train.runs.phases import CONTROL_SCORINGS

    means = [name for name in names if name.startswith("mean/")]
    chosen = [
        name
        for name in means or names
        if not name.removeprefix("mean/").startswith(CONTROL_SCORINGS)
    ]
    return chosen or names
