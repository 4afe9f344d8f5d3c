"""Define `flowkit evaluate`, which scores the test videos with a finished run."""

import json as json_text
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowkit.commands.terminal import progress_bar
from train.commands.options import PATH, machine_options, run_argument

if TYPE_CHECKING:
    from train.recipe.recipe import Recipe


@click.command()
@run_argument
@click.option("--store", type=PATH, required=True, help="Store with the test videos.")
@click.option("--json", is_flag=True,
              help="Print results as JSON: for each score top1, top5, mean_class and n (videos), "
                   "or mAP, wAP, …")  # fmt: skip
@machine_options
def evaluate(
    run: Path, store: Path, json: bool, device: str, workers: int | None, threads: int | None
) -> None:
    """Score the test videos of a store with the networks of all phases of RUN.

    Saves scores and results in the run folder, where `flowkit report` finds them.
    """
    from flowkit.store import Store
    from flowkit.store.format.atomic import write_atomic
    from train.evaluation.cautions import list_cautions
    from train.evaluation.evaluate import evaluate as evaluate_run
    from train.runs.run import Run, encode_json
    from train.runs.settings import make_settings
    from train.tasks.registry import find_task

    opened_run, settings = Run(run), make_settings(device, workers, threads)
    opened_store = Store(store)
    with show_progress_bars() as progress:
        results = evaluate_run(opened_run, opened_store, settings, progress)
    costs = find_task(opened_run.recipe).count_costs()
    write_atomic(run / "results.json", encode_json({"scores": results, "costs": costs}))
    if json:
        click.echo(json_text.dumps(results))
    else:
        click.echo(format_results(results, costs, opened_run.recipe))
        for caution in list_cautions(opened_run, opened_store, results):
            click.echo(f"\nnote: {caution}")


@contextmanager
def show_progress_bars() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Show one progress bar after another, each with its name."""
    with ExitStack() as stack:

        def start_bar(name: str) -> Callable[[int, int], None]:
            stack.close()
            return stack.enter_context(progress_bar(name))

        yield start_bar


def format_results(
    results: dict[str, dict[str, float]], costs: dict[str, dict[str, float]], recipe: "Recipe"
) -> str:
    """Format the results as a table, with those of the paper if the recipe has them."""
    from train.evaluation.scores import list_metrics

    width, metrics = max(map(len, [*results, *costs])), list_metrics(recipe)
    heads = "  ".join(f"{title:>6}" for title in metrics.values())
    lines = [f"{'score':{width}}  {heads}  videos{'  paper' if recipe.reported else ''}"]
    for name, row in results.items():
        paper = " / ".join(f"{value:.2f}" for value in recipe.reported.get(name, ()))
        cells = "  ".join(f"{row[key]:{max(6, len(title))}.1%}" for key, title in metrics.items())
        lines.append(f"{name:{width}}  {cells}  {row['n']:6.0f}  {paper}".rstrip())
    lines += ["", f"{'parameters of a score':{width}}"]
    for name, cost in costs.items():
        lines.append(f"{name:{width}}  {cost['parameters']:11,.0f}  {cost['ratio']:.2f}×")
    return "\n".join(lines)
