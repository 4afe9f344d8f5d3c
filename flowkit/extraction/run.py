"""Extract the videos of a dataset that a store lacks.

    located videos ─ plan ─ tasks ─ workers ─ shards ─ commit records ─ index
                      ↑                                                  │
                      └──────────── what the store already has ──────────┘

`extract` is the entry point. The order of the steps is defined by `StoreRun` in store_run.py.
"""

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from rich.console import Console

from flowkit.annotations import AnnotationTable, LocatedVideos
from flowkit.errors import RecipeError, UsageError
from flowkit.extraction.actors import uses_gpu
from flowkit.extraction.folder_run import PlannedWork
from flowkit.extraction.frame_rates import (
    FrameRates,
    check_has_folders,
    check_resampling,
    has_other_rate,
)
from flowkit.extraction.gpu_timer import GpuTimes
from flowkit.extraction.options import Options, RunOptions
from flowkit.extraction.plan import Plan, make_plan
from flowkit.extraction.ray_cluster import find_address
from flowkit.extraction.source import has_changed
from flowkit.extraction.store_run import StoreRun
from flowkit.extraction.summary import Summary, format_bytes
from flowkit.extraction.tasks import ExtractionTask, Outcome
from flowkit.extraction.uploads import Uploads
from flowkit.extraction.video_failures import make_failure
from flowkit.extraction.worker_setup import WorkerSetup
from flowkit.flow import resolve_backend
from flowkit.flow.backends import check_backend, explain_fallback
from flowkit.flow.learned.device import choose_device_backend
from flowkit.flow.learned.weights import find_weights_file
from flowkit.path_text import printable_path
from flowkit.recipe import StoreRecipe
from flowkit.store import Store, create_or_open
from flowkit.store.annotations import update_annotations
from flowkit.store.failures import Failure, read_failures


def extract(
    located: LocatedVideos,
    root: Path,
    recipe: StoreRecipe,
    options: Options | None = None,
    *,
    table: AnnotationTable | None = None,
    dataset: str | None = None,
    console: Console | None = None,
    uploads: Uploads | None = None,
) -> Summary:
    """Extract every located video that the store at ``root`` does not have yet.

    After an interruption, call it again: it continues from what the store has. Videos that cannot
    be extracted are listed in the summary and raise no error.

    Args:
        located: The videos of the dataset on disk.
        root: Folder of the store; created if it is missing.
        recipe: What the store contains.
        options: How the run is executed; None for the defaults.
        table: Labels and subsets to add to the store.
        dataset: Name of the dataset, recorded in a new store.
        console: Where progress is shown; None for stderr.
        uploads: What uploads the shards if ``root`` is a working store, the local folder of a store
            at a URL; made by `open_target`.

    Returns:
        What was extracted, what failed, and where the time went.

    Raises:
        UsageError: The options do not fit the videos, or the recipe needs another stream.
        RecipeError: The store has another recipe.
        FlowError: The backend or learned method cannot run here, or its weights cannot be used.
        LockedError: Another run holds the store.
        DiskFullError: The disk is full.
        InternalError: All videos, or a hundred in a row, failed with the same internal error.
    """
    run = ExtractionRun(located, root, recipe, options or Options(), table, dataset, console)
    if uploads is not None:
        run.uploads, run.summary.store = uploads, uploads.url
    run.run()
    return run.summary


