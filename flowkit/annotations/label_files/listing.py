"""Merge the rows of label files into a list of videos with their labels."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowkit.annotations.label_files.cells import (
    NUMERIC,
    SUBSETS,
    ClassNamer,
    check_encodable,
    guess_subset,
    split_labels,
)
from flowkit.annotations.label_files.classes import ClassList, read_classes
from flowkit.annotations.label_files.columns import Roles, choose_roles, find_given_column
from flowkit.annotations.label_files.formats import read_rows
from flowkit.annotations.label_files.label_list import LabelList, merge_row
from flowkit.annotations.label_files.matching import normalize_path
from flowkit.annotations.label_files.options import NO_COLUMN, LabelOptions
from flowkit.annotations.label_files.row_labels import make_label_reader
from flowkit.annotations.label_files.rows import FileRows, to_text, to_texts
from flowkit.annotations.label_files.templates import make_file_names
from flowkit.annotations.table import NO_ATTRIBUTES
from flowkit.errors import AnnotationError, UsageError
from flowkit.garbage_collection import pause_garbage_collection


@pause_garbage_collection()
def read_label_files(paths: Sequence[Path], options: LabelOptions | None = None) -> LabelList:
    """Read label files and merge the rows of each video.

    Several rows of one video give it several labels and subsets. A file without a column of
    subsets whose name says one, such as ``val.csv``, puts its videos there.

    Args:
        paths: The files, of any known format.
        options: What the user says about them; None for nothing.

    Returns:
        The videos.

    Raises:
        AnnotationError: A file cannot be read, is empty, or has a malformed row or no usable
            column; the message names the file and, where the format has lines, the line.
        UsageError: There is no file, or a column that the user names does not exist.
    """
    options = options or LabelOptions()
    if not paths:
        raise UsageError("expected at least one label file, got none")
    class_list = read_classes(options.classes) if options.classes else None
    files = [read_rows(path, options.columns) for path in paths]
    needs_label = len(files) == 1
    roles = [choose_roles(file, options.columns, needs_label=needs_label) for file in files]
    column = options.columns.get("label", NO_COLUMN)
    if column != NO_COLUMN and all(role.label is None for role in roles):
        find_given_column(files[0], "label", column)  # raises the error about this column
    if options.file_template is not None:  # the user says what the files are
        roles = [replace(role, are_clips=False) for role in roles]
    listing = LabelList(files=tuple(files), roles=tuple(roles))
    listing.file_subsets = tuple(
        guess_file_subset(file, role, options) for file, role in zip(files, roles, strict=True)
    )
    namer = make_namer(files, roles, class_list)
    positions: dict[str, int] = {}
    for file, role, subset in zip(files, roles, listing.file_subsets, strict=True):
        add_file(listing, positions, file, role, subset, options.file_template, namer)
        listing.rows += len(file)
        # The values are in the list now. One short column stays, which has the number of rows.
        file.columns = {role.id: file.columns[role.id]}
    listing.classes = order_classes(listing, class_list, namer)
    return listing


def guess_file_subset(file: FileRows, roles: Roles, options: LabelOptions) -> str | None:
    """Return the subset of all videos of a file that has no column of subsets.

    Args:
        file: The file. The subset of Hugging Face's ``metadata.csv`` is the name of its folder.
        roles: Its roles.
        options: What the user says; ``subset=-`` means none.
    """
    if roles.subset is not None or "subset" in options.columns:
        return None
    is_metadata = file.path.stem == "metadata"
    return guess_subset(file.path.parent.name if is_metadata else file.path.stem)


def make_namer(
    files: Sequence[FileRows], roles: Sequence[Roles], class_list: ClassList | None
) -> ClassNamer:
    """Make the object that names the classes.

    Args:
        files: The files.
        roles: Their roles.
        class_list: The classes that the user names; None if there is no list.

    Returns:
        The namer. It knows whether all labels of all files are numbers.
    """
    texts: set[str] = set()
    file_names: dict[int, str] = {}
    for file, role in zip(files, roles, strict=True):
        file_names |= dict(enumerate(file.class_names))
        if role.label is None:
            continue
        values: Iterable[Any] = file.columns[role.label]
        with suppress(TypeError):  # lists and objects cannot be in a set
            values = set(values)
        for value in values:
            is_object = isinstance(value, dict) or (
                isinstance(value, list) and any(isinstance(item, dict) for item in value)
            )
            texts.update(() if is_object else split_labels(value, role.label))
    all_numeric = all(map(NUMERIC.fullmatch, texts))
    return ClassNamer(class_list, file_names, all_numeric)


def add_file(
    listing: LabelList,
    positions: dict[str, int],
    file: FileRows,
    roles: Roles,
    file_subset: str | None,
    template: str | None,
    namer: ClassNamer,
) -> None:
    """Add the rows of one file to the list.

    Args:
        listing: The list.
        positions: Index of each video by its normalized id.
        file: The rows.
        roles: The roles of the columns.
        file_subset: The subset of all rows; None if a column has it, or there is none.
        template: The template of file names; None if the id names the file.
        namer: Names the classes.

    Raises:
        AnnotationError: A row is malformed.
    """
    ids = to_texts(file.columns[roles.id])
    names = make_file_names(file, roles, ids, template)
    read_labels = make_label_reader(file, roles, namer)
    subsets = make_subset_column(file, roles, file_subset)
    attributes = make_attributes(file, roles)
    new_positions = dict(zip(ids, range(len(ids)), strict=True))
    if len(new_positions) == len(ids) and not positions and all(map(is_plain, ids)):
        # Each video has one row, as in most files: this needs a third of the time.
        listing.ids, listing.names = list(ids), list(names)
        listing.labels = [read_labels(row) for row in range(len(ids))]
        listing.subsets, listing.attributes = list(subsets), list(attributes)
        listing.first_rows.extend(range(len(ids)))
        positions |= new_positions
        return
    for row, id in enumerate(ids):
        if not id:
            raise AnnotationError(
                f"{file.locate(row)}: expected the video in {roles.id!r}, got nothing; add it or "
                "remove the row"
            )
        key = normalize_path(id)
        if not id.isascii():
            check_encodable(id, f"{file.locate(row)}: the video")
        index = positions.setdefault(key, len(listing.ids))
        if index < len(listing.ids):
            merge_row(listing, index, read_labels(row), subsets[row], attributes[row])
            continue
        listing.ids.append(id)
        listing.names.append(names[row])
        listing.labels.append(read_labels(row))
        listing.subsets.append(subsets[row])
        listing.attributes.append(attributes[row])
        listing.first_rows.append(listing.rows + row)


def is_plain(id: str) -> bool:
    """Return whether an id is not empty, and `normalize_path` returns it as it is."""
    return id.isascii() and id != "" and not ("\\" in id or "./" in id or "//" in id)


def make_subset_column(
    file: FileRows, roles: Roles, file_subset: str | None
) -> Sequence[tuple[str, ...]]:
    """Return the subsets of each row.

    Args:
        file: The rows.
        roles: The roles of the columns.
        file_subset: The subset of all rows; None if a column has it, or there is none.

    Returns:
        A sequence with one tuple for each row; equal tuples are one object.

    Raises:
        AnnotationError: A subset is not valid Unicode.
    """
    if roles.subset is None:
        return [(file_subset,) if file_subset else ()] * len(file)
    values = file.columns[roles.subset]
    keys = [make_key(value) if isinstance(value, list | dict) else value for value in values]
    subsets: dict[Any, tuple[str, ...]] = {}
    for key in set(keys):
        texts = filter(None, map(to_text, key if isinstance(key, tuple) else (key,)))
        subsets[key] = tuple(SUBSETS.get(text.lower(), text) for text in texts)
        for text in subsets[key]:
            check_encodable(text, f"{file.path}: the subset")
    return [subsets[key] for key in keys]


def make_key(value: list[Any] | dict[str, Any]) -> Any:
    """Convert a list of subsets, or an object, to what a dictionary can have as its key."""
    return tuple(map(to_text, value)) if isinstance(value, list) else to_text(value)


def make_attributes(file: FileRows, roles: Roles) -> Sequence[Mapping[str, str]]:
    """Return the attributes of each row: the columns without a role and the frame rate, as text.

    Lists and objects are left out, and so are empty values.

    Args:
        file: The rows.
        roles: The roles of the columns.

    Returns:
        A sequence with one mapping for each row; equal mappings are one object.

    Raises:
        AnnotationError: An attribute is not valid Unicode.
    """
    names = [
        name
        for name in (*roles.others, *([roles.fps] if isinstance(roles.fps, str) else []))
        if not any(isinstance(value, list | dict) for value in file.columns[name])
    ]
    # A frame rate that the user gave holds for all rows.
    common = {"fps": to_text(roles.fps)} if isinstance(roles.fps, float) else NO_ATTRIBUTES
    if not names:
        return [common] * len(file)
    cache: dict[tuple[str, ...], Mapping[str, str]] = {}

    def convert(values: tuple[str, ...]) -> Mapping[str, str]:
        own = {name: text for name, text in zip(names, values, strict=True) if text}
        for name, text in own.items():
            check_encodable(f"{name}: {text}", f"{file.path}: the attribute")
        return cache.setdefault(values, {**own, **common} if own else common)

    texts = [to_texts(file.columns[name]) for name in names]
    return [cache.get(values) or convert(values) for values in zip(*texts, strict=True)]


def order_classes(
    listing: LabelList, class_list: ClassList | None, namer: ClassNamer
) -> tuple[str, ...]:
    """Return the class names in the order of their ids.

    Args:
        listing: The list.
        class_list: The classes that the user names; None if there is no list.
        namer: The namer, which knows class names of the files and whether labels are numbers.

    Returns:
        The names of the class list; otherwise those that occur, numbers by value and names by
        alphabet.
    """
    if class_list is not None:
        return class_list.names
    distinct = {id(labels): labels for labels in listing.labels}  # equal ones are mostly one object
    occurring = {label.name for labels in distinct.values() for label in labels}
    if namer.by_number:
        names = tuple(namer.by_number.values())
        return (*names, *sorted(occurring - set(names)))
    if namer.all_numeric and all(name.isdecimal() for name in occurring):
        return tuple(sorted(occurring, key=int))
    return tuple(sorted(occurring))
