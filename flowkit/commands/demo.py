"""`flowkit demo`: motion8 rendered, extracted, compared with its true flow, and drawn."""

from pathlib import Path

import click


@click.command()
@click.option("--write", "only_write", is_flag=True, help="Only render the dataset.")
@click.option("--check", "only_check", is_flag=True, help="Only compare a store with the truth.")
@click.option("--store", type=click.Path(path_type=Path), default=Path("stores/motion8"),
              show_default=True)  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), help="Default: $FLOWKIT_DATA/motion8.")
@click.option("--videos", type=click.IntRange(1), default=16, show_default=True, help="To train.")
@click.option("--test-videos", type=click.IntRange(0), default=8, show_default=True)
@click.option("--frames", type=click.IntRange(2), default=32, show_default=True)
@click.option("--size", default="256x256", show_default=True, metavar="WxH")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--workers", type=click.IntRange(0), help="Of the extraction; default: all cores.")
@click.pass_context
def demo(
    context: click.Context,
    only_write: bool,
    only_check: bool,
    store: Path,
    data: Path | None,
    videos: int,
    test_videos: int,
    frames: int,
    size: str,
    seed: int,
    workers: int | None,
) -> None:
    """Render motion8, extract it, and show what comes out.

    \b
    flowkit demo                       all of it
    flowkit demo --write               render motion8 (then: flowkit extract --dataset motion8)
    flowkit demo --check --store S     compare a store of motion8 with the true flow
    """
    from flowkit.catalog import data_root
    from flowkit.errors import UsageError

    if only_write and only_check:
        raise UsageError("--write and --check exclude one another; without both, all is done")
    folder = data or data_root() / "motion8"
    if not only_check:
        write_videos(folder, videos, test_videos, frames, size, seed)
    if not (only_write or only_check) and not extract_videos(folder, store, workers):
        click.echo("interrupted; the same command goes on from here", err=True)
        context.exit(130)
    if not only_write:
        check_store(store, folder)


def write_videos(
    folder: Path, videos: int, test_videos: int, frames: int, size: str, seed: int
) -> None:
    from flowkit.commands.terminal import count_progress
    from flowkit.extraction.recipe_overrides import parse_size
    from flowkit.synthetic.motion8 import Motion8, write_dataset

    width, height = parse_size(size)
    config = Motion8(
        videos=videos, test_videos=test_videos, frames=frames, width=width, height=height, seed=seed
    )
    with count_progress("rendering motion8") as progress:
        rendered = write_dataset(folder, config, progress)
    click.echo(f"motion8: {videos + test_videos} videos at {folder} ({rendered} rendered now)")


def extract_videos(folder: Path, store: Path, workers: int | None) -> bool:
    """Extract what the store lacks; False where the user stopped it."""
    from flowkit.annotations import FORMATS
    from flowkit.catalog import find_dataset
    from flowkit.commands.terminal import print_table
    from flowkit.extraction import Options, Wishes, choose_recipe, extract

    table = FORMATS["motion8"].read_table(folder / "annotations", None)
    located = FORMATS["motion8"].locate_videos(folder / "videos", table)
    streams = ("rgb", "flow")
    recipe = choose_recipe(store, streams, Wishes(), find_dataset("motion8").recipe)
    summary = extract(
        located, store, recipe, Options(workers=workers), table=table, dataset="motion8"
    )
    print_table(summary.render())
    return not summary.interrupted


def check_store(path: Path, folder: Path) -> None:
    """Compare a store with the true flow and draw it.

    Raises FlowkitError where it is empty, or lacks videos that could not be extracted.
    """
    from rich.table import Table

    from flowkit.commands.terminal import count_progress, print_table
    from flowkit.demo import measure_errors
    from flowkit.errors import FlowkitError
    from flowkit.extraction.summary import count_kinds
    from flowkit.preview import choose_varied, preview_sheet
    from flowkit.store import Store, read_failures

    store = Store(path)
    failed = [failure for id, failure in read_failures(path).items() if id not in store]
    why = f"`flowkit status {path} --failures` says why for each"
    if not len(store):
        end = f": {len(failed)} failed ({count_kinds(failed)}); {why}" if failed else ""
        raise FlowkitError(f"{path} holds no video to compare{end or '; extract motion8 first'}")
    with count_progress("comparing with the true flow") as progress:
        errors = measure_errors(store, folder, progress=progress)
    table = Table("class", "pairs", "AEE (px)", "true motion (px)", "valid pixels", box=None)
    for row in errors:
        numbers = f"{row.aee:.3f}", f"{row.motion:.2f}", f"{row.valid:.0%}"
        table.add_row(row.name, str(row.pairs), *numbers)
    print_table(table)
    pairs = sum(row.pairs for row in errors)
    mean = sum(row.aee * row.pairs for row in errors) / max(1, pairs)
    click.echo(f"end-to-end AEE: {mean:.3f} px over {pairs} pairs (codec, TV-L1, JPEG included)")
    picture = path.with_name(f"{path.name}.png")
    preview_sheet(store, choose_varied(store), picture)
    click.echo(f"picture: {picture}")
    if failed:
        raise FlowkitError(
            f"{len(failed)} videos of motion8 could not be extracted into {path} "
            f"({count_kinds(failed)}); {why}"
        )
