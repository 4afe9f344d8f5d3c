"""What is left to do: videos of a store that lack features, and why some cannot have any.

Videos go to workers in shares: a worker reads a share's images ahead, leads them through the
network in full batches, and writes the share out.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flowkit.datasets.views import Source
from flowkit.extraction.plan import belongs
from flowkit.extraction.tasks import Outcome, Status
from flowkit.store import Failure, Store


@dataclass(frozen=True, kw_only=True)
class Target:
    """A video to compute: its frames, flow fields or patches, and the rows that come of them.

    ``supersedes``: the store has features of an older source of it, which these replace.
    """

    id: str
    available: int
    weight: int
    supersedes: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The videos of a run in the store's order, and why the others are not among them."""

    targets: tuple[Target, ...]
    done: int = 0  # in the store
    lacking: tuple[Failure, ...] = ()  # whose stream is not there, or too short
    quarantined: tuple[Failure, ...] = ()  # failed before
    beyond: int = 0  # left out by --limit


def make_plan(
    store: Store,
    stream: str,
    source: Source,
    rows: tuple[int, int],
    failures: Mapping[str, Failure],
    *,
    stale: Collection[str] = (),
    part: tuple[int, int] = (0, 1),
    limit: int | None = None,
    retry_failed: bool = False,
) -> Plan:
    """Decide for each video of this part (i, n) whether ``stream`` is computed of it now.

    ``rows``: the positions of a video, 0 for as many as it has, and the views of each. A
    quarantined video is tried again with ``retry_failed``, or where the installation was to blame.
    ``stale``: videos whose features are of
    a source that was extracted anew since.
    """
    targets: list[Target] = []
    lacking: list[Failure] = []
    quarantined: list[Failure] = []
    done = 0
    positions, views = rows
    old = frozenset(stale)
    for row in range(len(store)):
        id = store.index.id(row)
        if not belongs(id, part):
            continue
        place = store.index.place(source, row)
        available = 0 if place is None else place[3] - (source == "flow")
        if store.index.place(stream, row) is not None and id not in old:
            done += 1
        elif place is None:
            reason = f"it has no {source}: extract it with --streams {source}"
            lacking.append(make_failure(id, f"no-{source}", reason, stream))
        elif not available and source != "audio":
            lacking.append(make_failure(id, "too-short", f"it has no {source}: 1 frame", stream))
        elif id in failures and not (retry_failed or failures[id].retry):
            quarantined.append(failures[id])
        else:
            weight = views * (positions if positions and available else available)
            targets.append(
                Target(id=id, available=available, weight=max(1, weight), supersedes=id in old)
            )
    kept = targets[:limit]
    return Plan(
        targets=tuple(kept),
        done=done,
        lacking=tuple(lacking),
        quarantined=tuple(quarantined),
        beyond=len(targets) - len(kept),
    )


def make_failure(
    id: str, kind: str, reason: str, stream: str, attempts: int = 1, traceback: str = ""
) -> Failure:
    """Why a video has no features of this stream."""
    return Failure(
        id=id,
        source="",
        kind=kind,
        reason=reason,
        attempts=attempts,
        time=time.time(),
        stream=stream,
        traceback=traceback,
    )


@dataclass(frozen=True, kw_only=True)
class Share:
    """Videos that a worker computes together; see `flowkit.extraction.tasks.Work`.

    ``source``: the weights, which every node must see.
    """

    targets: tuple[Target, ...]
    source: Path
    attempt: int = 1

    @property
    def id(self) -> str:
        """How it is called in messages."""
        first, *others = self.targets
        return f"{first.id} and {len(others)} more" if others else first.id

    def divide(self, done: Collection[str]) -> tuple["Share | None", "Share | None"]:
        """What of it is in the store already, and what is left."""
        parts = (
            tuple(t for t in self.targets if t.id in done),
            tuple(t for t in self.targets if t.id not in done),
        )
        found, left = (replace(self, targets=part) if part else None for part in parts)
        return found, left

    def again(self) -> tuple["Share", ...]:
        """Its halves, until the video at fault is alone; that one is an attempt later."""
        if len(self.targets) == 1:
            return (replace(self, attempt=self.attempt + 1),)
        half = len(self.targets) // 2
        return tuple(replace(self, targets=t) for t in (self.targets[:half], self.targets[half:]))

    def outcome(self, status: Status, kind: str = "", reason: str = "") -> tuple[Outcome, ...]:
        """The same of all of its videos."""
        return tuple(
            Outcome(id=t.id, status=status, kind=kind, reason=reason, attempts=self.attempt)
            for t in self.targets
        )


def share_out(targets: Sequence[Target], weight: int, source: Path) -> list[Share]:
    """Consecutive videos in shares of about so many rows."""
    shares: list[Share] = []
    own: list[Target] = []
    size = 0
    for target in targets:
        own.append(target)
        size += target.weight
        if size >= weight:
            shares.append(Share(targets=tuple(own), source=source))
            own, size = [], 0
    if own:
        shares.append(Share(targets=tuple(own), source=source))
    return shares
