"""Describe in three lines how label files were understood and which videos were found."""

from collections import Counter
from collections.abc import Sequence

from flowkit.annotations.label_files.columns import TEMPLATE, Roles, normalize_name
from flowkit.annotations.label_files.label_list import LabelList
from flowkit.annotations.label_files.matching import Matches
from flowkit.annotations.label_files.rows import KEY_COLUMN
from flowkit.path_text import escape_unprintable, printable_path, replace_surrogates

MAX_NAMES = 3
"""Number of videos or rows that a line names as examples."""
MAX_COLUMNS = 5
"""Number of attributes that a line names."""
UNLISTED = ("video is not listed and left out", "videos are not listed and left out")
"""What is said about videos of a folder without a row."""
UNLISTED_IN_STORE = ("video of the store is not listed", "videos of the store are not listed")
"""What is said about videos of a store without a row."""


def describe_matches(
    listing: LabelList, matches: Matches, videos: Sequence[str], unlisted: tuple[str, str]
) -> list[str]:
    """Describe the files, the videos that were found, and what does not fit, in a line each.

    Args:
        listing: The rows.
        matches: The matches.
        videos: Paths or ids of the videos.
        unlisted: What to say about one video without a row, and about several.

    Returns:
        Three lines.
    """
    return [
        describe_rows(listing),
        describe_found(listing, matches),
        describe_problems(listing, matches, videos, unlisted),
    ]


def describe_rows(listing: LabelList) -> str:
    """Describe how the files were understood.

    Args:
        listing: The rows.

    Returns:
        Such as "labels.csv: 1,204 rows (CSV with commas): id from `clip`, label from `gesture` (27
        classes), no subset column".
    """
    files = ", ".join(printable_path(file.path.name) for file in listing.files[:MAX_NAMES])
    if len(listing.files) > MAX_NAMES:
        files += f" and {len(listing.files) - MAX_NAMES:,} more"
    kinds = ", ".join(dict.fromkeys(file.kind for file in listing.files))
    # Of several files, the one with the most roles is described.
    roles = max(listing.roles, key=lambda roles: (roles.label is not None, len(roles.others)))
    has_header = listing.files[listing.roles.index(roles)].has_header
    parts = [
        f"id from {show_column(roles.id, has_header)}",
        describe_label(listing, roles, has_header),
        describe_subset(listing, roles, has_header),
    ]
    if roles.are_clips:
        parts.append("each file a clip named id_start_end")
    elif roles.segment is not None:
        parts.append("start and end in seconds from `segment`")
    elif roles.start is not None and roles.end is not None:
        unit = "as frame numbers" if roles.in_frames else "in seconds"
        parts.append(f"start and end {unit} from `{roles.start}` and `{roles.end}`")
    if roles.others:
        shown = ", ".join(f"`{name}`" for name in roles.others[:MAX_COLUMNS])
        more = f" and {len(roles.others) - MAX_COLUMNS} more" if roles.others[MAX_COLUMNS:] else ""
        parts.append(f"attributes {shown}{more}")
    return f"{files}: {count(listing.rows, 'row')} ({kinds}): {', '.join(parts)}"


def show_column(name: str, has_header: bool) -> str:
    """Return a column for messages: its name, or "column 1" in a file without a header."""
    if name == KEY_COLUMN:
        return "the keys"
    return f"`{name}`" if has_header else f"column {name}"


def describe_label(listing: LabelList, roles: Roles, has_header: bool) -> str:
    """Describe where the labels come from, and how many classes there are."""
    if roles.label is None:
        return "no label column"
    brackets = " without brackets" if normalize_name(roles.label) == TEMPLATE else ""
    column = show_column(roles.label, has_header)
    return f"label from {column}{brackets} ({count(len(listing.classes), 'class', 'classes')})"


def describe_subset(listing: LabelList, roles: Roles, has_header: bool) -> str:
    """Describe where the subsets come from."""
    if roles.subset is not None:
        return f"subset from {show_column(roles.subset, has_header)}"
    subsets = [subset for subset in listing.file_subsets if subset is not None]
    if subsets:
        return f"subset from the name of the file ({', '.join(dict.fromkeys(subsets))})"
    return "no subset column"


def describe_found(listing: LabelList, matches: Matches) -> str:
    """Describe how many videos were found, how, and in which subsets.

    Args:
        listing: The rows.
        matches: The matches.

    Returns:
        Such as "1,190 of 1,204 listed videos found: 1,190 by file name; subsets train 900, val
        290".
    """
    found = sum(matches.counts.values())
    ways = ", ".join(f"{number:,} {way}" for way, number in matches.counts.items())
    subsets = Counter(
        name for row in matches.row_by_video if row >= 0 for name in listing.subsets[row]
    )
    text = f"{found:,} of {count(len(listing.ids), 'listed video')} found: {ways or 'none'}"
    if subsets:
        shown = [f"{name} {number:,}" for name, number in sorted(subsets.items())]
        more = f" and {len(shown) - 10} more" if shown[10:] else ""
        text += f"; subsets {', '.join(shown[:10])}{more}"
    return text


def describe_problems(
    listing: LabelList, matches: Matches, videos: Sequence[str], unlisted: tuple[str, str]
) -> str:
    """Describe what does not fit between rows and videos, each with the first examples.

    Args:
        listing: The rows.
        matches: The matches.
        videos: Paths or ids of the videos.
        unlisted: What to say about one video without a row, and about several.

    Returns:
        Such as "14 listed videos were not found: a, b, c, …; 1 video is not listed and left out:
        d.mp4".
    """
    unclear = {v for found in matches.ambiguous_rows.values() for v in found}
    unclear |= matches.ambiguous_videos.keys()
    without_row = [v for v, row in enumerate(matches.row_by_video) if row < 0 and v not in unclear]
    unlabelled = [row for row in matches.row_by_video if row >= 0 and not listing.labels[row]]
    problems = [
        show([listing.names[row] for row in matches.missing],
             "listed video was not found", "listed videos were not found"),
        show([videos[v] for v in without_row], *unlisted),
        show([listing.names[row] for row in matches.ambiguous_rows],
             "listed name fits several videos, which are left out",
             "listed names fit several videos, which are left out"),
        show([videos[v] for v in matches.ambiguous_videos],
             "video fits several listed names and is left out",
             "videos fit several listed names and are left out"),
        show([listing.ids[row] for row in unlabelled],
             "listed video has no label", "listed videos have no label"),
        count(listing.repeated_rows, "repeated row") if listing.repeated_rows else "",
        *(f"`{name}` differs between the rows of a video and is not kept there"
          for name in listing.differing),
    ]  # fmt: skip
    return "; ".join(filter(None, problems)) or "every row has a video, and every video a row"


def show(names: Sequence[str], singular: str, plural: str) -> str:
    """Return a count with the first names, such as "14 listed videos were not found: a, b, c, …".

    Args:
        names: Names that files list, or videos.
        singular: What is said about one of them.
        plural: What is said about several.

    Returns:
        The text; "" if there are no names.
    """
    if not names:
        return ""
    shown = ", ".join(escape_unprintable(replace_surrogates(name)) for name in names[:MAX_NAMES])
    return f"{count(len(names), singular, plural)}: {shown}{', …' if names[MAX_NAMES:] else ''}"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with a noun, such as "1 row" or "2,000 rows"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
