"""Describe one dataset of the catalogue, and find out how much of it is on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flowkit.annotations import (
    FORMATS,
    AnnotationTable,
    Format,
    ListSettings,
    LocatedVideos,
    has_videos,
    list_videos,
    make_list_format,
)
from flowkit.errors import CatalogError, FlowkitError
from flowkit.path_text import printable_path, text_to_path
from flowkit.recipe import StoreRecipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Presence:
    """Where the files of a dataset are on this machine, and how many of its videos there are."""

    videos: Path | None = None
    """The folder of videos that is used; None if there is none."""
    annotations: Path | None = None
    """The folder of annotations that is used; None if there is none."""
    found: int = 0
    """Number of annotated videos on disk; of all videos on disk if there are no annotations."""
    annotated: int = 0
    """Number of videos that the annotations list."""
    missing: int = 0
    """Number of annotated videos that are not on disk."""
    unannotated: int = 0
    """Number of video files on disk that the annotations do not list."""
    problem: str | None = None
    """Why the dataset cannot be used; None if it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """One entry of the catalogue, or one variant of it."""

    name: str
    """Name of the entry, such as ``kinetics``."""
    title: str
    """Name to show to users."""
    format: str
    """Format of the annotations: a key of ``flowkit.annotations.FORMATS``."""
    videos: tuple[str, ...]
    """Folders that may hold the videos, most preferred first. Relative paths start at the data root
    (see `data_root`).
    """
    annotations: tuple[str, ...] = ()
    """Folders that may hold the annotation files, as for ``videos``."""
    list: ListSettings | None = None
    """What its label files are, for the format ``list``."""
    subsets: tuple[str, ...] = ()
    """Subsets that the official annotations define."""
    homepage: str = ""
    """Web address of the dataset."""
    obtain: str = ""
    """Instructions to obtain the dataset, to show to users."""
    licence: str = ""
    """Licence of the dataset."""
    expected_videos: int = 0
    """Number of videos in the whole dataset."""
    bytes_per_video: int = 0
    """Average size in bytes of one video in a store that is made with ``recipe``."""
    recipe: StoreRecipe
    """Default recipe of its store."""
    variant: str | None = None
    """Name of the variant, such as "600"; None if the entry has no variants."""
    catalog: Path
    """The catalogue file that the entry is in."""

    @property
    def full_name(self) -> str:
        """The name, followed by the variant if there is one: ``kinetics-600``."""
        return f"{self.name}-{self.variant}" if self.variant else self.name

    @property
    def expected_bytes(self) -> int:
        """Approximate size in bytes of a store of the whole dataset."""
        return self.expected_videos * self.bytes_per_video

    def get_format(self) -> Format:
        """Return the functions that read its annotations."""
        return FORMATS[self.format] if self.list is None else make_list_format(self.list)

    def locate_videos(self) -> tuple[AnnotationTable, LocatedVideos]:
        """Read the annotations and match them with the videos on disk.

        Returns:
            The annotations, and the located videos.

        Raises:
            CatalogError: Videos or annotations are not found, where the message lists the folders
                that were searched and says how to obtain the dataset; or a folder cannot be read.
            AnnotationError: An annotation file is malformed.
        """
        root = data_root()
        videos, annotations = self.find_videos_folder(root), self.find_annotations_folder(root)
        problem = self.describe_missing_folders(root, videos, annotations)
        if problem or videos is None:
            start = printable_path(root.absolute())
            raise CatalogError(
                f"dataset {self.full_name}: {problem}. Set FLOWKIT_DATA if they are elsewhere "
                f"(now {start}). To obtain them: {self.obtain or 'unknown.'} "
                f"Homepage: {self.homepage or 'unknown'}"
            )
        return self._match(videos, annotations)

    def detect_presence(self, root: Path | None = None) -> Presence:
        """Find the folders of the dataset and count its videos on disk.

        A malformed file is reported in ``problem`` instead of raising an error.

        Args:
            root: The folder where relative paths start. None means :func:`data_root`.

        Returns:
            The folders that are used, and the counts.
        """
        root = root or data_root()
        presence = Presence()
        try:
            videos = self.find_videos_folder(root)
            presence = Presence(videos=videos)
            annotations = self.find_annotations_folder(root)
            problem = self.describe_missing_folders(root, videos, annotations)
            presence = Presence(videos=videos, annotations=annotations, problem=problem)
            if problem is None and videos is not None:
                table, located = self._match(videos, annotations)
                return replace(
                    presence, found=len(located.sources), annotated=len(table.annotations),
                    missing=len(located.missing), unannotated=len(located.unannotated),
                )  # fmt: skip
            found = len(list_videos(videos)) if videos else 0
            table = self._read_table(annotations) if annotations else AnnotationTable((), ())
            annotated = len(table.annotations)
            return replace(presence, found=found, annotated=annotated, missing=annotated)
        except FlowkitError as error:
            return replace(presence, problem=str(error))

    def describe(self) -> dict[str, Any]:
        """Describe the dataset and its presence on this machine.

        Returns:
            JSON values by name.
        """
        presence = asdict(self.detect_presence())
        for key in ("videos", "annotations"):
            presence[key] = str(presence[key]) if presence[key] else None
        names = ("subsets", "homepage", "obtain", "licence", "expected_videos", "expected_bytes")
        return {
            **{name: getattr(self, name) for name in ("name", "variant", "title")},
            **presence,
            "looked_in": format_paths(resolve_folders(data_root(), self.videos)),
            **{name: getattr(self, name) for name in names},
        }

    def find_videos_folder(self, root: Path) -> Path | None:
        """Return the first of the folders ``videos`` that has videos; None if none has."""
        with convert_read_errors():
            return next(filter(has_videos, resolve_folders(root, self.videos)), None)

    def find_annotations_folder(self, root: Path) -> Path | None:
        """Return the first of the folders ``annotations`` that has annotation files, or None."""
        find_files = self.get_format().find_files
        folders = resolve_folders(root, self.annotations)
        with convert_read_errors():
            return next((f for f in folders if f.is_dir() and find_files(f, self.variant)), None)

    def describe_missing_folders(
        self, root: Path, videos: Path | None, annotations: Path | None
    ) -> str | None:
        """Describe which folders were not found, and where they were searched for.

        Args:
            root: The folder where relative paths start.
            videos: The folder of videos; None if it was not found.
            annotations: The folder of annotations; None if it was not found.

        Returns:
            A phrase for an error message; None if nothing is missing.
        """
        missing = []
        if videos is None:
            missing.append(f"no videos in {format_paths(resolve_folders(root, self.videos))}")
        if annotations is None and self.get_format().has_files:
            missing.append(
                f"no annotations in {format_paths(resolve_folders(root, self.annotations))}"
            )
        return " and ".join(missing) or None

    def _read_table(self, folder: Path) -> AnnotationTable:
        return self.get_format().read_table(folder, self.variant)

    def _match(
        self, videos: Path, annotations: Path | None
    ) -> tuple[AnnotationTable, LocatedVideos]:
        table = self._read_table(annotations or videos)
        return table, self.get_format().locate_videos(videos, table)


@contextmanager
def convert_read_errors() -> Iterator[None]:
    """Convert an OSError in the context into a CatalogError that names the folder."""
    try:
        yield
    except OSError as error:
        folder = printable_path(error.filename or "a folder")
        raise CatalogError(
            f"cannot read {folder}: {error.strerror}; check its permissions"
        ) from None


def data_root() -> Path:
    """Return the folder where the relative paths of the catalogue start.

    Returns:
        ``$FLOWKIT_DATA`` if it is set, else ``data``.
    """
    return expand_user(os.environ.get("FLOWKIT_DATA") or "data")


def resolve_folders(root: Path, names: tuple[str, ...]) -> list[Path]:
    """Return ``names`` as paths relative to ``root``; absolute paths and ``~`` are kept."""
    return [root / expand_user(text_to_path(name)) for name in names]


def expand_user(path: str | os.PathLike[str]) -> Path:
    """Replace ``~`` by the home folder; ``~name`` stays as it is if there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises)


def format_paths(paths: list[Path]) -> str:
    """Format paths as a list for messages."""
    return ", ".join(map(printable_path, paths)) or "(the entry has no folder)"
