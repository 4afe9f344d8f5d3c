"""Read the catalogue ``datasets.yaml`` into frozen dataclasses, and find its datasets on disk."""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from flowkit.annotations import FORMATS, AnnotationTable, LocatedVideos, holds_videos, walk_videos
from flowkit.errors import CatalogError, FlowkitError, UsageError
from flowkit.path_text import printable_path, text_to_path
from flowkit.recipe import Recipe

FILE_NAME = "datasets.yaml"
"""Name of the catalogue file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Presence:
    """What is on this machine of a dataset."""

    videos: Path | None = None
    """The folder of videos that is used; None if there is none."""
    annotations: Path | None = None
    """The folder of annotations that is used; None if there is none."""
    found: int = 0
    """Annotated videos on disk; all videos if there are no annotations."""
    annotated: int = 0
    """Videos that the annotations name."""
    missing: int = 0
    """Annotated videos that are not on disk."""
    unannotated: int = 0
    """Files on disk that no annotation names."""
    problem: str | None = None
    """Why the dataset cannot be used; None if it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """One entry of the catalogue, or one variant of it."""

    name: str
    """Name of the entry, such as ``kinetics``."""
    title: str
    """Name for people."""
    format: str
    """Format of the annotations: a key of ``flowkit.annotations.FORMATS``."""
    videos: tuple[str, ...]
    """Folders that may hold the videos, most preferred first; relative ones are below the data
    root.
    """
    annotations: tuple[str, ...] = ()
    """Folders that may hold the annotation files, likewise."""
    subsets: tuple[str, ...] = ()
    """Subsets that the official annotations define."""
    homepage: str = ""
    """Web address of the dataset."""
    obtain: str = ""
    """How to obtain the dataset, for people."""
    licence: str = ""
    """Licence of the dataset."""
    expected_videos: int = 0
    """Number of videos in the whole dataset."""
    bytes_per_video: int = 0
    """Average bytes of one video in a store that is made with ``recipe``."""
    recipe: Recipe
    """Default recipe of its store."""
    variant: str | None = None
    """Name of the variant, such as "600"; None if the entry has no variants."""
    catalog: Path
    """The file that the entry comes from."""

    @property
    def full_name(self) -> str:
        """The name, followed by the variant if there is one: ``kinetics-600``."""
        return f"{self.name}-{self.variant}" if self.variant else self.name

    @property
    def expected_bytes(self) -> int:
        """Approximate size in bytes of a store of the whole dataset."""
        return self.expected_videos * self.bytes_per_video

    def locate_videos(self, root: Path | None = None) -> tuple[AnnotationTable, LocatedVideos]:
        """Read the annotations and match them with the videos on disk.

        Args:
            root: The folder that relative folders are below. None means :func:`data_root`.

        Returns:
            The annotations, and the located videos.

        Raises:
            CatalogError: Videos or annotations are not found; the message names the folders that
                were searched and how to obtain the dataset.
            AnnotationError: An annotation file is malformed.
        """
        root = root or data_root()
        videos, annotations = self.find_videos_folder(root), self.find_annotations_folder(root)
        problem = self.describe_missing_folders(root, videos, annotations)
        if problem or videos is None:
            raise CatalogError(
                f"dataset {self.full_name}: {problem}. Set FLOWKIT_DATA if they are elsewhere "
                f"(it is {root.absolute()}). To obtain them: {self.obtain or 'unknown.'} "
                f"Homepage: {self.homepage or 'unknown'}"
            )
        reader = FORMATS[self.format]
        table = reader.read_table(annotations or videos, self.variant)
        return table, reader.locate_videos(videos, table)

    def detect_presence(self, root: Path | None = None) -> Presence:
        """Count what is on disk; a malformed file is reported in ``problem``, not raised.

        Args:
            root: The folder that relative folders are below. None means :func:`data_root`.

        Returns:
            The folders that are used, and the counts.
        """
        root = root or data_root()
        videos: Path | None = None
        annotations: Path | None = None
        try:
            videos, annotations = self.find_videos_folder(root), self.find_annotations_folder(root)
            problem = self.describe_missing_folders(root, videos, annotations)
            reader = FORMATS[self.format]
            if problem is None and videos is not None:
                table = reader.read_table(annotations or videos, self.variant)
                located = reader.locate_videos(videos, table)
                return Presence(
                    videos=videos,
                    annotations=annotations,
                    found=len(located.sources),
                    annotated=len(table.annotations),
                    missing=len(located.missing),
                    unannotated=len(located.unannotated),
                )
            annotated = (
                len(reader.read_table(annotations, self.variant).annotations) if annotations else 0
            )
            return Presence(
                videos=videos,
                annotations=annotations,
                found=len(walk_videos(videos)) if videos else 0,
                annotated=annotated,
                missing=annotated,
                problem=problem,
            )
        except FlowkitError as error:
            return Presence(videos=videos, annotations=annotations, problem=str(error))

    def describe(self, root: Path | None = None) -> dict[str, Any]:
        """Describe the dataset and its presence on this machine.

        Args:
            root: The folder that relative folders are below. None means :func:`data_root`.

        Returns:
            JSON values by name.
        """
        root = root or data_root()
        presence_values = asdict(self.detect_presence(root))
        for key in ("videos", "annotations"):
            presence_values[key] = str(presence_values[key]) if presence_values[key] else None
        return {
            "name": self.name,
            "variant": self.variant,
            "title": self.title,
            **presence_values,
            "looked_in": format_paths(resolve_folders(root, self.videos)),
            "subsets": list(self.subsets),
            "homepage": self.homepage,
            "obtain": self.obtain,
            "licence": self.licence,
            "expected_videos": self.expected_videos,
            "expected_bytes": self.expected_bytes,
        }

    def find_videos_folder(self, root: Path) -> Path | None:
        """Return the first candidate folder that holds videos; None if none does."""
        return next(
            (folder for folder in resolve_folders(root, self.videos) if holds_videos(folder)), None
        )

    def find_annotations_folder(self, root: Path) -> Path | None:
        """Return the first candidate folder that holds annotation files of this dataset."""
        reader = FORMATS[self.format]
        matches = (
            folder
            for folder in resolve_folders(root, self.annotations)
            if folder.is_dir() and reader.find_files(folder, self.variant)
        )
        return next(matches, None)

    def describe_missing_folders(
        self, root: Path, videos: Path | None, annotations: Path | None
    ) -> str | None:
        """Describe what is missing and where it was searched for.

        Args:
            root: The folder that relative folders are below.
            videos: The folder of videos; None if it was not found.
            annotations: The folder of annotations; None if it was not found.

        Returns:
            A phrase for an error message; None if nothing is missing.
        """
        missing = []
        if videos is None:
            missing.append(f"no videos in {format_paths(resolve_folders(root, self.videos))}")
        if annotations is None and FORMATS[self.format].has_files:
            missing.append(
                f"no annotations in {format_paths(resolve_folders(root, self.annotations))}"
            )
        return " and ".join(missing) or None


