"""The catalogue: ``datasets.yaml`` as frozen dataclasses, and where its datasets lie on disk."""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from flowkit.annotations import FORMATS, AnnotationTable, Located, holds_videos, walk_videos
from flowkit.errors import CatalogError, FlowkitError, UsageError
from flowkit.path_text import printable_path, text_to_path
from flowkit.recipe import Recipe

FILE_NAME = "datasets.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Presence:
    """What of a dataset is on this machine.

    ``videos`` and ``annotations`` are the folders that were taken, None where there is none.
    ``found`` counts annotated videos on disk (all videos, where there are no annotations),
    ``annotated`` the videos that the annotations name, ``missing`` those of them that are absent,
    ``unannotated`` the files that no annotation names. ``problem`` is None, or why the dataset
    cannot be used.
    """

    videos: Path | None = None
    annotations: Path | None = None
    found: int = 0
    annotated: int = 0
    missing: int = 0
    unannotated: int = 0
    problem: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """One entry of the catalogue, or one variant of it. ``datasets.yaml`` explains the fields."""

    name: str
    title: str
    format: str
    videos: tuple[str, ...]
    annotations: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    homepage: str = ""
    obtain: str = ""
    licence: str = ""
    expected_videos: int = 0
    bytes_per_video: int = 0
    recipe: Recipe
    variant: str | None = None
    catalog: Path

    @property
    def full_name(self) -> str:
        """The name, with the variant if there is one: ``kinetics-600``."""
        return f"{self.name}-{self.variant}" if self.variant else self.name

    @property
    def expected_bytes(self) -> int:
        """Roughly what a store of the whole dataset takes, in bytes."""
        return self.expected_videos * self.bytes_per_video

    def locate(self, root: Path | None = None) -> tuple[AnnotationTable, Located]:
        """Read the annotations and match them with the videos on disk.

        ``root`` is the folder that relative places are below (default: :func:`data_root`).
        Raises CatalogError where videos or annotations are not found (naming the places and
        how to obtain them), AnnotationError for a malformed file, UsageError for two files
        with one id.
        """
        root = root or data_root()
        videos, annotations = self.videos_folder(root), self.annotations_folder(root)
        absent = self.absent(root, videos, annotations)
        if absent or videos is None:
            raise CatalogError(
                f"dataset {self.full_name}: {absent}. Set FLOWKIT_DATA if they are elsewhere "
                f"(it is {root.absolute()}). To obtain them: {self.obtain or 'unknown.'} "
                f"Homepage: {self.homepage or 'unknown'}"
            )
        reader = FORMATS[self.format]
        table = reader.read_table(annotations or videos, self.variant)
        return table, reader.locate_videos(videos, table)

    def presence(self, root: Path | None = None) -> Presence:
        """Count what is on disk; a malformed file is reported in ``problem``, not raised."""
        root = root or data_root()
        videos: Path | None = None
        annotations: Path | None = None
        try:
            videos, annotations = self.videos_folder(root), self.annotations_folder(root)
            problem = self.absent(root, videos, annotations)
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
        """What people want to know of the dataset, and its presence, as JSON values."""
        root = root or data_root()
        presence = asdict(self.presence(root))
        for key in ("videos", "annotations"):
            presence[key] = str(presence[key]) if presence[key] else None
        return {
            "name": self.name,
            "variant": self.variant,
            "title": self.title,
            **presence,
            "looked_in": listed(places(root, self.videos)),
            "subsets": list(self.subsets),
            "homepage": self.homepage,
            "obtain": self.obtain,
            "licence": self.licence,
            "expected_videos": self.expected_videos,
            "expected_bytes": self.expected_bytes,
        }

    def videos_folder(self, root: Path) -> Path | None:
        """The first place that holds videos."""
        return next((place for place in places(root, self.videos) if holds_videos(place)), None)

    def annotations_folder(self, root: Path) -> Path | None:
        """The first place that holds annotation files of this dataset."""
        reader = FORMATS[self.format]
        found = (
            place
            for place in places(root, self.annotations)
            if place.is_dir() and reader.find_files(place, self.variant)
        )
        return next(found, None)

    def absent(self, root: Path, videos: Path | None, annotations: Path | None) -> str | None:
        """What is not there and where it was looked for; None if nothing is absent."""
        absent = []
        if videos is None:
            absent.append(f"no videos in {listed(places(root, self.videos))}")
        if annotations is None and FORMATS[self.format].has_files:
            absent.append(f"no annotations in {listed(places(root, self.annotations))}")
        return " and ".join(absent) or None


def data_root() -> Path:
    """The folder that the catalogue's places are below: ``$FLOWKIT_DATA``, or ``data``."""
    return Path(os.environ.get("FLOWKIT_DATA") or "data").expanduser()


def places(root: Path, names: tuple[str, ...]) -> list[Path]:
    """``names`` below ``root``; absolute ones and ``~`` as they are."""
    return [root / text_to_path(name).expanduser() for name in names]


def listed(paths: list[Path]) -> str:
    """Paths in words, for messages."""
    return ", ".join(map(printable_path, paths)) or "(the entry names no place)"


