"""Select the videos of one page of the grid, from the index alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowkit.errors import UsageError
from flowkit.store.conditions import Condition, parse_conditions
from flowkit.store.video_list import SORT_KEYS
from flowkit.web.keys import make_key
from flowkit.web.open_store import StoreView

MAX_LIMIT = 200
"""Videos of a page at most."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which videos to show, and in which order."""

    where: str = ""
    """Conditions as in ``flowkit list --where``; empty for none."""
    class_name: str = ""
    """Only videos of this class."""
    subset: str = ""
    """Only videos of this subset."""
    text: str = ""
    """Only videos whose id contains this."""
    sort: str = "id"
    """One of `SORT_KEYS`."""
    descending: bool = False
    """Whether the largest value comes first."""
    offset: int = 0
    """Videos to skip."""
    limit: int = 60
    """Videos of a page, 1 to `MAX_LIMIT`."""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Selection":
        """Read a selection from the query of a URL.

        Raises:
            UsageError: A parameter is unknown or malformed.
        """
        names = {"where", "class", "subset", "text", "sort", "descending", "offset", "limit"}
        unknown = sorted(query.keys() - names - {"token"})
        if unknown:
            raise UsageError(f"no parameter {unknown[0]!r}; there are {', '.join(sorted(names))}")
        selection = cls(
            where=query.get("where", ""),
            class_name=query.get("class", ""),
            subset=query.get("subset", ""),
            text=query.get("text", ""),
            sort=query.get("sort", "id"),
            descending=query.get("descending", "") in ("1", "true"),
            offset=parse_number(query, "offset", 0, 0, 1 << 40),
            limit=parse_number(query, "limit", 60, 1, MAX_LIMIT),
        )
        if selection.sort not in SORT_KEYS:
            raise UsageError(f"sort is one of {', '.join(SORT_KEYS)}, got {selection.sort!r}")
        return selection

    def list_conditions(self) -> list[Condition]:
        """Return the conditions on class, subset and numbers."""
        conditions = parse_conditions(self.where) if self.where.strip() else []
        for column, name in (("class", self.class_name), ("subset", self.subset)):
            conditions += [Condition(column, "=", name)] if name else []
        return conditions


def parse_number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """Read a whole number from the query of a URL.

    Raises:
        UsageError: It is not a whole number from ``low`` to ``high``.
    """
    text = query.get(name, str(default))
    number = int(text) if text.isdecimal() and text.isascii() and len(text) < 16 else -1
    if not low <= number <= high:
        raise UsageError(f"{name} is a whole number from {low} to {high}, got {text!r}")
    return number


def list_page(view: StoreView, selection: Selection) -> dict[str, Any]:
    """List the videos of one page, for ``/api/videos``.

    Args:
        view: The open store.
        selection: The videos to show.

    Returns:
        The number of all selected videos, and what the grid shows of those of the page.

    Raises:
        UsageError: The store has no such class or subset, or a condition is malformed.
    """
    rows = view.videos.select(
        selection.list_conditions(),
        id_contains=selection.text,
        sort=selection.sort,
        descending=selection.descending,
    )
    page = rows[selection.offset : selection.offset + selection.limit]
    videos = view.videos.describe(page)
    for row, video in zip(page.tolist(), videos, strict=True):
        video["key"] = make_key(video["id"])
        video["streams"] = view.store[row].streams
    return {
        "version": view.version,
        "total": len(rows),
        "offset": selection.offset,
        "videos": videos,
    }
