"""Choose what `flowkit extract` extracts: a dataset, a folder of classes, files, or a store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flowkit.annotations import (
    AnnotationTable,
    LocatedVideos,
    explicit_files,
    folder,
    list_videos,
)
from flowkit.annotations.label_files import (
    LabelOptions,
    locate_labelled_videos,
    parse_columns,
    read_label_files,
)
from flowkit.catalog import find_dataset, load_catalog
from flowkit.errors import StoreError, UsageError
from flowkit.frame_files import holds_images
from flowkit.path_text import printable_path, text_to_path
from flowkit.recipe import StoreRecipe


@dataclass(frozen=True, kw_only=True)
class ChosenVideos:
    """The videos to extract, their annotations, and the path of their store."""

    videos: LocatedVideos
    """The video files that were found, and the ids of those that are missing."""
    store_path: Path
    """Path of the store."""
    table: AnnotationTable | None = None
    """Annotations of the videos, if there are any."""
    dataset: str | None = None
    """Name of the dataset, if it is one of the catalogue."""
    recipe: StoreRecipe | None = None
    """Recipe of the dataset, if the catalogue has one."""
    subsets_by_missing_id: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
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


@dataclass(frozen=True, kw_only=True)
class SourceArguments:
    """The values of the arguments and options of `flowkit extract` that name the videos."""

    files: tuple[Path, ...] = ()
    """Video files and folders."""
    dataset: str | None = None
    """Value of --dataset."""
    variant: str | None = None
    """Value of --variant."""
    catalog: Path | None = None
    """Value of --catalog."""
    videos: Path | None = None
    """Value of --videos."""
    frames: Path | None = None
    """Value of --frames."""
    from_store: Path | None = None
    """Value of --from-store."""
    labels: LabelArguments = LabelArguments()
    """Values of --labels and the options that describe the label file."""
    subset: str | None = None
    """Value of --subset."""
    store: Path | None = None
    """Value of --store. Default: a folder in ``stores`` with the name of the dataset."""

    def check(self) -> None:
        """Check that the options do not exclude each other.

        Raises:
            UsageError: If not exactly one of files, --dataset, --videos, --frames and --from-store
                is given, or an option has no effect.
        """
        others = (self.dataset, self.videos, self.frames, self.from_store)
        is_given = [bool(self.files), *(option is not None for option in others)]
        if sum(is_given) != 1:
            expected = "--dataset NAME, --videos DIR, --frames DIR, --from-store S, or files"
            actual = "several of them" if sum(is_given) else "none"
            raise UsageError(f"name what to extract: {expected}; got {actual}")
        if self.dataset is None and (self.variant is not None or self.catalog is not None):
            raise UsageError(
                "--variant and --catalog have an effect only with --dataset NAME; give it too"
            )
        if self.labels.files and self.videos is None and self.frames is None:
            raise UsageError(
                "--labels needs --videos DIR or --frames DIR, the folder of the videos; give it too"
            )
        if self.files and self.store is None:
            raise UsageError("single files need --store DIR, the store to create or to extend")


def choose_sources(arguments: SourceArguments) -> ChosenVideos:
    """Find the videos that the options of `flowkit extract` name.

    Args:
        arguments: The arguments and options.

    Returns:
        The videos.

    Raises:
        UsageError: If options exclude each other, or the subset is unknown.
    """
    label_options = arguments.labels.make_options()
    arguments.check()
    if arguments.dataset is not None:
        chosen = locate_dataset(arguments)
    elif arguments.videos is not None or arguments.frames is not None:
        chosen = scan_sources(arguments, label_options)
    elif arguments.from_store is not None:
        chosen = choose_stored_videos(arguments.from_store, arguments.store)
    else:
        assert arguments.store is not None  # see `SourceArguments.check`
        chosen = ChosenVideos(videos=explicit_files(arguments.files), store_path=arguments.store)
    return chosen if arguments.subset is None else select_subset(chosen, arguments.subset)


def locate_dataset(arguments: SourceArguments) -> ChosenVideos:
    """Find the videos of a dataset of the catalogue."""
    assert arguments.dataset is not None
    catalog = load_catalog(arguments.catalog)
    entry = find_dataset(arguments.dataset, arguments.variant, catalog)
    table, located = entry.locate_videos()
    return ChosenVideos(
        videos=located,
        table=table,
        store_path=arguments.store or Path("stores") / entry.full_name,
        dataset=entry.full_name,
        recipe=entry.recipe,
    )


def scan_sources(arguments: SourceArguments, label_options: LabelOptions) -> ChosenVideos:
    """Find the videos below the folder of --videos or --frames, and their labels.

    Args:
        arguments: The arguments and options.
        label_options: How the label files are read.

    Raises:
        UsageError: If there is no such folder, or it is itself the folder of the frames.
    """
    option, root = ("--videos", arguments.videos)
    if root is None:
        option, root = ("--frames", arguments.frames)
    if root is None or not root.is_dir():
        problem = "this is a file" if root and root.exists() else "there is none; check the path"
        raise UsageError(f"{option} {root}: expected a folder with videos, but {problem}")
    store_path = arguments.store or Path("stores") / root.resolve().name
    paths = list_videos(root, frames_only=arguments.frames is not None)
    if not paths and holds_images(root):
        raise UsageError(
            f"{root} holds the images of one video, and {option} expects the folder above it; a "
            f"store can be made of this video alone: flowkit extract {root} --store S"
        )
    if not paths:
        raise UsageError(f"no videos below {root}; name a folder with videos, or folders of images")
    if arguments.labels.files:
        listing = read_label_files(arguments.labels.files, label_options)
        found = locate_labelled_videos(root, listing, paths=paths)
        return ChosenVideos(
            videos=found.located, table=found.table, store_path=store_path,
            subsets_by_missing_id=found.subsets_by_missing_id, report=found.report,
        )  # fmt: skip
    table, located = folder.scan_folder(root, paths)
    return ChosenVideos(videos=located, table=table, store_path=store_path)


def check_default_store(path: Path, root: Path) -> None:
    """Check that the default store of a folder of videos has no videos of another folder.

    Args:
        path: The default store, ``stores/<name of the folder>``, which need not exist.
        root: The folder.

    Raises:
        UsageError: It has.
    """
    from flowkit.store import Store

    try:
        store = Store(path)
        source = store[0].source if len(store) else None
    except StoreError:  # there is none yet, or the extraction recovers it, or says what is wrong
        return
    folder = printable_path(root.resolve())
    parents = () if source is None else text_to_path(source).parents
    if parents and all(printable_path(parent.resolve()) != folder for parent in parents):
        raise UsageError(
            f"{path} has videos of another folder, such as {source}; name a store for those of "
            f"{root} with --store, or add them to this one with --store {path}"
        )


def choose_stored_videos(from_store: Path, store: Path | None) -> ChosenVideos:
    """List the videos of a store, to compute their flow from stored RGB.

    Args:
        from_store: Value of --from-store.
        store: Value of --store.

    Raises:
        UsageError: If --store names another store.
    """
    from flowkit.extraction import locate_stored_videos
    from flowkit.store.annotations import read_annotations
    from flowkit.store.remote.mirror import find_store_folder

    if store is not None and store.resolve() != from_store.resolve():
        raise UsageError(
            "--from-store adds flow to the store that has the RGB; leave out --store, or copy the "
            "store first"
        )
    located = locate_stored_videos(from_store)
    table = read_annotations(find_store_folder(from_store, complete=True))
    return ChosenVideos(videos=located, table=table, store_path=from_store)


def select_subset(chosen: ChosenVideos, subset: str) -> ChosenVideos:
    """Keep only the videos of one subset, with all annotations.

    Args:
        chosen: The videos.
        subset: Name of the subset.

    Returns:
        The videos of the subset.

    Raises:
        UsageError: If no annotation names the subset.
    """
    located = chosen.videos
    members = tuple(source for source in located.sources if subset in source.subsets)
    table = chosen.table
    annotations = table.annotations if table else ()
    all_subsets = {name for annotation in annotations for name in annotation.subsets}
    all_subsets.update(*chosen.subsets_by_missing_id.values())
    if subset not in all_subsets:
        names = ", ".join(sorted(all_subsets)) or "none"
        raise UsageError(f"no subset {subset!r}; the annotations have {names}")
    member_ids = {annotation.id for annotation in annotations if subset in annotation.subsets}
    member_ids |= {id for id, names in chosen.subsets_by_missing_id.items() if subset in names}
    missing = tuple(id for id in located.missing if id in member_ids)
    return replace(chosen, videos=replace(located, sources=members, missing=missing))
