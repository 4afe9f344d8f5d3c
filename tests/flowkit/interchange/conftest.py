"""Stores of arbitrary bytes, as the tests of the store have them, and a reader of tar shards."""

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.store import rebuild_index, write_annotations
from tests.flowkit.store.conftest import make_root, stores

__all__ = ["make_root", "stores"]


def read_tar_samples(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The samples of tar shards, grouped as WebDataset does it: neighbours with one key, which is
    the path up to the first dot of its last part.
    """
    sample: dict[str, Any] = {}
    for path in paths:
        with tarfile.open(path) as tar:
            for member in tar:
                found = re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]*)", member.name)
                assert found is not None, member.name
                if found[1] != sample.get("__key__"):
                    if sample:
                        yield sample
                    sample = {"__key__": found[1]}
                assert found[2] not in sample, f"{member.name} is in the tar twice"
                sample[found[2]] = tar.extractfile(member).read()
        if sample:
            yield sample
        sample = {}


@pytest.fixture(scope="session")
def read_samples() -> Callable[[Iterable[Path]], Iterator[dict[str, Any]]]:
    """:func:`read_tar_samples`."""
    return read_tar_samples


@pytest.fixture(scope="session")
def read_videos() -> Callable[[Path], dict[str, dict[str, Any]]]:
    """``read_videos(out)``: the samples of an export by id; no id twice."""

    def read(out: Path) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for sample in read_tar_samples(sorted(out.glob("*.tar"))):
            id = json.loads(sample["json"])["id"]
            assert id not in found
            found[id] = sample
        return found

    return read


def annotate_store(
    root: Path,
    rows: dict[str, tuple[Sequence[tuple[Any, ...]], Sequence[str]]],
    classes: Sequence[str] = ("wave", "jump high", "ü/#"),
) -> None:
    """Give videos labels (name, start, end) and subsets."""
    annotations = [
        Annotation(id, tuple(Label(*label) for label in labels), tuple(subsets))
        for id, (labels, subsets) in sorted(rows.items())
    ]
    write_annotations(root, AnnotationTable(tuple(classes), tuple(annotations)))
    rebuild_index(root)


@pytest.fixture(scope="session")
def annotate() -> Callable[..., None]:
    """:func:`annotate_store`."""
    return annotate_store


@pytest.fixture(scope="session")
def hash_files() -> Callable[[Path], dict[str, str]]:
    """``hash_files(out)``: SHA-256 of all files of an export by path, without its lock."""

    def hash_all(folder: Path) -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file() and path.name != ".export.lock"
        }

    return hash_all