def data_root() -> Path:
    """Return the folder that relative folders of the catalogue are below.

    Returns:
        ``$FLOWKIT_DATA`` if it is set, else ``data``.
    """
    return Path(os.environ.get("FLOWKIT_DATA") or "data").expanduser()


def resolve_folders(root: Path, names: tuple[str, ...]) -> list[Path]:
    """Return ``names`` as paths below ``root``; absolute paths and ``~`` are kept."""
    return [root / text_to_path(name).expanduser() for name in names]


def format_paths(paths: list[Path]) -> str:
    """Format paths as a list for messages."""
    return ", ".join(map(printable_path, paths)) or "(the entry names no folder)"


def find_catalog(path: Path | None) -> Path:
    """Find the catalogue to read.

    Args:
        path: The file that the user named, or None.

    Returns:
        ``path`` if it is given, else ``./datasets.yaml`` if it exists, else flowkit's own
        catalogue.

    Raises:
        CatalogError: flowkit's own catalogue is missing.
    """
    if path is not None:
        return path
    package = Path(__file__).parent
    # In a wheel the file lies in the package; in a checkout, beside it.
    for candidate in (Path(FILE_NAME), package / FILE_NAME, package.parent / FILE_NAME):
        if candidate.is_file():
            return candidate
    raise CatalogError(f"flowkit's own {FILE_NAME} is not at {package}; install flowkit again")


