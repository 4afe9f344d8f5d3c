"""Define `flowkit index`, which rebuilds the index of a store and merges annotations into it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowkit.commands.options import (
    add_label_options,
    catalog_option,
    store_argument,
    variant_option,
)

if TYPE_CHECKING:
    from flowkit.annotations.table import AnnotationTable
    from flowkit.commands.sources import LabelArguments


@click.command()
@store_argument
@click.option("--dataset", metavar="NAME",
              help="Merge the annotations of a dataset of the catalogue.")  # fmt: skip
@variant_option
@catalog_option
@click.option("--annotations", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Merge the annotation files in this folder; needs --format.")  # fmt: skip
@click.option("--format", metavar="F", help="Format of the annotation files: kinetics, ucf101, "
              "hmdb51, charades, …")  # fmt: skip
@add_label_options
@click.option("--scratch", is_flag=True, help="Rebuild the index from every commit record.")
def index(
    store: Path,
    dataset: str | None,
    variant: str | None,
    catalog: Path | None,
    annotations: Path | None,
    format: str | None,
    scratch: bool,
    labels: "LabelArguments",
) -> None:
    """Rebuild the index of STORE from its commit records, and merge new annotations into it.

    \b
    flowkit index S --scratch
    flowkit index S --dataset ucf101
    flowkit index S --annotations ucfTrainTestlist --format ucf101
    flowkit index S --labels labels.csv
    """
    from flowkit.errors import CorruptError
    from flowkit.store.annotations import read_annotations, update_annotations, write_annotations
    from flowkit.store.index import rebuild_index
    from flowkit.store.reader import Store

    check_options(labels, dataset, variant, catalog, annotations, format)
    table = read_labels(store, labels) or read_table(dataset, variant, catalog, annotations, format)
    if table is not None:
        try:
            update_annotations(store, table)
        except CorruptError as error:
            click.echo(f"warning: the stored annotations are replaced: {error}", err=True)
            write_annotations(store, table)
    version = rebuild_index(store, scratch=scratch)
    opened_store = Store(store)
    click.echo(
        f"index version {version}: {len(opened_store)} videos, {len(opened_store.classes)} classes"
    )
    table = read_annotations(store)
    if table is not None:
        annotated = {annotation.id for annotation in table.annotations}
        matched = sum(id in annotated for id in opened_store)
        click.echo(
            f"the annotations list {len(annotated)} videos: {matched} are in the store, "
            f"{len(annotated) - matched} are not; {len(opened_store) - matched} in the store have "
            "none"
        )


def check_options(
    labels: "LabelArguments",
    dataset: str | None,
    variant: str | None,
    catalog: Path | None,
    annotations: Path | None,
    format: str | None,
) -> None:
    """Raise a UsageError if options of `flowkit index` exclude each other or have no effect."""
    from flowkit.errors import UsageError

    if sum(map(bool, (labels.files, dataset, annotations))) > 1:
        raise UsageError("give --labels, --dataset or --annotations, not several of them")
    if (annotations is None) != (format is None):
        raise UsageError("--annotations and --format go together; give both or neither")
    if catalog is not None and dataset is None:
        raise UsageError("--catalog has an effect only with --dataset NAME; give it too")
    if variant is not None and dataset is None and annotations is None:
        raise UsageError(
            "--variant has an effect only with --dataset NAME or --annotations DIR; give it too"
        )


def read_labels(store: Path, labels: "LabelArguments") -> "AnnotationTable | None":
    """Read the label files and match their rows with the videos of the store.

    Args:
        store: Folder of the store.
        labels: Values of --labels and the options that describe the label file.

    Returns:
        The annotations; None if there is no label file.

    Raises:
        UsageError: An option is wrong.
        AnnotationError: A label file is malformed, or has no video of the store.
    """
    from flowkit.annotations.label_files import annotate_ids, read_label_files
    from flowkit.commands.terminal import print_lines

    options = labels.make_options()
    if not labels.files:
        return None
    listing = read_label_files(labels.files, options)
    table, lines = annotate_ids(list_ids(store), listing)
    print_lines(lines)
    return table


def list_ids(store: Path) -> list[str]:
    """List the videos of a store, also while its annotations are damaged.

    Args:
        store: Folder of the store.

    Returns:
        Their ids, sorted.

    Raises:
        CorruptError: Something else is damaged.
    """
    from flowkit.errors import CorruptError
    from flowkit.store.annotations import read_annotations
    from flowkit.store.format.records import load_record, record_paths
    from flowkit.store.index import rebuild_index
    from flowkit.store.reader import Store

    try:
        rebuild_index(store)
        return list(Store(store))
    except CorruptError as error:
        try:
            read_annotations(store)
        except CorruptError:  # the index cannot be rebuilt until they are replaced
            records = map(load_record, record_paths(store))
            return sorted({video["id"] for record in records for video in record["videos"]})
        raise error


def read_table(
    dataset: str | None,
    variant: str | None,
    catalog: Path | None,
    annotations: Path | None,
    format: str | None,
) -> "AnnotationTable | None":
    """Read the annotations that the options of `flowkit index` name.

    Args:
        dataset: Value of --dataset.
        variant: Value of --variant, such as "600" for kinetics; None means the default variant.
        catalog: Value of --catalog.
        annotations: Value of --annotations.
        format: Value of --format.

    Returns:
        The annotations; None if no option names any.

    Raises:
        UsageError: If the format is unknown, or the folder has no annotations of it.
        CatalogError: If the files of the dataset are missing.
    """
    import difflib

    from flowkit.annotations import FORMATS
    from flowkit.catalog import data_root, find_dataset, load_catalog
    from flowkit.errors import CatalogError, UsageError

    if dataset is not None:
        entry = find_dataset(dataset, variant, load_catalog(catalog))
        root = data_root()
        annotations = entry.find_annotations_folder(root)
        # Formats without annotation files derive the labels from the folders of the videos.
        folder = annotations or entry.find_videos_folder(root)
        problem = entry.describe_missing_folders(root, folder, annotations)
        if folder is None or problem:
            raise CatalogError(f"dataset {entry.full_name}: {problem}")
        return entry.get_format().read_table(folder, entry.variant)
    if annotations is None or format is None:
        return None
    if format not in FORMATS:
        matches = difflib.get_close_matches(format, FORMATS, 1)
        hint = f"; did you mean {matches[0]}?" if matches else ""
        raise UsageError(f"unknown format {format!r}; known: {', '.join(FORMATS)}{hint}")
    table = FORMATS[format].read_table(annotations, variant)
    if not table.annotations:
        raise UsageError(f"{annotations} has no annotations of format {format}")
    return table
