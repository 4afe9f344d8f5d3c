"""Compute the feature files of the videos of a folder, a dataset or a store.

The steps of a run are those of flowkit/extraction/folder_run.py, which also extracts videos.
"""

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from flowkit.annotations import LocatedVideos
from flowkit.errors import UsageError
from flowkit.extraction.actors import uses_gpu
from flowkit.extraction.folder_run import FolderRun, PlannedWork
from flowkit.extraction.frame_rates import check_has_folders
from flowkit.extraction.gpu_timer import GpuTimes
from flowkit.extraction.plan import belongs
from flowkit.extraction.run import choose_backend
from flowkit.extraction.summary import format_bytes
from flowkit.extraction.tasks import ExtractionTask, Outcome
from flowkit.extraction.video_failures import make_failure
from flowkit.flow.learned.weights import find_weights_file
from flowkit.path_text import printable_path
from flowkit.recipe import StoreRecipe
from flowkit.store import Store
from flowkit.store.failures import Failure, read_failures
from flowkit.streams import StreamName
from train.feature_files.folder import FeatureFolder
from train.feature_files.options import FileOptions
from train.feature_files.plan import SHORTER_THAN_WINDOW, FilePlanner
from train.feature_files.recipe import FileRecipe, Layout
from train.feature_files.settings import FileSettings
from train.feature_files.summary import Summary
from train.feature_files.windows import WindowSampling
from train.features.embedding import choose_device
from train.features.network import FeatureNetwork, NetworkOptions, check_sizes
from train.features.network_loading import load_feature_network, make_worker_options
from train.features.plan import check_streams

BATCH_IMAGES = {"cpu": 32, "cuda": 256}
CLIP_IMAGES = 16  # a clip counts as this many images in a batch
MAX_THREADS = 8  # threads of a worker that run networks; each needs some 300 MB


@dataclass(frozen=True, kw_only=True)
class FileRequest:
    """Which features to compute, from which images, and where to write them."""

    out: Path
    """Folder of the feature files."""
    networks: Mapping[StreamName, NetworkOptions]
    """The network of each stream, in the order of their columns."""
    windows: WindowSampling
    """Which frames each row is computed from."""
    frames: StoreRecipe
    """How frames are resized and resampled, and how flow is computed. Of a store, its recipe."""
    store: Path | None = None
    """The store whose images are read; None for files and frame folders."""
    layout: Layout = "concatenated"
    """Whether the features of all streams are in one file."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format in which the networks compute."""
    keep_extension: bool = False
    """Whether the names of the files keep the extensions of the videos."""


def extract_feature_files(
    located: LocatedVideos,
    request: FileRequest,
    options: FileOptions | None = None,
    console: Console | None = None,
) -> Summary:
    """Compute the feature files of every video that lacks them.

    Call it again after an interruption to compute what is missing. Failures of single videos are
    listed in the summary.

    Args:
        located: The videos.
        request: The features to compute.
        options: How the run is executed. Default: `FileOptions()`.
        console: Where progress is shown. Default: stderr.

    Returns:
        The summary of the run.

    Raises:
        UsageError: The options do not fit the networks or the videos.
        RecipeError: The folder has features of another recipe.
        LockedError: Another run writes to the folder.
        DiskFullError: The disk is full.
        InternalError: All videos, or a hundred in a row, failed with the same internal error.
    """
    run = FeatureFileRun(located, request, options or FileOptions(), console)
    run.run()
    return run.summary


