"""Read the catalogue ``datasets.yaml``: the datasets that flowkit knows by name.

dataset.py describes one dataset and finds it on disk, entries.py checks the entries of the file.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from flowkit.catalog.dataset import Dataset, Presence, data_root
from flowkit.catalog.entries import UniqueKeyLoader, format_suggestion, read_entry
from flowkit.errors import CatalogError, UsageError

__all__ = ["Dataset", "Presence", "UniqueKeyLoader", "data_root", "find_dataset", "load_catalog"]

FILE_NAME = "datasets.yaml"
"""Name of the catalogue file."""


def find_catalog(path: Path | None) -> Path:
    """Find the catalogue to read.

    Args:
        path: The file that the user named, or None.

    Returns:
        ``path`` if it is given, else ``./datasets.yaml`` if it exists, else the one that
        flowkit comes with.

    Raises:
        CatalogError: The catalogue that flowkit comes with is missing.
    """
    if path is not None:
        return path
    package = Path(__file__).parents[1]
    # In a wheel the file is in the package; in a checkout, next to it.
    for candidate in (Path(FILE_NAME), package / FILE_NAME, package.parent / FILE_NAME):
        if candidate.is_file():
            return candidate
    raise CatalogError(f"flowkit's own {FILE_NAME} is not at {package}; install flowkit again")


def load_catalog(path: Path | None = None) -> dict[str, Dataset]:
    """Load all datasets of a catalogue.

    Args:
        path: The catalogue. None means the one that `find_catalog` finds.

    Returns:
        The datasets by full name (the variants of ``kinetics`` as ``kinetics-400``, …), in the
        order of the file.

    Raises:
        CatalogError: The catalogue is malformed; the message names the file, the entry and the key.
    """
    path = find_catalog(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeyLoader)
    except OSError as error:
        raise CatalogError(f"cannot read the catalogue {path}: {error}; check the path") from error
    except UnicodeDecodeError as error:
        raise CatalogError(
            f"cannot read the catalogue {path}: expected UTF-8 text, got {error}; save it as UTF-8"
        ) from error
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
                raise CatalogError(
                    f"{path}: {dataset.full_name} is defined twice; remove one of the entries"
                )
    return datasets


def find_dataset(
    name: str, variant: str | None = None, catalog: Mapping[str, Dataset] | None = None
) -> Dataset:
    """Find a dataset by name.

    ``kinetics`` means its default variant, 400. ``kinetics-600``, ``kinetics600`` and ("kinetics",
    "600") are the same dataset. Upper and lower case are the same.

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
    default = next(variants, None)
    wanted = f"{name}-{variant}" if variant else default.full_name if default else name
    names_by_normal_form = {
        **{normalize_name(entry.name): entry.full_name for entry in reversed([*catalog.values()])},
        **{normalize_name(full_name): full_name for full_name in catalog},
    }
    full_name = wanted if wanted in catalog else names_by_normal_form.get(normalize_name(wanted))
    if full_name is None:
        source = next(iter(catalog.values())).catalog if catalog else FILE_NAME
        raise UsageError(f"no dataset {wanted!r} in {source}{format_suggestion(wanted, catalog)}")
    return catalog[full_name]


def normalize_name(name: str) -> str:
    """Return a name in lower case and without separators, for comparisons."""
    return re.sub(r"[-_ ]", "", name).lower()
