"""Plan a feature run: which videos lack features, and why some cannot have any.

Workers receive videos in shares: groups of consecutive videos that one worker computes together.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flowkit.datasets.views import PositionSampling
from flowkit.errors import UsageError
from flowkit.extraction.plan import belongs
from flowkit.extraction.tasks import Outcome, Status
from flowkit.recipe import StoreRecipe
from flowkit.store import Failure, Store
from flowkit.streams import STREAMS, StreamName
from train.features.options import Options
from train.features.summary import Summary


@dataclass(frozen=True, kw_only=True)
class Target:
    """A video whose features are computed."""

    id: str
    """Id of the video."""
    available: int
    """Number of its frames, flow fields or patches."""
    weight: int
    """Number of features that the video will have, at least 1."""
    supersedes: bool = False
    """Whether the new features replace those of an older source of the video."""


def make_plan(
    store: Store,
    stream: str,
    input_stream: StreamName,
    positions_and_views: tuple[int, int],
    failures: Mapping[str, Failure],
    options: Options,
    summary: Summary,
    *,
    windows: PositionSampling | None = None,
    stale: Collection[str] = (),
) -> list[Target]:
    """Decide for each video whether its features are computed in this run.

    Quarantined videos whose failure was caused by the installation are always tried again.

    Args:
        store: The store.
        stream: The stream to compute.
        input_stream: The stream that the network reads.
        positions_and_views: Positions per video (0 for all available ones), and views per position.
        failures: Failures of earlier runs by video id.
        options: How the run is executed.
        summary: The summary of the run, in which the videos that it leaves out, and those that are
            padded, are recorded.
        windows: The sampling, if the positions are the windows of a video.
        stale: Ids of videos whose source was extracted again since their features were made.

    Returns:
        The videos to compute, in the store's order.
    """

    def is_padded(available: int) -> bool:
        return windows is not None and windows.is_padded(available)

    targets: list[Target] = []
    positions, views = positions_and_views
    stale_ids = frozenset(stale)
    for row in range(len(store)):
        id = store.index.id(row)
        if not belongs(id, options.part):
            continue
        available = store.index.count(input_stream, row)
        is_too_short = options.strict and is_padded(available)
        if store.index.locate(stream, row) is not None and id not in stale_ids:
            summary.done_before += 1
        elif (lack := find_lack(store, row, input_stream, is_too_short)) is not None:
            summary.lacking.append(make_failure(id, *lack, stream))
        elif id in failures and not (options.retry_failed or failures[id].retry):
            summary.quarantined.append(failures[id])
        else:
            starts = positions if positions and available else available
            if windows is not None:
                starts = len(windows.sample_starts(available)[0])
            is_stale, weight = id in stale_ids, max(1, views * starts)
            targets.append(Target(id=id, available=available, weight=weight, supersedes=is_stale))
    within_limit = targets[: options.limit]
    summary.beyond = len(targets) - len(within_limit)
    summary.padded = [target.id for target in within_limit if is_padded(target.available)]
    return within_limit


def find_lack(
    store: Store, row: int, input_stream: StreamName, is_too_short: bool
) -> tuple[str, str] | None:
    """Find out why a video cannot have features.

    Args:
        store: The store.
        row: Row of the video in the index.
        input_stream: The stream that the network reads.
        is_too_short: Whether it is shorter than a window, in a strict run.

    Returns:
        The kind and the reason of the failure; None if there is none.
    """
    name, available = input_stream, store.index.count(input_stream, row)
    if store.index.locate(name, row) is None:
        return f"no-{name}", f"it has no {name}: extract it with --streams {name}"
    if not available and STREAMS[name].is_image:
        frames = store.index.count_frames(row)
        return "too-short", f"it has no {name}: it has only {frames} frame{'s' * (frames != 1)}"
    if is_too_short:
        return (
            "shorter-than-window",
            f"it has {available} {STREAMS[name].unit}, and a window needs more; without --strict "
            "they would be padded",
        )
    return None


def make_failure(
    id: str, kind: str, reason: str, stream: str, attempts: int = 1, traceback: str = ""
) -> Failure:
    """Build the record of why a video has no features of a stream."""
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


def check_streams(
    location: Path | str, recipe: StoreRecipe, streams: Sequence[str], needs_next_frame: str | None
) -> None:
    """Check that a store has the streams that networks read, and flow that fits their use.

    Args:
        location: Folder or URL of the store, for the message.
        recipe: Its recipe.
        streams: The streams.
        needs_next_frame: What needs flow to the next frame, for the message; None if nothing does.

    Raises:
        UsageError: It lacks a stream, or its flow does not lead to the next frame.
    """
    missing = [name for name in streams if name not in recipe.streams]
    if missing:
        raise UsageError(
            f"{location} has no {missing[0]}, only {', '.join(recipe.streams) or 'nothing'}: "
            f"extract it with --streams {missing[0]}"
        )
    step = recipe.flow.step if "flow" in streams and recipe.flow else 1
    if needs_next_frame and step != 1:
        raise UsageError(
            f"the flow of {location} has step {step}; {needs_next_frame} need flow to the next "
            "frame (step 1)"
        )


@dataclass(frozen=True, kw_only=True)
class Share:
    """Videos that one worker computes together.

    A `WorkerTask` of flowkit/extraction/tasks.py, like the `ExtractionTask` of one video.
    """

    targets: tuple[Target, ...]
    """The videos."""
    weight_file: Path
    """File of the weights, which every node must be able to read."""
    deaths: tuple[str, ...] = ()
    """Kinds of death of the workers that had the video alone in this run."""

    @property
    def attempt(self) -> int:
        """Return the number of this attempt, from 1."""
        return len(self.deaths) + 1

    @property
    def input_path(self) -> Path:
        """See `WorkerTask`."""
        return self.weight_file

    @property
    def id(self) -> str:
        """Return the name of the share in messages."""
        first, *others = self.targets
        return f"{first.id} and {len(others)} more" if others else first.id

    def divide(self, done: Collection[str]) -> tuple["Share | None", "Share | None"]:
        """Split the share into the videos in `done` and the others; None for an empty part."""
        parts = (
            tuple(t for t in self.targets if t.id in done),
            tuple(t for t in self.targets if t.id not in done),
        )
        finished, unfinished = (replace(self, targets=part) if part else None for part in parts)
        return finished, unfinished

    def make_retries(self, death: str) -> tuple["Share", ...]:
        """Return the shares to retry after a worker died.

        A share is halved, again and again, until the video that causes the failure is alone. Only
        the deaths of a single video are counted.
        """
        if len(self.targets) == 1:
            return (replace(self, deaths=(*self.deaths, death)),)
        return self.halve()

    def halve(self) -> tuple["Share", "Share"]:
        """Return the two halves of a share of several videos."""
        half = len(self.targets) // 2
        return replace(self, targets=self.targets[:half]), replace(
            self, targets=self.targets[half:]
        )

    def make_outcome(self, status: Status, kind: str = "", reason: str = "") -> tuple[Outcome, ...]:
        """Return the same outcome for each video."""
        return tuple(
            Outcome(id=t.id, status=status, kind=kind, reason=reason, attempts=self.attempt)
            for t in self.targets
        )


def share_out(targets: Sequence[Target], weight: int, weight_file: Path) -> list[Share]:
    """Group consecutive videos into shares of about `weight` features."""
    shares: list[Share] = []
    group: list[Target] = []
    size = 0
    for target in targets:
        group.append(target)
        size += target.weight
        if size >= weight:
            shares.append(Share(targets=tuple(group), weight_file=weight_file))
            group, size = [], 0
    if group:
        shares.append(Share(targets=tuple(group), weight_file=weight_file))
    return shares
