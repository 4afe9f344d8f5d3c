"""Define `flowkit export`, which writes a store as the JPEG folders that other tools read."""

from pathlib import Path

import click

from flowkit.commands.options import IMAGE_FOLDERS, JPEG_QUALITY, PATH, store_argument
from flowkit.path_text import argument_to_text


@click.command()
@store_argument
@click.argument("out", type=PATH)
@click.option("--format", required=True, type=IMAGE_FOLDERS)
@click.option("--ids", multiple=True, metavar="ID", type=argument_to_text,
              help="Export only this video; can be given more than once.")  # fmt: skip
@click.option("--subset", multiple=True, metavar="NAME", type=argument_to_text,
              help="Export only this subset; can be given more than once.")  # fmt: skip
@click.option("--bound", type=float, help="Flow bound of the exported images in pixels. [default: "
              "the store's]")  # fmt: skip
@click.option("--quality", type=JPEG_QUALITY, default=95, show_default=True,
              help="JPEG quality of the flow images; RGB images are copied unchanged.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True,
              help="Number of threads.")  # fmt: skip
def export(
    store: Path,
    out: Path,
    format: str,
    ids: tuple[str, ...],
    subset: tuple[str, ...],
    bound: float | None,
    quality: int,
    workers: int,
) -> None:
    """Write videos of STORE to folder OUT as img_*.jpg, flow_x_*.jpg and flow_y_*.jpg.

    A second run continues where the first one ended. Folder names are percent-encoded ids;
    `export.json` tells how to read the flow, and `videos.csv` lists the videos. For mmaction2, each
    subset gets annotation lists; set filename_tmpl='flow_{}_{:05d}.jpg' and start_index=1 for flow.

    \b
    flowkit export S rawframes --format mmaction2
    flowkit export S frames --format denseflow --subset test1
    """
    from flowkit.commands.terminal import progress_bar
    from flowkit.interchange import export as exporting
    from flowkit.store.reader import Store

    opened_store = Store(store)
    video_ids = exporting.choose_ids(opened_store, ids, subset)
    with progress_bar("export") as progress:
        report = exporting.export(
            opened_store, out, format, video_ids, progress,
            bound=bound, quality=quality, workers=workers,
        )  # fmt: skip
    click.echo(
        f"{report.written} videos ({report.frames} frames) written, {report.skipped} already there"
    )
    if report.added_error_max:
        click.echo(
            f"flow re-encoded: {report.added_error_mean:.3f} px mean, "
            f"{report.added_error_max:.3f} px largest added error (one field per video)"
        )
    if report.unlabelled:
        click.echo(f"{report.unlabelled} videos without labels are not in the annotation lists")
    if report.case_collisions:
        click.echo(
            f"{len(report.case_collisions)} groups of names differ only by case: "
            "do not copy them to a file system that ignores case"
        )
    for id, reason in report.failures.items():
        click.echo(f"failed: {id}: {reason}", err=True)
    if report.failures:
        raise SystemExit(1)