class FeatureFileRun(FolderRun):
    """One run of `extract_feature_files`, with the same arguments."""

    counted = "features"

    def __init__(
        self,
        located: LocatedVideos,
        request: FileRequest,
        options: FileOptions,
        console: Console | None,
    ) -> None:
        self.folder = FeatureFolder(request.out, request.keep_extension)
        self.summary = Summary(store=str(request.out))
        super().__init__(self.folder.state, options, self.summary, console)
        self.located, self.request, self.options = located, request, options
        self.tasks: dict[str, ExtractionTask] = {}
        self._outdated: dict[str, tuple[int, int] | None] = {}  # JSON files of changed sources

    @property
    def result_folder(self) -> Path:
        """Return the folder of the feature files."""
        return self.folder.path

    def open_folder(self) -> None:
        """Load the networks, check the videos, and create the folder or check its recipe."""
        request, options = self.request, self.options
        networks = load_networks(request.networks)
        views = {network.views for network in networks.values()}
        if len(views) > 1:
            raise UsageError("all streams of a feature file need the same crops")
        if request.store is not None:
            store = Store(request.store)
            check_streams(store.location, store.recipe, tuple(networks), "feature files")
        else:
            check_has_folders(self.located.sources, options.frame_rate)
        self.folder.check_names(source.id for source in self.located.sources)
        self.recipe = FileRecipe(
            frames=request.frames,
            networks={name: network.recipe for name, network in networks.items()},
            windows=request.windows,
            layout=request.layout,
            precision=request.precision,
            source="videos" if request.store is None else "store",
            keep_extension=request.keep_extension,
        )
        # Absolute paths, because workers run in other folders.
        self.worker_options = {
            name: make_worker_options(request.networks[name], network)
            for name, network in networks.items()
        }
        self.summary.networks = {name: net.recipe.model for name, net in networks.items()}
        self.summary.device = choose_device(options.device)
        if "flow" in networks and request.store is None:
            self.summary.backend = choose_backend(
                options.backend, options, request.frames, self.log
            )
        self.folder.open(self.recipe)
        self.batch = choose_batch(options.batch, self.summary.device, networks)

    def recover(self, wait_seconds: float) -> Collection[str]:
        """Remove unfinished files, and find the planned videos that are complete.

        Args:
            wait_seconds: Not used: only workers of this run complete its videos.

        Raises:
            RecipeError: Another run has replaced the recipe before this one locked its part.
        """
        if not self.tasks:
            self.folder.open(self.recipe)
            part = self.options.part
            own = [source.id for source in self.located.sources if belongs(source.id, part)]
            self.folder.remove_unfinished(own, self.recipe)
        return {id for id in self.tasks if self._is_done(id)}

    def _is_done(self, id: str) -> bool:
        """Return whether a planned video has its files: a JSON file that this run has written."""
        return self.folder.identify_info(id) not in (None, self._outdated.get(id))

    def plan_work(self) -> PlannedWork:
        """Plan the videos whose files are missing."""
        request, options, summary = self.request, self.options, self.summary
        failures = read_failures(self.root)
        planner = FilePlanner(self.folder, self.recipe, options, failures, summary, self.log)
        sources = self.located.sources
        if request.store is not None:
            tasks = planner.plan_stored(sources, Store(request.store))
        else:
            tasks = planner.plan_files(sources)
        self.tasks = {task.id: task for task in tasks}
        self._outdated = {id: self.folder.identify_info(id) for id in self.tasks}
        summary.missing = list(self.located.missing)
        summary.unannotated = [printable_path(path) for path in self.located.unannotated]
        self.record_rejected(self.located, failures)
        flow, weights = request.frames.flow, None
        if summary.backend and flow is not None and flow.is_learned:
            weights = find_weights_file(flow.method, options.flow_weights)
        setup = FileSettings(
            root=self.root.absolute(),
            recipe=request.frames,
            backend=summary.backend,
            flow_weights=weights,
            part=options.part,
            folder=FeatureFolder(self.folder.path.absolute(), request.keep_extension),
            file_recipe=self.recipe,
            network_options=self.worker_options,
            device=summary.device,
            batch=self.batch,
            threads=self._choose_threads(len(tasks)),
            strict=options.strict,
            open_video=options.open_video,
        )
        return PlannedWork(tasks, setup, {task.id: task.weight for task in tasks})

    def _choose_threads(self, tasks: int) -> int:
        """Choose how many threads of a worker run networks on a CPU.

        With many videos there is one, since each worker has a core. With few, one for each stream,
        so that the last long video uses cores that have no video any more; and with fewer videos
        than cores, an equal share of the cores of this machine.
        """
        if self.summary.device == "cuda" or uses_gpu(self.summary.backend):
            return 1
        streams, cores = len(self.request.networks), len(os.sched_getaffinity(0))
        workers = cores if self.options.workers is None else self.options.workers
        if workers and tasks >= 2 * workers:
            return 1
        if self.options.workers is not None:
            return streams
        return max(streams, min(cores // max(1, min(cores, tasks)), MAX_THREADS))

    def record_start(self, workers: int, backend: str) -> None:
        """Record the number of workers and the time that they took to start."""
        self.summary.workers, self.summary.backend = workers, backend
        if uses_gpu(backend) or self.summary.device == "cuda":
            self.summary.gpu = GpuTimes()
        self.summary.start_seconds = time.monotonic() - self.execution_started

    def add_outcome(self, outcome: Outcome) -> None:
        """Add the features of a video to the summary."""
        self.summary.add(outcome)

    def make_failure(self, outcome: Outcome) -> Failure:
        """Describe a video that failed."""
        # Quickly seen, and a matter of --strict: the next run looks again.
        is_strict = outcome.kind == SHORTER_THAN_WINDOW
        return make_failure(self.tasks[outcome.id], outcome, retry=is_strict)

    def estimate_need(self) -> str:
        """Estimate the space that the remaining videos need from those that are done."""
        summary = self.summary
        done = sum(self._is_done(id) for id in self.tasks)
        if not summary.bytes or not done:
            return ""
        left = len(self.tasks) - done
        return f"the remaining videos need about {format_bytes(summary.bytes / done * left)}"

    def complete(self, work: PlannedWork) -> None:
        """Count the videos that have their files."""
        failed = {failure.id for failure in self.summary.failed}
        not_failed = [id for id in self.tasks if id not in failed]
        done = sum(self._is_done(id) for id in not_failed)
        self.folder.remove_unfinished(self.tasks, self.recipe)  # of workers that have crashed
        self.summary.computed, self.summary.left = done, len(not_failed) - done
        self.summary.work_seconds = self.execution_seconds - self.summary.start_seconds


def load_networks(
    options: Mapping[StreamName, NetworkOptions],
) -> dict[StreamName, FeatureNetwork]:
    """Load the networks of all streams, and check that they accept their inputs."""
    networks = {}
    for stream, network_options in options.items():
        network = load_feature_network(network_options)
        if network.sampling.source != stream:
            raise UsageError(
                f"{network.path} reads {network.sampling.source}, expected a network of {stream}"
            )
        check_sizes(network)
        networks[stream] = network
    return networks


def choose_batch(
    batch: int | None, device: str, networks: Mapping[StreamName, FeatureNetwork]
) -> int:
    """Choose the number of images or clips in a batch."""
    is_3d = any(network.is_3d for network in networks.values())
    return batch or max(1, BATCH_IMAGES[device] // (CLIP_IMAGES if is_3d else 1))