class ExtractionRun(StoreRun):
    """One run of `extract`; the arguments are those of `extract`."""

    def __init__(
        self,
        located: LocatedVideos,
        root: Path,
        recipe: StoreRecipe,
        options: Options,
        table: AnnotationTable | None,
        dataset: str | None,
        console: Console | None,
    ) -> None:
        self.summary = Summary(store=str(root))
        super().__init__(root, options, self.summary, console)
        self.located, self.recipe, self.options = located, recipe, options
        self.table, self.dataset = table, dataset
        self.lanes = options.lanes  # videos that share the GPU of this process
        self.tasks: dict[str, ExtractionTask] = {}

    def open_folder(self) -> None:
        """See `StoreRun`."""
        check_has_folders(self.located.sources, self.options.frame_rate)
        flow = self.recipe.flow
        if flow is not None and flow.source == "stored rgb" and self.recipe.rgb is None:
            raise UsageError(
                "the recipe computes flow from stored RGB, and the store has none: expected "
                "--streams rgb,flow"
            )
        if "flow" in self.options.streams:
            self.summary.backend = choose_backend(
                self.options.backend, self.options, self.recipe, self.log
            )
        self.recipe = create_or_open(self.root, self.recipe, self.dataset).recipe

    def prepare_index(self) -> None:
        """Write the annotations, which the index includes; see `StoreRun`."""
        if self.table is not None and update_annotations(self.root, self.table, keep_division=True):
            self.log(
                "the subsets that `flowkit split` made are kept; `flowkit index` with the same "
                "labels replaces them"
            )

    def make_plan(self, store: Store) -> PlannedWork:
        """See `StoreRun`."""
        options, summary = self.options, self.summary
        failures = read_failures(self.root)
        plan = self.plan_tasks(store, failures)
        self.tasks = {task.id: task for task in plan.tasks}
        if not summary.backend and any("flow" in task.streams for task in plan.tasks):
            check_flow_recomputable(self.recipe, self.root)
            summary.backend = choose_backend(options.backend, options, self.recipe, self.log)
        self._add_left_out_videos(plan)
        self.record_rejected(self.located, failures)
        setup = WorkerSetup(
            root=self.root.absolute(),
            recipe=self.recipe,
            backend=summary.backend,
            flow_weights=self._find_flow_weights(),
            part=options.part,
            min_frames=options.min_frames,
            roll_bytes=options.roll_bytes,
            roll_seconds=options.roll_seconds,
            open_video=options.open_video,
        )
        return PlannedWork(plan.tasks, setup, {task.id: task.weight for task in plan.tasks})

    def _find_flow_weights(self) -> Path | None:
        """Find the weight file of the method of flow; None if no flow is computed, or by TV-L1."""
        flow = self.recipe.flow
        if not self.summary.backend or flow is None or not flow.is_learned:
            return None
        return find_weights_file(flow.method, self.options.flow_weights)

    def plan_tasks(self, store: Store, failures: Mapping[str, Failure]) -> Plan:
        """Decide which videos are extracted.

        Args:
            store: The open store.
            failures: Earlier failures by video id.

        Raises:
            UsageError: Frame folders without a stated frame rate are to be resampled.
        """
        options = self.options
        rates = FrameRates(self.root, options.frame_rate)
        plan = make_plan(self.located.sources, store, failures, rates, options)
        check_resampling(plan.tasks, self.recipe)
        return plan

    def _add_left_out_videos(self, plan: Plan) -> None:
        """Add the videos that the plan leaves out to the summary."""
        summary, located = self.summary, self.located
        summary.done_before = len(plan.done)
        summary.quarantined = plan.quarantined
        summary.changed = plan.changed
        summary.missing = list(located.missing)
        summary.unannotated = [printable_path(path) for path in located.unannotated]
        summary.beyond = plan.beyond  # videos left out by --limit

    def record_start(self, workers: int, backend: str) -> None:
        """See `StoreRun`."""
        self.summary.workers, self.summary.backend = workers, backend
        if uses_gpu(backend):
            self.summary.gpu = GpuTimes()
        self.summary.start_seconds = time.monotonic() - self.started

    def add_outcome(self, outcome: Outcome) -> None:
        """See `StoreRun`."""
        self.summary.add(outcome)
        self.summary.source_bytes += self.tasks[outcome.id].weight

    def make_failure(self, outcome: Outcome) -> Failure:
        """See `StoreRun`."""
        return make_failure(self.tasks[outcome.id], outcome)

    def estimate_need(self) -> str:
        """Estimate from what has been extracted so far; see `StoreRun`."""
        summary = self.summary
        source_bytes = sum(task.weight for task in self.tasks.values()) - summary.source_bytes
        if not summary.bytes or not summary.source_bytes:
            return f"{format_bytes(source_bytes)} of videos remain to be extracted"
        need = max(summary.bytes * source_bytes / summary.source_bytes, 1 << 20)
        return f"the remaining videos need about {format_bytes(need)}"

    def is_complete(self, id: str, streams: Collection[str]) -> bool:
        """See `StoreRun`."""
        task = self.tasks.get(id)
        return task is None or set(task.streams) <= set(streams)

    def is_committed(self, store: Store, id: str) -> bool:
        """See `StoreRun`."""
        task, row = self.tasks[id], store.find(id)
        if row is None:
            return False
        video, rate = store[row], task.frame_rate
        if task.supersedes and (
            video.has_mixed_sources
            or has_changed(task.source, video.fingerprint)
            or (rate is not None and has_other_rate(rate, video, self.recipe))
        ):
            return False
        return set(task.streams) <= set(video.streams)

    def summarize(self, committed: int) -> None:
        """See `StoreRun`."""
        self.summary.extracted = committed


def choose_backend(
    requested: str, options: RunOptions, recipe: StoreRecipe, log: Callable[[str], None]
) -> str:
    """Choose the optical-flow backend of a run.

    On a cluster, only its nodes can tell which backends work there. ``"auto"`` is then returned
    unchanged and resolved once Ray is connected, and each node checks the backend itself.

    Args:
        requested: Name of the backend, or ``"auto"``.
        options: The options of the run.
        recipe: Recipe with flow.
        log: Called with a line that explains why the GPU is not used, if so.

    Returns:
        The name of a backend, or ``"auto"``.

    Raises:
        UsageError: A backend of TV-L1 is requested for a learned method.
        FlowError: The backend cannot run here.
    """
    if recipe.flow is not None and recipe.flow.is_learned:
        if requested != "auto":
            raise UsageError(
                f"--backend {requested}: backends are those of TV-L1; expected no --backend "
                f"with {recipe.flow.method}, which PyTorch computes on a GPU if it finds one"
            )
        is_cluster = options.workers != 0 and find_address(options.address)
        return "auto" if is_cluster else choose_device_backend()
    if options.workers != 0 and find_address(options.address):
        return check_backend(requested)
    line = explain_fallback() if requested == "auto" else None
    if line is not None:
        log(line)
    return resolve_backend(requested)


def check_flow_recomputable(recipe: StoreRecipe, root: Path) -> None:
    """Raise a RecipeError if the store's flow was imported, so that its solver is unknown."""
    if recipe.flow is None or recipe.flow.is_imported:
        raise RecipeError(
            f"sources of {root} changed, but their flow was imported and cannot be computed again: "
            "leave out --update, or use another store"
        )
