"""Read recipe files that build on other recipes with the key ``extends``.

A file with ``extends: NAME`` has all keys of the recipe NAME, and changes some of them:

- A mapping, such as ``training``, is merged key by key. Any other value replaces the inherited one.
- ``null`` removes what was inherited, so that the default holds.
- The results of a paper (``reported`` and ``rows``) are not inherited, since they belong to one
  recipe.

NAME is a recipe of this package or the path of a YAML file, relative to the file that names it.
"""

import copy
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from flowkit.catalog import UniqueKeyLoader
from flowkit.errors import UsageError
from train.recipe.parsing import suggest

FOLDER = Path(__file__).parents[1] / "recipes"
NOT_INHERITED = ("reported", "rows")


def list_recipes() -> list[str]:
    """Return the names of this package's recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_content(name: str | Path) -> tuple[dict[str, Any], str]:
    """Read a recipe file, merged with the recipes that it extends.

    Args:
        name: Name of a recipe of this package, or path of a YAML file.

    Returns:
        The keys and values, without ``extends``, and the name of the recipe for messages: its
        path, or its name alone if it is one of this package.

    Raises:
        UsageError: A file does not exist or is not YAML, or recipes extend each other in a circle.
    """
    path = find_recipe(name, Path())
    return read_merged(path, ()), path.stem if path.parent == FOLDER else str(path)


def read_merged(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """Read a recipe file, merged with those that it extends.

    Args:
        path: The file.
        extending: The files that led to this one, each of which extends the next.
    """
    chain = (*extending, path)
    if path.resolve() in (file.resolve() for file in extending):
        names = " extends ".join(file.stem for file in chain)
        raise UsageError(f"{chain[0]}: recipes extend each other in a circle: {names}")
    content = read_yaml(path)
    base = content.pop("extends", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise UsageError(f"{path}: extends: expected the name of one recipe, got {base!r}")
    try:
        base_path = find_recipe(base, path.parent)
    except UsageError as error:
        raise UsageError(f"{path}: extends: {error}") from error
    inherited = read_merged(base_path, chain)
    for key in NOT_INHERITED:
        inherited.pop(key, None)
    # In rows, null is a value and removes nothing.
    own = {"rows": content.pop("rows")} if content.get("rows") is not None else {}
    return {**merge(inherited, content), **own}


def find_recipe(name: str | Path, folder: Path) -> Path:
    """Find the file of a recipe.

    Args:
        name: Name of a recipe of this package, or path of a YAML file.
        folder: Folder that the path is relative to.

    Raises:
        UsageError: There is no recipe of this name.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return folder / path
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise UsageError(f"no recipe {str(name)!r}{suggest(str(name), list_recipes())}")
    return path


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file that has keys and values."""
    try:
        content = copy.deepcopy(parse_yaml(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"cannot read the recipe {path}: {reason}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected keys and values, got {type(content).__name__}")
    return content


@lru_cache(maxsize=64)
def parse_yaml(text: str) -> Any:
    """Parse YAML. Results are kept, since many recipes extend the same few; copy what you change.

    Args:
        text: Content of a file.

    Raises:
        yaml.YAMLError: It is not YAML, or a key is repeated.
    """
    return yaml.load(text, Loader=UniqueKeyLoader)


def merge(inherited: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the keys of a recipe into those that it inherits.

    Args:
        inherited: Keys and values of the extended recipe.
        changes: Keys and values of the extending recipe, of which None removes the inherited key.

    Returns:
        A new mapping; the arguments are not changed.
    """
    merged = dict(inherited)
    for key, value in changes.items():
        former = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = merge(former if isinstance(former, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged
