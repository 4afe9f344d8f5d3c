"""Define `flowkit preview`, which draws videos of a store."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowkit.commands.options import PATH, store_argument
from flowkit.path_text import argument_to_text

if TYPE_CHECKING:
    from flowkit.store.reader import Store

MAX_CLASSES = 8
"""Largest number of classes that --grid and --sheet show."""


@click.command()
@store_argument
@click.argument("ids", nargs=-1, metavar="[ID]...", type=argument_to_text)
@click.option("-o", "--out", type=PATH, default=Path("preview.png"), show_default=True,
              help="File to write: an image (.png) or, for one video, a film (.mp4).")  # fmt: skip
@click.option("--count", type=click.IntRange(1, 64), default=8, show_default=True,
              help="Number of frames in a strip.")  # fmt: skip
@click.option("--grid", is_flag=True,
              help="Show one frame of one video of each class, side by side, of "
              f"{MAX_CLASSES} classes at most; --sheet and --count have no effect "
              "then.")  # fmt: skip
@click.option("--sheet", is_flag=True, help="Show a strip of one video of each class, of "
              f"{MAX_CLASSES} classes at most, instead of the first video.")  # fmt: skip
def preview(
    store: Path, ids: tuple[str, ...], out: Path, count: int, sheet: bool, grid: bool
) -> None:
    """Draw videos of STORE: RGB frames above colour-coded flow.

    \b
    flowkit preview S                         the first video, as preview.png
    flowkit preview S v_Archery_g01_c01 -o archery.mp4
    flowkit preview S ID1 ID2 -o two.png      a strip of each of these videos
    flowkit preview S --sheet -o classes.png
    flowkit preview S --grid -o readme.png
    """
    from flowkit import preview as drawing
    from flowkit.errors import UsageError
    from flowkit.store.reader import Store

    opened_store = Store(store)
    if len(opened_store) == 0:
        raise UsageError(f"{store} has no videos yet; extract some first")
    if ids:
        video_ids = list(ids)
    elif sheet or grid:
        video_ids = drawing.choose_video_per_class(opened_store, MAX_CLASSES)
        report_absent_classes(opened_store, video_ids)
    else:
        video_ids = [opened_store[0].id]
    if grid:
        drawing.preview_grid(opened_store, video_ids, out)
    elif len(video_ids) == 1 and not sheet:
        drawing.preview(opened_store[video_ids[0]], out, count=count)
    else:
        drawing.preview_sheet(opened_store, video_ids, out, count=count)
    click.echo(str(out))


def report_absent_classes(store: "Store", video_ids: list[str]) -> None:
    """Say on stderr how many classes are shown, if the limit leaves out some that have videos."""
    shown = {label.name for id in video_ids for label in store[id].labels}
    total = len(store.classes)
    if MAX_CLASSES <= len(shown) < total and any(
        label.name not in shown for id in store for label in store[id].labels
    ):
        message = f"{len(shown)} of {total} classes are shown; to choose others, name videos"
        click.echo(message, err=True)
