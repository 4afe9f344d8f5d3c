"""Choose what `flowkit extract` extracts: a dataset, a folder of classes, or single files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flowkit.annotations import AnnotationTable, LocatedVideos, explicit_files, folder
from flowkit.annotations.label_files import (
    LabelOptions,
    locate_labelled_videos,
    parse_columns,
    read_label_files,
)
from flowkit.catalog import find_dataset, load_catalog
from flowkit.errors import UsageError
from flowkit.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The videos to extract, their annotations, and the path of their store."""

    videos: LocatedVideos
    """The video files that were found, and the ids of those that are missing."""
    store_path: Path
    """Path of the store."""
    table: AnnotationTable | None = None
    """Annotations of the videos, if there are any."""
    dataset: str | None = None
    """Name of the dataset, if it is one of the catalogue."""
    recipe: Recipe | None = None
    """Recipe of the dataset, if the catalogue has one."""
    missing_subsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The subsets of missing videos that are not in the table, by id."""
    report: Sequence[str] = ()
    """Lines that say how a label file was understood; empty if there is none."""


@dataclass(frozen=True, kw_only=True)
class LabelArguments:
    """The values of the options about label files, which several commands have."""

    files: tuple[Path, ...] = ()
    """Values of --labels."""
    columns: str | None = None
    """Value of --columns."""
    classes: Path | None = None
    """Value of --classes."""
    file_template: str | None = None
    """Value of --file-template."""

    def make_options(self) -> LabelOptions:
        """Make the options for reading the files.

        Raises:
            UsageError: An option is malformed, or is given without --labels.
        """
        options = LabelOptions(
            columns=parse_columns(self.columns),
            classes=self.classes,
            file_template=self.file_template,
        )
        if not self.files and options != LabelOptions():
            raise UsageError(
                "--columns, --classes and --file-template describe a label file; give it with "
                "--labels FILE"
            )
        return options


def choose_sources(
    files: tuple[Path, ...],
    dataset: str | None,
    variant: str | None,
    videos: Path | None,
    catalog: Path | None,
    subset: str | None,
    store: Path | None,
    labels: LabelArguments | None = None,
) -> Sources:
    """Find the videos that the options of `flowkit extract` name.

    Args:
        files: Video files.
        dataset: Value of --dataset. Exactly one of files, --dataset and --videos must be given.
        variant: Value of --variant.
        videos: Value of --videos.
        catalog: Value of --catalog.
        subset: Value of --subset.
        store: Value of --store. Default: a folder in ``stores`` with the name of the dataset.
        labels: Values of --labels and the options that describe the label file.

    Returns:
        The videos.

    Raises:
        UsageError: If options are missing or exclude each other, or the subset is unknown.
    """
    is_given = [bool(files), dataset is not None, videos is not None]
    if sum(is_given) != 1:
        actual = "several of them" if sum(is_given) else "none"
        raise UsageError(
            f"name what to extract: --dataset NAME, --videos DIR, or files; got {actual}"
        )
    if dataset is None and (variant is not None or catalog is not None):
        raise UsageError(
            "--variant and --catalog have an effect only with --dataset NAME; give it too"
        )
    labels = labels or LabelArguments()
    labels.make_options()  # checks that they make sense without a label file
    if labels.files and videos is None:
        raise UsageError("--labels needs --videos DIR, the folder of the videos; give it too")
    if dataset is not None:
        entry = find_dataset(dataset, variant, load_catalog(catalog))
        table, located = entry.locate_videos()
        sources = Sources(
            videos=located,
            table=table,
            store_path=store or Path("stores") / entry.full_name,
            dataset=entry.full_name,
            recipe=entry.recipe,
        )
    elif videos is not None:
        if not videos.is_dir():
            raise UsageError(f"--videos expects a folder with one folder per class, got {videos}")
        sources = choose_folder(videos, store or Path("stores") / videos.resolve().name, labels)
    else:
        if store is None:
            raise UsageError("single files need --store DIR, the store to create or to extend")
        sources = Sources(videos=explicit_files(files), store_path=store)
    return sources if subset is None else select_subset(sources, subset)


def choose_folder(videos: Path, store_path: Path, labels: LabelArguments) -> Sources:
    """Find the videos of a folder, with the labels of label files or those of the folders in it.

    Args:
        videos: The folder.
        store_path: Path of the store.
        labels: The label files, if there are any.

    Returns:
        The videos.

    Raises:
        UsageError: An option about labels is wrong.
        AnnotationError: A label file is malformed, or lists none of the videos.
    """
    if not labels.files:
        table, located = folder.scan_folder(videos)
        return Sources(videos=located, table=table, store_path=store_path)
    found = locate_labelled_videos(videos, read_label_files(labels.files, labels.make_options()))
    return Sources(
        videos=found.located,
        table=found.table,
        store_path=store_path,
        missing_subsets=found.missing_subsets,
        report=found.report,
    )


def select_subset(sources: Sources, subset: str) -> Sources:
    """Keep only the videos of one subset, with all annotations.

    Args:
        sources: The videos.
        subset: Name of the subset.

    Returns:
        The videos of the subset.

    Raises:
        UsageError: If no annotation names the subset.
    """
    located = sources.videos
    members = tuple(source for source in located.sources if subset in source.subsets)
    table = sources.table
    annotations = table.annotations if table else ()
    all_subsets = {name for annotation in annotations for name in annotation.subsets}
    all_subsets.update(*sources.missing_subsets.values())
    if subset not in all_subsets:
        names = ", ".join(sorted(all_subsets)) or "none"
        raise UsageError(f"no subset {subset!r}; the annotations have {names}")
    member_ids = {annotation.id for annotation in annotations if subset in annotation.subsets}
    member_ids |= {id for id, names in sources.missing_subsets.items() if subset in names}
    missing = tuple(id for id in located.missing if id in member_ids)
    return replace(sources, videos=replace(located, sources=members, missing=missing))
