"""Define `flowkit train`, which trains a recipe on a store."""

from pathlib import Path

import click

from train.commands.options import PATH, machine_options, parse_changes, precision_option

INTERRUPTED = 130
"""Exit status after SIGINT or SIGTERM."""


@click.command()
@click.argument("recipe")
@click.option("--store", type=PATH, required=True,
              help="Store of frames, flow, audio or features to train on.")  # fmt: skip
@click.option("--run", type=PATH, required=True,
              help="Folder of the run; created if it does not exist.")  # fmt: skip
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE",
              help="Change a value of the recipe, such as training.epochs=10; can be given more "
                   "than once.")  # fmt: skip
@click.option("--weights", multiple=True, metavar="BRANCH=FILE",
              help="Initial weights of a branch (rgb, flow, both, audio or sets): a weight file, "
                   "or the folder of a finished phase.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), help="Random seed; the same as --set seed=N.")
@click.option("--processes", type=click.IntRange(1),
              help="Training processes, started with Ray Train. [default: 1]")  # fmt: skip
@precision_option
@click.option("--compile", "compiled", is_flag=True, help="Compile the network with torch.compile.")
@click.option("--checkpoint-seconds", type=float, default=300.0, show_default=True,
              help="Write a checkpoint this often, in seconds.")  # fmt: skip
@click.option("--stop-after", type=click.IntRange(1), metavar="STEPS",
              help="Write a checkpoint and stop after this many steps.")  # fmt: skip
@machine_options
def train(
    recipe: str, store: Path, run: Path, changes: tuple[str, ...], weights: tuple[str, ...],
    seed: int | None, processes: int | None, precision: str, compiled: bool,
    checkpoint_seconds: float, stop_after: int | None,
    device: str, workers: int | None, threads: int | None,
) -> int:  # fmt: skip
    """Train RECIPE (a name of `flowkit recipes`, or a YAML file) on a store.

    \b
    flowkit train motion8_cma --store stores/motion8 --run runs/motion8
    flowkit train kinetics_cma --store S --run R --processes 8 --precision bfloat16

    Run the same command again to continue after an interruption. Ctrl-C stops after the current
    step and writes a checkpoint; a killed training continues from its last checkpoint.
    """
    from flowkit.errors import UsageError
    from flowkit.store import Store
    from train.loop.session import open_run
    from train.loop.session import train as train_run
    from train.recipe.recipe import change_recipe, read_recipe
    from train.runs.settings import make_settings
    from train.tasks.registry import find_task

    if stop_after is not None and (processes or 1) > 1:
        raise UsageError("--stop-after is for one process")
    recipe_values = parse_changes(changes, "--set")
    for branch, file in parse_changes(weights, "--weights").items():
        key = "sets.weights" if branch == "sets" else f"network.weights.{branch}"
        recipe_values[key] = file
    if seed is not None:
        recipe_values["seed"] = str(seed)
    changed_recipe = change_recipe(read_recipe(recipe), recipe_values)
    if workers is None:
        workers = find_task(changed_recipe).default_workers
    settings = make_settings(
        device, workers, threads, processes or 1, precision=precision, compile=compiled,
        checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip
    opened_store = Store(store)
    opened_run = open_run(run, changed_recipe, opened_store)
    if train_run(opened_run, opened_store, settings, click.echo, stop_after):
        click.echo(f"finished. flowkit evaluate {run} --store {store}")
        return 0
    click.echo("stopped; run the same command again to continue", err=True)
    return 0 if stop_after is not None else INTERRUPTED
