"""Compute flow from the RGB frames of a store, and add it to the same store.

This is an extraction that reads the store itself instead of files: for an import that has RGB only,
or for videos that are gone. Everything else is as in run.py. The recipe records that flow was
computed from stored RGB, and the flow has the fingerprint of the RGB, so that both belong to one
original file.
"""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from flowkit.annotations import LocatedVideos, Source
from flowkit.errors import RecipeError, UsageError
from flowkit.extraction.options import Options
from flowkit.extraction.plan import Plan, arrange_tasks, belongs
from flowkit.extraction.run import ExtractionRun
from flowkit.extraction.summary import Summary
from flowkit.extraction.tasks import ExtractionTask, StoredVideo
from flowkit.recipe import StoreRecipe
from flowkit.store import Store, Video, read_header
from flowkit.store.failures import Failure, is_about_stored_images
from flowkit.store.format.location import find_url

STREAMS = ("flow",)
"""The streams that a run computes."""


def extract_stored_flow(
    located: LocatedVideos,
    root: Path,
    recipe: StoreRecipe,
    options: Options | None = None,
    *,
    console: Console | None = None,
) -> Summary:
    """Compute the flow of every video of a store that has RGB and no flow.

    After an interruption, call it again: it continues from what the store has.

    Args:
        located: The videos of the store, as `locate_stored_videos` returns them, or some of them.
        root: Folder of the store.
        recipe: Recipe of the store, with ``flow.source`` "stored rgb".
        options: How the run is executed; None for the defaults. Its streams must be ``flow``.
        console: Where progress is shown; None for stderr.

    Returns:
        What was computed, what failed, and which videos have no RGB.

    Raises:
        FormatError: There is no store at ``root``.
        UsageError: The store has no RGB, or the options do not fit.
        RecipeError: The store has flow that was computed from the videos, or another recipe.
        LockedError: Another run holds the store.
        DiskFullError: The disk is full.
    """
    options = options or Options(streams=STREAMS)
    run = StoredFlowRun(located, root, recipe, options, None, None, console)
    run.run()
    return run.summary


def locate_stored_videos(root: Path) -> LocatedVideos:
    """List the videos of a store as sources, with their labels and subsets.

    Args:
        root: Folder of the store, or its URL.

    Raises:
        FormatError: There is no store at ``root``.
        StoreError: The store has no index.
    """
    store = Store(root)
    videos = map(store.__getitem__, range(len(store)))
    return LocatedVideos(
        tuple(Source(video.id, root, video.labels, video.subsets) for video in videos)
    )


class StoredFlowRun(ExtractionRun):
    """One run of `extract_stored_flow`."""

    def open_folder(self) -> None:
        """Check that flow can be computed from the store's RGB; see `StoreRun`."""
        stored, options = read_header(self.root).recipe, self.options
        if set(options.streams) != set(STREAMS):
            raise UsageError(
                f"only flow is computed from a store's RGB: expected --streams flow, got "
                f"{','.join(options.streams)}"
            )
        if options.update or options.frame_rate is not None:
            raise UsageError("--update and --frame-rate have no effect with --from-store")
        if stored.rgb is None:
            raise UsageError(f"{self.root} has no RGB to compute flow from; extract it first")
        if stored.flow is not None and stored.flow.source != "stored rgb":
            raise RecipeError(
                f"the flow of {self.root} was computed from the videos, and flow from stored RGB "
                "differs from it: extract the other videos from their files, or import the RGB "
                "into another store"
            )
        super().open_folder()

    def plan_tasks(self, store: Store, failures: Mapping[str, Failure]) -> Plan:
        """See `ExtractionRun`."""
        options, plan = self.options, Plan()
        tasks: list[ExtractionTask] = []
        for original in self.located.sources:
            row = store.find(original.id)
            if row is None or not belongs(original.id, options.part):
                continue
            video, failure = store[row], failures.get(original.id)
            if failure and not is_about_stored_images(failure, self.root):
                failure = None  # of the file or the folder, which is not read here
            if "flow" in video.streams:
                plan.done.append(video.id)
            elif "rgb" not in video.streams:
                self.summary.without_rgb.append(video.id)
            elif failure and not (options.retry_failed or failure.retry):
                plan.quarantined.append(failure)
            else:
                tasks.append(make_stored_task(video, self.root, STREAMS))
        plan.tasks, plan.beyond = arrange_tasks(tasks, options.limit)
        return plan


def make_stored_task(video: Video, root: Path, streams: tuple[str, ...]) -> ExtractionTask:
    """Make the task of a video whose images are read from a store in a folder or at a URL."""
    return ExtractionTask(
        id=video.id,
        source=root if find_url(root) else root.absolute(),
        streams=streams,
        weight=video.num_frames * video.width * video.height,
        stored=StoredVideo(video.source, video.fingerprint),
        frames=video.num_frames,
    )
