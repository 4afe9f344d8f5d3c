"""Define `flowkit export`, which writes a store in the formats of other tools."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowkit.commands.options import EXPORT_FORMATS, JPEG_QUALITY, PATH, store_argument
from flowkit.path_text import argument_to_text
from flowkit.recipe import DEFAULT_QUALITY

if TYPE_CHECKING:
    from flowkit.interchange.export import ExportReport


@click.command()
@store_argument
@click.argument("out", type=PATH)
@click.option("--format", required=True, type=EXPORT_FORMATS)
@click.option("--ids", multiple=True, metavar="ID", type=argument_to_text,
              help="Export only this video; can be given more than once.")  # fmt: skip
@click.option("--subset", multiple=True, metavar="NAME", type=argument_to_text,
              help="Export only this subset; can be given more than once.")  # fmt: skip
@click.option("--bound", type=float, help="Flow bound of the images in pixels, for denseflow and "
              "mmaction2. [default: the store's]")  # fmt: skip
@click.option("--quality", type=JPEG_QUALITY, help="JPEG quality of the flow images, for denseflow "
              "and mmaction2; RGB images are copied unchanged. "
              f"[default: {DEFAULT_QUALITY}]")  # fmt: skip
@click.option("--shard-size", type=click.IntRange(1), metavar="MB", help="Size at which a shard "
              "ends and the next one begins, in MB. [default: 1000 for webdataset, 500 for "
              "huggingface]")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True,
              help="Number of threads.")  # fmt: skip
def export(
    store: Path,
    out: Path,
    format: str,
    ids: tuple[str, ...],
    subset: tuple[str, ...],
    bound: float | None,
    quality: int | None,
    shard_size: int | None,
    workers: int,
) -> None:
    """Write videos of STORE to folder OUT in the format of another tool.

    denseflow and mmaction2: a folder of img_*.jpg, flow_x_*.jpg and flow_y_*.jpg for each video,
    and for mmaction2 annotation lists of each subset; set filename_tmpl='flow_{}_{:05d}.jpg' and
    start_index=1 for flow.

    webdataset: tar shards with one sample for each video. huggingface: Parquet files with one row
    for each frame, and a dataset card. Both copy the images of the store as they are.

    A second run continues where the first one ended. `export.json` tells how to read the flow, and
    `videos.csv` lists the videos.

    \b
    flowkit export S rawframes --format mmaction2
    flowkit export S frames --format denseflow --subset test1
    flowkit export S shards --format webdataset --shard-size 500
    flowkit export S dataset --format huggingface
    """
    from flowkit.commands.terminal import progress_bar
    from flowkit.interchange import export as exporting
    from flowkit.store.reader import Store

    opened_store = Store(store)
    video_ids = exporting.choose_ids(opened_store, ids, subset)
    with progress_bar("export") as progress:
        report = exporting.export(
            opened_store, out, format, video_ids, progress,
            bound=bound, quality=quality, subsets=subset, workers=workers,
            shard_bytes=None if shard_size is None else shard_size * 1_000_000,
        )  # fmt: skip
    print_report(report, format)
    if report.failures:
        raise SystemExit(1)


def print_report(report: "ExportReport", format: str) -> None:
    """Print the result of an export.

    Args:
        report: The report.
        format: Name of the format.
    """
    click.echo(
        f"{report.written} videos ({report.frames} frames) written, {report.skipped} already there"
    )
    if report.added_error_max:
        click.echo(
            f"flow re-encoded: {report.added_error_mean:.3f} px mean, "
            f"{report.added_error_max:.3f} px largest added error (one field per video)"
        )
    if report.unlabelled:
        where = " and are not in the annotation lists" if format == "mmaction2" else ""
        click.echo(f"{report.unlabelled} videos have no labels{where}")
    if report.left_out:
        click.echo(f"{format} holds no {', '.join(report.left_out)}: not exported")
    if report.case_collisions:
        click.echo(
            f"{len(report.case_collisions)} groups of names differ only by case: "
            "do not copy them to a file system that ignores case"
        )
    for id, reason in report.failures.items():
        click.echo(f"failed: {id}: {reason}", err=True)
