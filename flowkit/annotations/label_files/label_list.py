"""Hold the videos of label files, with what all rows of a video say together."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

from flowkit.annotations.label_files.columns import Roles
from flowkit.annotations.label_files.rows import FileRows
from flowkit.annotations.table import Label


@dataclass(kw_only=True, slots=True)
class LabelList:
    """The videos of label files in the order of their first rows; lists have one entry for each."""

    files: tuple[FileRows, ...] = ()
    """The files, without their columns."""
    roles: tuple[Roles, ...] = ()
    """The roles of the columns of each file."""
    file_subsets: tuple[str | None, ...] = ()
    """The subset that the name of each file says; None where a column has the subsets."""
    classes: tuple[str, ...] = ()
    """Class names in the order of their ids."""
    rows: int = 0
    """Number of rows of all files."""
    ids: list[str] = field(default_factory=list)
    """The ids as they are written."""
    names: list[str] = field(default_factory=list)
    """The paths or names of files that are looked for."""
    labels: list[tuple[Label, ...]] = field(default_factory=list)
    """The labels."""
    subsets: list[tuple[str, ...]] = field(default_factory=list)
    """The subsets."""
    attributes: list[Mapping[str, str]] = field(default_factory=list)
    """Other columns by name."""
    first_rows: "array[int]" = field(default_factory=lambda: array("q"))
    """The first row of each video, counted over all files."""
    repeated_rows: int = 0
    """Number of rows that say nothing new."""
    differing: dict[str, int] = field(default_factory=dict)
    """Columns whose values differ between the rows of a video, which are left out there, with the
    number of such rows.
    """

    @property
    def prefix(self) -> str:
        """What may stand before the id in the name of a video."""
        return next((file.prefix for file in self.files if file.prefix), "")

    def locate(self, index: int) -> str:
        """Return where the first row of a video is, for messages.

        Args:
            index: Index of the video.

        Returns:
            ``file:line`` or the like.
        """
        row = self.first_rows[index]
        for file in self.files:
            if row < len(file):
                return file.locate(row)
            row -= len(file)
        raise IndexError(index)


def merge_row(
    listing: LabelList,
    index: int,
    labels: tuple[Label, ...],
    subsets: tuple[str, ...],
    attributes: Mapping[str, str],
) -> None:
    """Add a further row of a video to its entry.

    Args:
        listing: The list.
        index: Index of the video.
        labels: The labels of the row.
        subsets: The subsets of the row.
        attributes: The attributes of the row. Where they differ from those of earlier rows, they
            are not about the video, and are left out.
    """
    new_labels = tuple(label for label in labels if label not in listing.labels[index])
    new_subsets = tuple(name for name in subsets if name not in listing.subsets[index])
    kept = listing.attributes[index]
    differing = [name for name, value in kept.items() if attributes.get(name) != value]
    added = [name for name in attributes if name not in kept]
    for name in {*differing, *added}:
        listing.differing[name] = listing.differing.get(name, 0) + 1
    if differing:
        listing.attributes[index] = {
            name: value for name, value in kept.items() if name not in differing
        }
    listing.labels[index] += new_labels
    listing.subsets[index] += new_subsets
    listing.repeated_rows += not (new_labels or new_subsets)
