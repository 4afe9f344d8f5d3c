"""Define `flowkit import`, which imports JPEG folders of denseflow or mmaction2 into a store."""

from pathlib import Path

import click

from flowkit.commands.options import IMAGE_FOLDERS, PATH
from flowkit.flow.params import DEFAULT_BOUND


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--store", required=True, type=PATH,
              help="Folder of the store; created if it does not exist.")  # fmt: skip
@click.option("--format", required=True, type=IMAGE_FOLDERS,
              help="Tool that wrote the folders; recorded in the recipe.")  # fmt: skip
@click.option(
    "--bound", type=float, show_default=f"that of export.json, else {DEFAULT_BOUND:g}",
    help="Flow bound of the imported images in pixels (denseflow's -b, by default 32 there).",
)  # fmt: skip
@click.option("--fps", type=float,
              help="Frame rate of the videos that no export has recorded.")  # fmt: skip
@click.option("--dataset", help="Dataset name to record in a new store.")
def import_(
    folder: Path, store: Path, format: str, bound: float | None, fps: float | None,
    dataset: str | None,
) -> None:  # fmt: skip
    """Import every video folder below FOLDER: img_*.jpg, flow_x_*.jpg, flow_y_*.jpg.

    RGB JPEG files are copied unchanged; flow is quantized and encoded again. Add labels afterwards
    with `flowkit index`.

    \b
    flowkit import rawframes --store S --format mmaction2 --bound 20 --fps 25
    flowkit import exported --store S --format denseflow      written by flowkit export
    """
    from flowkit.commands.terminal import progress_bar
    from flowkit.interchange.imports import import_folders

    with progress_bar("import") as progress:
        report = import_folders(
            folder, store, format, bound=bound, fps=fps, dataset=dataset, progress=progress
        )  # fmt: skip
    click.echo(
        f"{report.imported} videos ({report.frames} frames) imported, "
        f"{report.skipped} already there, {len(report.failures)} failed"
    )
    for id, reason in report.failures.items():
        click.echo(f"failed: {id}: {reason}", err=True)
    if report.failures:
        raise SystemExit(1)
