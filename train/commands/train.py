"""Define `flowkit train`, which trains a recipe on a store."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from train.commands.options import PATH, machine_options, parse_changes, precision_option

if TYPE_CHECKING:
    from train.recipe.recipe import Recipe

INTERRUPTED = 130
"""Exit status after SIGINT or SIGTERM."""


@click.command()
@click.argument("recipe")
@click.option("--store", type=PATH, required=True,
              help="Store of frames, flow, audio or features to train on.")  # fmt: skip
@click.option("--run", type=PATH, required=True,
              help="Folder of the run; created if it does not exist.")  # fmt: skip
@click.option("--row", metavar="ROW",
              help="Train this row of the paper's tables; `flowkit recipes RECIPE` lists them. "
                   "--set is applied after it.")  # fmt: skip
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE",
              help="Change a value of the recipe, such as training.epochs=10; can be given more "
                   "than once.")  # fmt: skip
@click.option("--weights", multiple=True, metavar="BRANCH=FILE",
              help="Initial weights of a branch (rgb, flow, audio, sets), or of rgb and flow with "
                   "their attention (both): a weight file, or the folder RUN/phases/PHASE of a "
                   "finished phase of a run.")  # fmt: skip
@click.option("--quick", is_flag=True,
              help="Train a smaller network for fewer epochs, in minutes on two CPU cores, as the "
                   "recipe's section quick says.")  # fmt: skip
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
    recipe: str, store: Path, run: Path, row: str | None, changes: tuple[str, ...],
    weights: tuple[str, ...], quick: bool, seed: int | None, processes: int | None, precision: str,
    compiled: bool, checkpoint_seconds: float, stop_after: int | None,
    device: str, workers: int | None, threads: int | None,
) -> int:  # fmt: skip
    """Train RECIPE (a name of `flowkit recipes`, or a YAML file) on a store.

    \b
    flowkit train two_stream --store stores/mine --run runs/mine
    flowkit train two_stream --store stores/mine --run runs/quick --quick
    flowkit train kinetics_cma --store S --run R --processes 8 --precision bfloat16
    flowkit train kinetics_clusters_rgb --store S --run R --row "N=32, no shifting"

    A general recipe, such as two_stream, takes the classes, the subsets and the sizes from the
    store. A store without subsets is divided into train, val and test first.

    The results of the recipe's paper are shown beside those of the run only while its settings are
    the paper's: not after --set, unless these are the settings of another row, nor with --quick or
    a store of another dataset.

    Run the same command again to continue after an interruption. Ctrl-C stops after the current
    step and writes a checkpoint; a killed training continues from its last checkpoint.
    """
    from flowkit.errors import UsageError
    from flowkit.store import Store
    from flowkit.store.format.location import describe_location
    from train.loop.session import StopCondition, start_run
    from train.loop.session import train as train_run
    from train.recipe.recipe import read_draft
    from train.runs.settings import make_settings
    from train.tasks.registry import find_task

    if stop_after is not None and (processes or 1) > 1:
        raise UsageError("--stop-after is for one process")
    recipe_values = parse_changes(changes, "--set")
    weight_files = parse_changes(weights, "--weights")
    for branch, file in weight_files.items():
        key = "sets.weights" if branch == "sets" else f"network.weights.{branch}"
        recipe_values[key] = file
    if seed is not None:
        recipe_values["seed"] = str(seed)
    draft = read_draft(recipe)
    draft = draft if row is None else draft.take_row(row)
    draft = (draft.make_quick() if quick else draft).change(recipe_values)
    if not (run / "run.json").exists():  # a run that was started with them can be continued
        check_weight_branches(draft.make_example(), tuple(weight_files))
    if workers is None:
        workers = find_task(draft.make_example()).default_workers
    settings = make_settings(
        device, workers, threads, processes or 1, precision=precision, compile=compiled,
        checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip
    opened_run, opened_store = start_run(run, draft, Store(store), click.echo)
    stop = StopCondition(stop_after)
    if train_run(opened_run, opened_store, settings, click.echo, stop):
        click.echo(f"finished. flowkit evaluate {run} --store {describe_location(store)}")
        return 0
    click.echo("stopped; run the same command again to continue", err=True)
    return 0 if stop_after is not None and not stop.signalled else INTERRUPTED


def check_weight_branches(recipe: "Recipe", branches: tuple[str, ...]) -> None:
    """Check that some branch of a recipe starts from the weights that are given for each branch.

    Args:
        recipe: The recipe with the weights.
        branches: Names of the branches.

    Raises:
        UsageError: No branch starts from them.
    """
    from flowkit.errors import UsageError

    used = {*recipe.branches, "both"}
    if "flow" in used and "flow" not in branches:
        used.add("rgb")  # flow starts from the weights of RGB
    ignored = [branch for branch in branches if branch not in used]
    if ignored:
        raise UsageError(
            f"--weights {ignored[0]}=FILE has no effect on a network of "
            f"{' and '.join(recipe.branches)}; leave it out"
        )
