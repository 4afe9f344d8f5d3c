"""Select the videos of one page of the grid, from the index alone."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.errors import UsageError
from flowkit.store.conditions import Condition, parse_conditions
from flowkit.store.label_columns import Rows
from flowkit.store.video import Video
from flowkit.store.video_list import SORT_KEYS
from flowkit.web.absent import AbsentVideos
from flowkit.web.keys import make_key
from flowkit.web.open_store import OpenStore, StoreView

Order = Callable[[StoreView], npt.NDArray[np.float64]]
"""Returns a number for each video of the store, by which they are sorted; NaN where unknown."""
MAX_LIMIT = 200
"""Videos of a page at most."""
STATUSES = ("stored", "failed", "missing")
"""Which videos a selection is made from: those of the store, those that could not be extracted, or
those that are annotated but not in the store."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which videos to show, and in which order."""

    where: str = ""
    """Conditions as in ``flowkit list --where``; empty for none."""
    class_name: str = ""
    """Only videos of this class."""
    subset: str = ""
    """Only videos of this subset."""
    status: str = "stored"
    """One of `STATUSES`."""
    text: str = ""
    """Only videos whose id contains this, in upper or lower case."""
    sort: str = "id"
    """One of `SORT_KEYS`, or the name of an order of a plugin."""
    descending: bool = False
    """Whether the largest value comes first."""
    offset: int = 0
    """Videos to skip."""
    limit: int = 60
    """Videos of a page, 1 to `MAX_LIMIT`."""

    @classmethod
    def from_query(cls, query: Mapping[str, str], orders: Collection[str] = ()) -> "Selection":
        """Read a selection from the query of a URL.

        Args:
            query: The query.
            orders: Names of orders that plugins add.

        Raises:
            UsageError: A parameter is unknown or malformed.
        """
        names = {"where", "class", "subset", "status", "text", "sort", "descending"}
        names |= {"offset", "limit"}
        unknown = sorted(query.keys() - names - {"token"})
        if unknown:
            raise UsageError(f"no parameter {unknown[0]!r}; there are {', '.join(sorted(names))}")
        selection = cls(
            where=query.get("where", ""),
            class_name=query.get("class", ""),
            subset=query.get("subset", ""),
            status=query.get("status", "stored"),
            text=query.get("text", ""),
            sort=query.get("sort", "id"),
            descending=parse_flag(query, "descending"),
            offset=parse_number(query, "offset", 0, 0, 1 << 40),
            limit=parse_number(query, "limit", 60, 1, MAX_LIMIT),
        )
        keys = (*SORT_KEYS, *orders)
        if selection.sort not in keys:
            raise UsageError(f"sort is one of {', '.join(keys)}, got {selection.sort!r}")
        if selection.status not in STATUSES:
            raise UsageError(f"status is one of {', '.join(STATUSES)}, got {selection.status!r}")
        return selection

    def list_conditions(self) -> list[Condition]:
        """Return the conditions on class, subset and numbers."""
        conditions = parse_conditions(self.where) if self.where.strip() else []
        for column, name in (("class", self.class_name), ("subset", self.subset)):
            conditions += [Condition(column, "=", name)] if name else []
        return conditions


def parse_flag(query: Mapping[str, str], name: str) -> bool:
    """Read whether something is wanted from the query of a URL; it is not if it is not there.

    Raises:
        UsageError: It is neither yes nor no.
    """
    text = query.get(name, "").lower()
    if text not in ("", "0", "false", "1", "true"):
        raise UsageError(f"{name} is 1 or 0, got {text!r}")
    return text in ("1", "true")


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


def list_page(
    open_store: OpenStore, selection: Selection, orders: Mapping[str, Order] | None = None
) -> dict[str, Any]:
    """List the videos of one page, for ``/api/videos``.

    Args:
        open_store: The open store.
        selection: The videos to show.
        orders: The orders that plugins add, by name.

    Returns:
        The number of all selected videos and of all in the store, the largest displacement that
        flow can have, and what the grid shows of the videos of the page.

    Raises:
        UsageError: The store has no such class or subset, or a condition is malformed.
    """
    view = open_store.get()
    span = slice(selection.offset, selection.offset + selection.limit)
    if selection.status == "stored":
        order = (orders or {}).get(selection.sort)
        # Numbers of plugins can change while the store does not, so they are not kept.
        select = select_rows if order is None else select_rows.__wrapped__
        rows = select(view, replace(selection, offset=0, limit=1), order)
        videos = describe_page(view, rows[span])
    else:
        absent = open_store.get_absent()
        rows = select_absent(absent, selection)
        videos = describe_absent_page(view, absent, rows[span])
    return {
        "version": view.version,
        "bound": view.store.bound,
        "stored": len(view.store),
        "total": len(rows),
        "offset": selection.offset,
        "videos": videos,
    }


@lru_cache(maxsize=8)
def select_rows(view: StoreView, selection: Selection, order: Order | None = None) -> Rows:
    """Select rows of the index; the last results are kept, as each page needs the same.

    Args:
        view: The open store.
        selection: The videos to show, with one offset and limit for all pages.
        order: Returns the numbers to sort by; None for the column that the selection names.
    """
    return view.videos.select(
        selection.list_conditions(),
        id_contains=selection.text,
        sort=selection.sort,
        numbers=None if order is None else order(view),
        descending=selection.descending,
    )


def describe_page(view: StoreView, rows: Rows) -> list[dict[str, Any]]:
    """Describe videos of the store as the grid shows them."""
    videos = view.videos.describe(rows)
    for row, video in zip(rows.tolist(), videos, strict=True):
        stored = view.store[row]
        video["status"] = "stored"
        video["key"] = make_key(video["id"])
        video["streams"] = stored.streams
        video["thumbnail"] = choose_thumbnail(stored)
    return videos


def choose_thumbnail(video: Video) -> dict[str, Any] | None:
    """Choose the picture that stands for a video: the middle frame, or the middle flow field.

    Returns:
        Its part, ``"rgb"`` or ``"flow"``, and its frame; None if the video has neither.
    """
    if "rgb" in video.streams and video.num_frames:
        return {"part": "rgb", "t": video.num_frames // 2}
    fields = video.flow_frames
    return {"part": "flow", "t": fields[len(fields) // 2]} if len(fields) else None


def select_absent(absent: AbsentVideos, selection: Selection) -> Rows:
    """Select videos that failed or are missing; they have no numbers to be sorted by."""
    return absent.select(
        "failed" if selection.status == "failed" else "missing",
        selection.list_conditions(),
        id_contains=selection.text,
        descending=selection.descending and selection.sort == "id",
    )


def describe_absent_page(view: StoreView, absent: AbsentVideos, rows: Rows) -> list[dict[str, Any]]:
    """Describe videos that failed or are missing; only those with a key have a page."""
    videos = absent.describe(rows)
    for video in videos:
        video["status"] = "missing" if video["failure"] is None else "failed"
        video["key"] = make_key(video["id"]) if view.store.find(video["id"]) is not None else None
        video["thumbnail"] = None
    return videos
