"""Create and read ``store.json``, which makes a folder a store and holds its recipe."""

import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowkit.errors import CorruptError, FormatError, RecipeError, StoreError, UsageError
from flowkit.recipe import FEATURES, StoreRecipe
from flowkit.store.format.atomic import convert_disk_errors, sync_folder, write_atomic
from flowkit.store.format.location import (
    COPYING_FILE,
    WORKING_FILE,
    describe_location,
    find_url,
    make_half_copied_error,
    refuse_remote,
)
from flowkit.store.format.locks import GATE, make_lock_folder, wait_for_lock
from flowkit.store.format.schema import FOLDERS, FORMAT, encode_json
from flowkit.store.format.video_values import Check, check_values, is_count, is_object, is_text
from flowkit.version import __version__


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreHeader:
    """The content of ``store.json``."""

    format: int
    """Version of the store format."""
    dataset: str | None
    """Name of the dataset, if known."""
    recipe: StoreRecipe
    """All settings that decide the bytes of the store."""
    creator: str
    """Name and version of the program that created the store."""
    created: str
    """When the store was created, ISO 8601 in UTC."""

    def to_json(self) -> bytes:
        """Return the content of the file."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return encode_json(values | {"recipe": self.recipe.to_dict()})


def create_or_open(
    root: str | os.PathLike[str], recipe: StoreRecipe, dataset: str | None = None
) -> StoreHeader:
    """Create a store, or check that the store at ``root`` has this recipe and dataset.

    Streams that only ``recipe`` has are added to an existing store. Its dataset stays as it is,
    since runs on the store compare it.

    Args:
        root: Folder of the store.
        recipe: The recipe of the store.
        dataset: Name of the dataset, if known.

    Returns:
        The header of the store.

    Raises:
        FormatError: The folder has files that are not of a store, or a store of a newer format.
        RecipeError: The store has another recipe (each difference is named) or dataset.
    """
    path = Path(root)
    if not (path / "store.json").exists():
        check_new_folder(path)
    with wait_for_lock(make_lock_folder(path) / GATE):
        old_header = None
        if (path / "store.json").exists():
            old_header = read_header(path)
            header = extend_header(path, old_header, recipe, dataset)
        else:
            header = StoreHeader(
                format=FORMAT,
                dataset=dataset,
                recipe=recipe,
                creator=f"flowkit {__version__}",
                created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            )
        with convert_disk_errors(path):
            for folder, streams in FOLDERS.items():
                if any(stream in header.recipe.streams for stream in streams):
                    (path / folder).mkdir(exist_ok=True)
            for name in header.recipe.features:
                (path / FEATURES / name).mkdir(parents=True, exist_ok=True)
                sync_folder(path / FEATURES)
        if header != old_header:
            write_atomic(path / "store.json", header.to_json())
    return header


def check_new_folder(path: Path) -> None:
    """Raise a FormatError if ``path`` is a file, or a folder with files of something else."""
    if not path.exists():
        return
    if not path.is_dir():
        raise FormatError(f"{path}: expected a store's folder, got a file; name a folder")
    foreign_names = {entry.name for entry in path.iterdir()} - {
        "locks", "store.json.part", WORKING_FILE, *FOLDERS
    }  # fmt: skip
    if foreign_names:
        raise FormatError(
            f"{path}: expected a store or an empty folder, got a folder without store.json that "
            f"holds {min(foreign_names)!r}; name another folder"
        )


def extend_header(
    path: Path, header: StoreHeader, recipe: StoreRecipe, dataset: str | None
) -> StoreHeader:
    """Add the streams of ``recipe`` to a header.

    Raises:
        RecipeError: A common setting or the dataset differs.
    """
    differences = header.recipe.list_differences(recipe)
    location = describe_location(path)
    if differences:
        raise RecipeError(
            f"{location} has another recipe (store ≠ requested): {'; '.join(differences)}; "
            "use the store's values, another name for features (or remove the old ones: flowkit "
            "remove), or another store"
        )
    if dataset is not None and header.dataset is not None and dataset != header.dataset:
        raise RecipeError(
            f"{location}: expected dataset {header.dataset!r}, which the store holds, got "
            f"{dataset!r}; use another store"
        )
    return replace(header, recipe=header.recipe.extended_with(recipe))


def read_header(root: str | os.PathLike[str]) -> StoreHeader:
    """Read ``store.json``.

    Raises:
        FormatError: There is no store at ``root``, or it has a newer format.
        StoreError: The file cannot be read, or the store is a half copy, or on object storage:
            what reads such stores reads their mirror (flowkit/store/remote/mirror.py).
        CorruptError: The file is damaged.
    """
    if find_url(root) is not None:
        refuse_remote(root)
    path = Path(root) / "store.json"
    try:
        values: Any = json.loads(path.read_bytes())
        check_values(values, {"format": is_count})
        version = values["format"]
        if version > FORMAT:
            raise FormatError(
                f"{root}: expected a store of format {FORMAT} at most, got {version}; update "
                "flowkit"
            )
        check_values(values, HEADER)
        fields = {name: values[name] for name in StoreHeader.__dataclass_fields__}
        return StoreHeader(**fields | {"recipe": StoreRecipe.from_dict(values["recipe"])})
    except (FileNotFoundError, NotADirectoryError):
        if (Path(root) / COPYING_FILE).exists():
            raise make_half_copied_error(os.fspath(root)) from None
        raise FormatError(
            f"{root}: expected a store, found no store.json; check the path"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
        reason = " ".join(f"{error}".split())
        raise CorruptError(
            f"{path}: expected the header of a store ({reason}); restore it from a copy, or from "
            "the recipe that each shard has in its schema metadata"
        ) from None


HEADER: dict[str, Check] = {
    "dataset": lambda value: isinstance(value, str | None),
    "recipe": is_object, "creator": is_text, "created": is_text,
}  # fmt: skip
"""Values of ``store.json`` besides the format."""
