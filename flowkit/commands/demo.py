"""Define `flowkit demo`, which renders motion8, extracts it and measures the error of the flow.

AEE in the output is the average endpoint error: the mean distance in pixels between the computed
and the true displacement. A pair is a frame and the next one. Pixels whose true displacement is
not known, such as those that leave the image, are not compared.
"""

from pathlib import Path
from typing import Any

import click

from flowkit.commands.options import PATH


@click.command()
@click.option("--write", "only_write", is_flag=True, help="Only render the dataset.")
@click.option("--check", "only_check", is_flag=True,
              help="Only compare an extracted store with the true flow.")  # fmt: skip
@click.option("--store", type=PATH, default=Path("stores/motion8"), show_default=True,
              help="Folder of the store.")  # fmt: skip
@click.option("--data", type=PATH, help="Folder to render into. [default: $FLOWKIT_DATA/motion8]")
@click.option("--videos", type=click.IntRange(1), default=16, show_default=True,
              help="Number of training videos.")  # fmt: skip
@click.option("--test-videos", type=click.IntRange(0), default=8, show_default=True,
              help="Number of test videos.")  # fmt: skip
@click.option("--frames", type=click.IntRange(2), default=32, show_default=True,
              help="Number of frames of each video.")  # fmt: skip
@click.option("--size", default="256x256", show_default=True, metavar="WxH",
              help="Width and height of the videos in pixels.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Seed of the random motions.")  # fmt: skip
@click.option("--workers", type=click.IntRange(0),
              help="Videos to extract at once. [default: all cores]")  # fmt: skip
@click.pass_context
def demo(
    context: click.Context,
    /,
    only_write: bool,
    only_check: bool,
    store: Path,
    data: Path | None,
    workers: int | None,
    size: str,
    **motion8_options: Any,
) -> None:
    """Render motion8, extract it, and show the error of the computed flow.

    motion8 is a synthetic dataset of eight classes that only motion shows. Its true flow is known.

    \b
    flowkit demo                       all of it
    flowkit demo --write               render motion8 (then: flowkit extract --dataset motion8)
    flowkit demo --check --store S     compare a store of motion8 with the true flow
    """
    from flowkit.catalog import data_root
    from flowkit.errors import UsageError

    if only_write and only_check:
        raise UsageError("--write and --check exclude each other; give neither to do everything")
    folder = data or data_root() / "motion8"
    if not only_check:
        write_videos(folder, size, **motion8_options)
    if not (only_write or only_check) and not extract_videos(folder, store, workers):
        click.echo("interrupted; run the same command again to continue", err=True)
        context.exit(130)
    if not only_write:
        check_store(store, folder)


def write_videos(folder: Path, size: str, **motion8_options: Any) -> None:
    """Render the videos of motion8 that do not exist yet.

    Args:
        folder: Folder to render into.
        size: Width and height in pixels, as ``WxH``.
        **motion8_options: The other fields of `flowkit.synthetic.motion8.Motion8`.
    """
    from flowkit.commands.terminal import progress_bar
    from flowkit.extraction.recipe_overrides import parse_size
    from flowkit.synthetic.motion8 import Motion8, write_dataset

    width, height = parse_size(size)
    config = Motion8(width=width, height=height, **motion8_options)
    with progress_bar("rendering motion8") as progress:
        rendered = write_dataset(folder, config, progress)
    videos = config.videos + config.test_videos
    click.echo(f"motion8: {videos} videos at {folder} ({rendered} rendered now)")


def extract_videos(folder: Path, store: Path, workers: int | None) -> bool:
    """Extract the videos that the store lacks.

    Args:
        folder: Folder of the rendered dataset.
        store: Path of the store.
        workers: Number of workers; None uses all cores.

    Returns:
        Whether extraction finished; False if the user interrupted it.
    """
    from flowkit.annotations import FORMATS
    from flowkit.catalog import find_dataset
    from flowkit.commands.terminal import print_table
    from flowkit.extraction import Options, RecipeOverrides, choose_recipe, extract

    table = FORMATS["motion8"].read_table(folder / "annotations", None)
    videos = FORMATS["motion8"].locate_videos(folder / "videos", table)
    streams = ("rgb", "flow")
    recipe = choose_recipe(store, streams, RecipeOverrides(), find_dataset("motion8").recipe)
    options = Options(workers=workers)
    summary = extract(videos, store, recipe, options, table=table, dataset="motion8")
    print_table(summary.render())
    return not summary.interrupted


def check_store(path: Path, folder: Path) -> None:
    """Compare the flow of a store with the true flow, and draw a contact sheet.

    Args:
        path: Path of the store.
        folder: Folder of the rendered dataset.

    Raises:
        FlowkitError: If the store is empty, or videos could not be extracted.
    """
    from rich.table import Table

    from flowkit.commands.terminal import print_table, progress_bar
    from flowkit.demo import measure_errors
    from flowkit.errors import FlowkitError
    from flowkit.extraction.summary import count_kinds
    from flowkit.preview import choose_video_per_class, preview_sheet
    from flowkit.store import Store, read_failures

    store = Store(path)
    failed = [failure for id, failure in read_failures(path).items() if id not in store]
    advice = f"`flowkit status {path} --failures` lists the reasons"
    if not len(store):
        reason = f": {len(failed)} failed ({count_kinds(failed)}); {advice}" if failed else ""
        raise FlowkitError(f"{path} holds no video to compare{reason or '; extract motion8 first'}")
    with progress_bar("comparing with the true flow") as progress:
        errors = measure_errors(store, folder, progress=progress)
    table = Table("class", "pairs", "AEE (px)", "true motion (px)", "pixels compared", box=None)
    for row in errors:
        numbers = f"{row.endpoint_error:.3f}", f"{row.true_length:.2f}", f"{row.valid_fraction:.0%}"
        table.add_row(row.name, str(row.pairs), *numbers)
    print_table(table)
    pairs = sum(row.pairs for row in errors)
    mean = sum(row.endpoint_error * row.pairs for row in errors) / max(1, pairs)
    click.echo(f"end-to-end AEE: {mean:.3f} px over {pairs} pairs (codec, TV-L1, JPEG included)")
    image = path.resolve().with_name(f"{path.resolve().name}.png")
    preview_sheet(store, choose_video_per_class(store), image)
    click.echo(f"picture: {image}")
    if failed:
        raise FlowkitError(
            f"{len(failed)} videos of motion8 could not be extracted into {path} "
            f"({count_kinds(failed)}); {advice}"
        )