def catalog_path(path: Path | None) -> Path:
    """The catalogue to read: ``path``, else ``./datasets.yaml``, else flowkit's own."""
    if path is not None:
        return path
    package = Path(__file__).parent
    # In a wheel the file lies in the package; in a checkout, beside it.
    for candidate in (Path(FILE_NAME), package / FILE_NAME, package.parent / FILE_NAME):
        if candidate.is_file():
            return candidate
    raise CatalogError(f"flowkit's own {FILE_NAME} is not at {package}; install flowkit again")


def load_catalog(path: Path | None = None) -> dict[str, Dataset]:
    """All datasets by full name (``kinetics``'s variants as ``kinetics-400``, …), in file order.

    Raises CatalogError, naming file, entry and key, for anything that is not as it should be.
    """
    path = catalog_path(path)
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
    """A safe loader that refuses a key given twice, instead of keeping the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; raises a YAML error that names a repeated key and its place."""
        keys: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.MarkedYAMLError(problem=f"{key!r} twice", problem_mark=node.start_mark)
            keys.add(key)
        return super().construct_mapping(node, deep)


def read_entry(path: Path, name: str, entry: Any) -> list[Dataset]:
    """The datasets of one entry: itself, and its variants."""
    where = f"{path}: {name}"
    values = checked_mapping(where, entry, "an entry")
    variants = checked_mapping(f"{where}: variants", values.pop("variants", {}), "variants")
    if variants and "variant" not in values:
        raise CatalogError(f"{where}: an entry with variants needs 'variant', its own name")
    datasets = [build(where, path, name, values)]
    for variant, changes in variants.items():
        place = f"{where}: variants: {variant}"
        changed = values | checked_mapping(place, changes, "a variant") | {"variant": variant}
        datasets.append(build(place, path, name, changed))
    return datasets


def build(where: str, path: Path, name: str, values: Mapping[str, Any]) -> Dataset:
    """One Dataset from its keys, each checked."""
    own = {field.name: field for field in fields(Dataset) if field.name not in ("name", "catalog")}
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in own:
            raise CatalogError(f"{where}: unknown key {key!r}{suggestion(key, [*own, 'variants'])}")
        checked[key] = check_value(f"{where}: {key}", own[key].type, value)
    absent = [key for key, f in own.items() if f.default is MISSING and key not in checked]
    if absent:
        raise CatalogError(f"{where}: the key {absent[0]!r} is required")
    if checked["format"] not in FORMATS:
        nearest = suggestion(checked["format"], FORMATS)
        raise CatalogError(f"{where}: format: unknown format {checked['format']!r}{nearest}")
    return Dataset(name=name, catalog=path, **checked)


def check_value(where: str, kind: Any, value: Any) -> Any:
    """``value`` as the field's type, or CatalogError."""
    if kind is Recipe:
        try:
            return Recipe.from_dict(checked_mapping(where, value, "a recipe"))
        except (UsageError, TypeError) as error:
            raise CatalogError(f"{where}: {error}") from error
    if kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise CatalogError(f"{where}: expected a list of texts, got {value!r}")
        return tuple(value)
    if kind is int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise CatalogError(f"{where}: expected a whole number, got {value!r}")
    elif not isinstance(value, str):
        raise CatalogError(f"{where}: expected a text, got {value!r}; put a number in quotes")
    return value


def checked_mapping(where: str, value: Any, what: str) -> dict[str, Any]:
    """A copy of ``value``, or CatalogError if it is no mapping with texts as keys."""
    if not isinstance(value, dict):
        raise CatalogError(f"{where}: expected {what} as a mapping, got {value!r}")
    for key in value:
        if not isinstance(key, str):
            raise CatalogError(f"{where}: key {key!r} must be a text; put it in quotes")
    return dict(value)


def suggestion(name: str, known: Any) -> str:
    """What was probably meant, and what there is, as the end of a message."""
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"; {hint}known: {', '.join(known)}"


def find_dataset(
    name: str, variant: str | None = None, catalog: Mapping[str, Dataset] | None = None
) -> Dataset:
    """The dataset called ``name`` (and ``variant``), from ``catalog`` or :func:`load_catalog`.

    ``kinetics`` is its own variant, 400; ``kinetics-600``, ``kinetics600`` and
    ("kinetics", "600") are one. Raises UsageError with the nearest name.
    """
    catalog = load_catalog() if catalog is None else catalog
    own = (dataset for dataset in catalog.values() if dataset.name == name)
    first = next(own, None)
    wanted = f"{name}-{variant}" if variant else first.full_name if first else name
    squeezed = {squeeze(full_name): full_name for full_name in catalog}
    full_name = wanted if wanted in catalog else squeezed.get(squeeze(wanted))
    if full_name is None:
        source = next(iter(catalog.values())).catalog if catalog else FILE_NAME
        raise UsageError(f"no dataset {wanted!r} in {source}{suggestion(wanted, catalog)}")
    return catalog[full_name]


def squeeze(name: str) -> str:
    """A name without regard to case and separators."""
    return re.sub(r"[-_ ]", "", name).lower()


__all__ = [
    "Dataset",
    "Presence",
    "data_root",
    "find_dataset",
    "load_catalog",
]