def load_catalog(path: Path | None = None) -> dict[str, Dataset]:
    """Load all datasets of a catalogue.

    Args:
        path: The catalogue. None means ``./datasets.yaml`` if it exists, else flowkit's own.

    Returns:
        The datasets by full name (the variants of ``kinetics`` as ``kinetics-400``, …), in the
        order of the file.

    Raises:
        CatalogError: The catalogue is malformed; the message names the file, the entry and the key.
    """
    path = find_catalog(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"cannot read the catalogue {path}: {error}; check the path") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise CatalogError(f"{path} is not valid YAML: {reason}") from error
    if not isinstance(content, dict) or not content:
        raise CatalogError(f"{path}: expected a mapping of dataset names to entries")
    datasets: dict[str, Dataset] = {}
    for name, entry in content.items():
        if not isinstance(name, str):
            raise CatalogError(f"{path}: entry {name!r}: expected a name; put it in quotes")
        for dataset in read_entry(path, name, entry):
            if datasets.setdefault(dataset.full_name, dataset) is not dataset:
                raise CatalogError(f"{path}: {dataset.full_name} is described twice")
    return datasets


class UniqueKeys(yaml.SafeLoader):
    """A safe YAML loader that rejects a key given twice, instead of keeping the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping.

        Args:
            node: The YAML node.
            deep: Whether to construct nested values at once.

        Returns:
            The mapping.

        Raises:
            yaml.MarkedYAMLError: A key is repeated; the error says where.
        """
        keys: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.MarkedYAMLError(problem=f"{key!r} twice", problem_mark=node.start_mark)
            keys.add(key)
        return super().construct_mapping(node, deep)


def read_entry(path: Path, name: str, entry: Any) -> list[Dataset]:
    """Read the datasets of one entry: the entry itself, and its variants.

    Args:
        path: The catalogue, for error messages.
        name: Name of the entry.
        entry: Its value in the YAML file.

    Returns:
        The datasets.

    Raises:
        CatalogError: The entry is malformed.
    """
    where = f"{path}: {name}"
    values = check_mapping(where, entry, "an entry")
    variants = check_mapping(f"{where}: variants", values.pop("variants", {}), "variants")
    if variants and "variant" not in values:
        raise CatalogError(f"{where}: an entry with variants needs 'variant', its own name")
    datasets = [build_dataset(where, path, name, values)]
    for variant, changes in variants.items():
        variant_where = f"{where}: variants: {variant}"
        changed = values | check_mapping(variant_where, changes, "a variant") | {"variant": variant}
        datasets.append(build_dataset(variant_where, path, name, changed))
    return datasets


def build_dataset(where: str, path: Path, name: str, values: Mapping[str, Any]) -> Dataset:
    """Build one dataset from the keys of its entry, and check each of them.

    Args:
        where: File and entry, for error messages.
        path: The catalogue.
        name: Name of the entry.
        values: Values by key.

    Returns:
        The dataset.

    Raises:
        CatalogError: A key is unknown or missing, or a value has the wrong type.
    """
    known_keys = {
        field.name: field for field in fields(Dataset) if field.name not in ("name", "catalog")
    }
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known_keys:
            raise CatalogError(
                f"{where}: unknown key {key!r}{format_suggestion(key, [*known_keys, 'variants'])}"
            )
        checked[key] = check_value(f"{where}: {key}", known_keys[key].type, value)
    missing = [key for key, f in known_keys.items() if f.default is MISSING and key not in checked]
    if missing:
        raise CatalogError(f"{where}: the key {missing[0]!r} is required")
    if checked["format"] not in FORMATS:
        nearest = format_suggestion(checked["format"], FORMATS)
        raise CatalogError(f"{where}: format: unknown format {checked['format']!r}{nearest}")
    return Dataset(name=name, catalog=path, **checked)


