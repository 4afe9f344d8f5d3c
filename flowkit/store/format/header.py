"""store.json: what makes a folder a store, and the recipe that its bytes were made by."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowkit.errors import CorruptError, FormatError, RecipeError, StoreError, UsageError
from flowkit.recipe import FEATURES, Recipe
from flowkit.store.format.atomic import disk_errors, sync_folder, write_atomic
from flowkit.store.format.locks import exclusive, make_locks
from flowkit.store.format.schema import FOLDERS, FORMAT, encode_json
from flowkit.version import __version__


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreHeader:
    """The content of store.json; ``created`` is ISO 8601 in UTC."""

    format: int
    dataset: str | None
    recipe: Recipe
    creator: str
    created: str

    def to_json(self) -> bytes:
        """The content of the file."""
        return encode_json(
            {
                "format": self.format,
                "dataset": self.dataset,
                "recipe": self.recipe.to_dict(),
                "creator": self.creator,
                "created": self.created,
            }
        )


def create_or_open(
    root: str | os.PathLike[str], recipe: Recipe, dataset: str | None = None
) -> StoreHeader:
    """Make a store at ``root``, or check that the one there is of this recipe and dataset.

    A recipe with parts for streams that the store has none for adds them. FormatError where the
    folder holds other things or a newer format, RecipeError naming each difference.
    """
    path = Path(root)
    if not (path / "store.json").exists():
        refuse_other_folder(path)
    with exclusive(make_locks(path) / "gate"):
        if (path / "store.json").exists():
            old = read_header(path)
            header = join(path, old, recipe, dataset)
        else:
            old = None
            header = new_header(recipe, dataset)
        with disk_errors(path):
            for folder, streams in FOLDERS.items():
                if any(stream in header.recipe.streams for stream in streams):
                    (path / folder).mkdir(exist_ok=True)
            for name in header.recipe.features:
                (path / FEATURES / name).mkdir(parents=True, exist_ok=True)
                sync_folder(path / FEATURES)
        if header != old:
            write_atomic(path / "store.json", header.to_json())
    return header


def new_header(recipe: Recipe, dataset: str | None) -> StoreHeader:
    """Make the header of a store that is created now, by this version of flowkit."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    creator = f"flowkit {__version__}"
    return StoreHeader(format=FORMAT, dataset=dataset, recipe=recipe, creator=creator, created=now)


def refuse_other_folder(path: Path) -> None:
    """FormatError where ``path`` is a file, or a folder with things that are no store's."""
    if path.exists() and not path.is_dir():
        raise FormatError(f"{path}: expected a store's folder, got a file; name a folder")
    known = {"locks", "store.json.part", *FOLDERS}
    other = (
        sorted(entry.name for entry in path.iterdir() if entry.name not in known)
        if (path.is_dir())
        else []
    )
    if other:
        raise FormatError(
            f"{path}: expected a store or an empty folder, got a folder without store.json that "
            f"holds {other[0]!r}; name another folder"
        )


def join(path: Path, old: StoreHeader, recipe: Recipe, dataset: str | None) -> StoreHeader:
    """The header with the parts that ``recipe`` adds; RecipeError where the two disagree."""
    differences = old.recipe.differences(recipe)
    if differences:
        raise RecipeError(
            f"{path} was made by another recipe (store ≠ wanted): {'; '.join(differences)}; "
            "use the store's values, another name for features (or remove the old ones: flowkit "
            "remove), or another store"
        )
    if dataset is not None and old.dataset is not None and dataset != old.dataset:
        raise RecipeError(
            f"{path}: expected dataset {old.dataset!r}, which the store holds, got {dataset!r}; "
            "use another store"
        )
    return StoreHeader(
        format=old.format,
        dataset=old.dataset,
        recipe=old.recipe.joined(recipe),
        creator=old.creator,
        created=old.created,
    )


def read_header(root: str | os.PathLike[str]) -> StoreHeader:
    """Read store.json; FormatError where there is none or it is newer, CorruptError if broken."""
    path = Path(root) / "store.json"
    try:
        values: Any = json.loads(path.read_bytes())
        found = values["format"]
        if not isinstance(found, int):
            raise TypeError(f"format {found!r}")
    except (FileNotFoundError, NotADirectoryError):
        raise FormatError(
            f"{root}: expected a store, found no store.json; check the path"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(
            f"{path}: expected the JSON of a store ({error!r}); restore it from a copy"
        ) from None
    if found > FORMAT:
        raise FormatError(
            f"{root}: expected a store of format {FORMAT} at most, got {found}; update flowkit"
        )
    try:
        return StoreHeader(
            format=found,
            dataset=values["dataset"],
            recipe=Recipe.from_dict(values["recipe"]),
            creator=values["creator"],
            created=values["created"],
        )
    except (KeyError, TypeError, UsageError) as error:
        raise CorruptError(
            f"{path}: expected the header of a store ({error}); restore it from a copy"
        ) from None
