"""Read the classes and subsets of many videos from columns of the index or of the annotations."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.errors import UsageError
from flowkit.store.arrow_arrays import view_numbers

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class LabelColumns:
    """The classes and subsets of videos, without an object for each video.

    Args:
        labels: Arrow array of lists of labels, one list for each video.
        subsets: Arrow array of lists of names, one list for each video.
        classes: Class names, by class id.
        list_subsets: Lists names of subsets that need not have any of these videos; it is called
            when the names are needed.
    """

    def __init__(
        self,
        labels: Any,
        subsets: Any,
        classes: tuple[str, ...],
        list_subsets: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.classes = classes
        self._list_subsets = list_subsets
        self._labels, self._subsets = labels, subsets

    def __len__(self) -> int:
        return len(self._labels)

    @cached_property
    def subset_names(self) -> tuple[str, ...]:
        """Return the names of the subsets of these videos and of the other ones, sorted."""
        return tuple(sorted({*map(str, self._subset_codes[2]), *self._list_subsets()}))

    def match(self, column: str, name: str) -> Mask:
        """Return which videos have a class or are in a subset.

        Args:
            column: ``"class"`` or ``"subset"``.
            name: Name of the class or the subset.

        Raises:
            UsageError: No class or subset has this name.
        """
        known = list(self.classes if column == "class" else self.subset_names)
        if name not in known:
            raise UsageError(describe_unknown_name(column, name, known))
        if column == "class":
            offsets, codes = self._class_codes
            code = known.index(name)
        else:
            offsets, codes, names = self._subset_codes
            code = names.tolist().index(name) if name in names else -1
        is_match = np.zeros(len(self), bool)
        is_match[find_parents(offsets)[codes == code]] = True
        return is_match

    def list_classes(self, rows: Rows) -> list[list[str]]:
        """List the different classes of each of these videos, in the order of their labels."""
        offsets, codes = self._class_codes
        return list_names(offsets, codes, self.classes, rows)

    def list_subsets(self, rows: Rows) -> list[list[str]]:
        """List the subsets of each of these videos."""
        offsets, codes, names = self._subset_codes
        return list_names(offsets, codes, names, rows)

    def count_by_class(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Count the videos of each class, in all and by subset.

        A video counts once for a class, however many of its segments are of this class.

        Returns:
            (classes,), and (classes, subsets) in the order of `subset_names`.
        """
        offsets, codes = self._class_codes
        count, videos = len(self.classes), find_parents(offsets)
        if len(videos) and np.diff(offsets).max() > 1:
            videos, codes = np.divmod(np.unique(videos * count + codes), count)
        by_subset = [
            np.bincount(codes[self.match("subset", name)[videos]], minlength=count)
            for name in self.subset_names
        ]
        counts = np.stack(by_subset, axis=1) if by_subset else np.zeros((count, 0), np.int64)
        return np.bincount(codes, minlength=count), counts

    @cached_property
    def _class_codes(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Offsets of the labels of each video, and the class id of each label."""
        column = self._labels
        return view_numbers(column.offsets), view_numbers(column.values.field("class"))

    @cached_property
    def _subset_codes(
        self,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[Any]]:
        """Offsets of the subsets of each video, the index of each name, and the names."""
        column = self._subsets
        encoded = column.values.dictionary_encode()
        names = np.array(encoded.dictionary.to_pylist(), dtype=object)
        return view_numbers(column.offsets), view_numbers(encoded.indices), names


def find_parents(offsets: npt.NDArray[np.int32]) -> Rows:
    """Find the row that each entry of lists belongs to."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def list_names(
    offsets: npt.NDArray[Any], codes: npt.NDArray[Any], names: Any, rows: Rows
) -> list[list[str]]:
    """List the different names of each row, in their order."""
    starts, stops = offsets[rows].tolist(), offsets[rows + 1].tolist()
    return [
        [str(names[code]) for code in dict.fromkeys(codes[start:stop].tolist())]
        for start, stop in zip(starts, stops, strict=True)
    ]


def describe_unknown_name(column: str, name: str, known: list[str]) -> str:
    """Describe that no class or subset has this name, and which similar one there is."""
    matches = get_close_matches(name, known, n=1)
    shown = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
    hint = f"did you mean {matches[0]!r}?" if matches else f"there are {shown or 'none'}"
    return f"no {column} {name!r} in the store; {hint}"