def check_value(where: str, expected_type: Any, value: Any) -> Any:
    """Check a value against the type of its field, and convert it.

    Args:
        where: File, entry and key, for error messages.
        expected_type: Type of the field.
        value: The value in the YAML file.

    Returns:
        The value as the field's type.

    Raises:
        CatalogError: The value has another type.
    """
    if expected_type is Recipe:
        try:
            return Recipe.from_dict(check_mapping(where, value, "a recipe"))
        except (UsageError, TypeError) as error:
            raise CatalogError(f"{where}: {error}") from error
    if expected_type == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise CatalogError(f"{where}: expected a list of texts, got {value!r}")
        return tuple(value)
    if expected_type is int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise CatalogError(f"{where}: expected a whole number, got {value!r}")
    elif not isinstance(value, str):
        raise CatalogError(f"{where}: expected a text, got {value!r}; put a number in quotes")
    return value


def check_mapping(where: str, value: Any, description: str) -> dict[str, Any]:
    """Check that a value is a mapping with text keys.

    Args:
        where: File and entry, for error messages.
        value: The value in the YAML file.
        description: What the value should be, for error messages.

    Returns:
        A copy of the mapping.

    Raises:
        CatalogError: The value is not a mapping, or a key is not a text.
    """
    if not isinstance(value, dict):
        raise CatalogError(f"{where}: expected {description} as a mapping, got {value!r}")
    for key in value:
        if not isinstance(key, str):
            raise CatalogError(f"{where}: key {key!r} must be a text; put it in quotes")
    return dict(value)


def format_suggestion(name: str, known: Any) -> str:
    """Format the end of an error message: the most similar known name, and all known names.

    Args:
        name: The unknown name.
        known: The known names.

    Returns:
        The text, which begins with a semicolon.
    """
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"; {hint}known: {', '.join(known)}"


def find_dataset(
    name: str, variant: str | None = None, catalog: Mapping[str, Dataset] | None = None
) -> Dataset:
    """Find a dataset by name.

    ``kinetics`` means its own variant, 400. ``kinetics-600``, ``kinetics600`` and ("kinetics",
    "600") are the same dataset.

    Args:
        name: Name of the dataset, with or without the variant.
        variant: The variant, or None.
        catalog: Datasets by full name. None means :func:`load_catalog`.

    Returns:
        The dataset.

    Raises:
        UsageError: There is no such dataset; the message suggests the most similar name.
    """
    catalog = load_catalog() if catalog is None else catalog
    variants = (dataset for dataset in catalog.values() if dataset.name == name)
    first = next(variants, None)
    wanted = f"{name}-{variant}" if variant else first.full_name if first else name
    names_by_normal_form = {normalize_name(full_name): full_name for full_name in catalog}
    full_name = wanted if wanted in catalog else names_by_normal_form.get(normalize_name(wanted))
    if full_name is None:
        source = next(iter(catalog.values())).catalog if catalog else FILE_NAME
        raise UsageError(f"no dataset {wanted!r} in {source}{format_suggestion(wanted, catalog)}")
    return catalog[full_name]


def normalize_name(name: str) -> str:
    """Return a name in lower case and without separators, for comparisons."""
    return re.sub(r"[-_ ]", "", name).lower()


__all__ = [
    "Dataset",
    "Presence",
    "data_root",
    "find_dataset",
    "load_catalog",
]
