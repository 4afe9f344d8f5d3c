"""Compute the missing features of the videos in a store.

The steps of such a run are those of flowkit/extraction/store_run.py, which also extracts videos;
only the worker differs. A run of `flowkit train` is something else: a folder of trained networks.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from flowkit.extraction.folder_run import PlannedWork
from flowkit.extraction.store_run import StoreRun
from flowkit.extraction.tasks import Outcome
from flowkit.flow.backends import count_gpus
from flowkit.store import Store, create_or_open, find_stale, read_header
from flowkit.store.failures import Failure, read_failures
from train.features.embedding import choose_device
from train.features.network import FeatureNetwork, NetworkOptions, check_sizes
from train.features.network_loading import load_feature_network, make_worker_options
from train.features.options import Options
from train.features.plan import check_streams, make_failure, make_plan, share_out
from train.features.setup import WorkerSetup
from train.features.summary import Summary
from train.runs.run import Run, check_frame_size

BATCH_SIZES = {"cpu": 32, "cuda": 256}
BATCHES_PER_SHARE = {"cpu": 4, "cuda": 64}  # a killed worker loses at most one share
CLIP_IMAGES = 8  # a clip counts as this many images in a batch


def extract_features(
    root: Path,
    name: str,
    network_options: NetworkOptions,
    options: Options | None = None,
    console: Console | None = None,
) -> Summary:
    """Compute ``features/<name>`` of every video of a store that lacks it.

    Call it again after an interruption to compute what is missing. Failures of single videos are
    listed in the summary.

    Args:
        root: Folder of the store.
        name: Name of the feature set.
        network_options: The network and sampling to use.
        options: How to execute the run. Default: `Options()`.
        console: Console for progress. Default: a new one.

    Returns:
        The summary of the run.

    Raises:
        UsageError: The network cannot compute features as the options require.
        RunError: The network is from a training run that is not finished, or a process that reads
            images died.
        RecipeError: The store has other features of this name.
        LockedError: Another process is writing to the store.
        InternalError: All videos, or a hundred in a row, failed with the same internal error.
    """
    run = FeatureRun(root, name, network_options, options or Options(), console)
    run.run()
    return run.summary


class FeatureRun(StoreRun):
    """One run of `extract_features`, with the same arguments."""

    counted = "features"
    network: FeatureNetwork
    setup: WorkerSetup

    def __init__(
        self,
        root: Path,
        name: str,
        network_options: NetworkOptions,
        options: Options,
        console: Console | None,
    ) -> None:
        self.summary = Summary(store=str(root), name=name, network="")
        super().__init__(root, options, self.summary, console)
        self.name, self.network_options, self.options = name, network_options, options

    def open_folder(self) -> None:
        """Load the network and open the store for its features."""
        network = self.network = load_feature_network(self.network_options)
        options = make_worker_options(self.network_options, network)
        self.setup = make_setup(self.root.absolute(), self.name, options, network, self.options)
        self.summary.network = network.recipe.model

    def make_plan(self, store: Store) -> PlannedWork:
        """Plan the videos to compute and group them into shares."""
        network, setup = self.network, self.setup
        targets = make_plan(
            store,
            setup.stream,
            network.sampling.source,
            (network.recipe.positions, network.views),
            read_failures(self.root, setup.stream),
            self.options,
            self.summary,
            windows=network.sampling if network.recipe.window_stride else None,
            stale=find_stale(self.root, self.name),
        )
        shares = share_out(targets, setup.batch * BATCHES_PER_SHARE[setup.device], network.path)
        return PlannedWork(shares, setup, {target.id: target.weight for target in targets})

    def record_start(self, workers: int, backend: str) -> None:
        """Record the number of workers and the time that they took to start."""
        self.summary.workers, self.summary.device = workers, self.setup.device
        self.summary.start_seconds = time.monotonic() - self.execution_started

    def add_outcome(self, outcome: Outcome) -> None:
        """Add the features of a video to the summary."""
        self.summary.rows += outcome.features

    def make_failure(self, outcome: Outcome) -> Failure:
        """Build the failure record of a video from its outcome."""
        return make_failure(
            outcome.id, outcome.kind, outcome.reason, self.setup.stream, outcome.attempts,
            outcome.traceback,
        )  # fmt: skip

    def is_committed(self, store: Store, id: str) -> bool:
        """Return whether a video has its features in the store."""
        return self.setup.stream in store[id].streams

    def summarize(self, committed: int) -> None:
        """Complete the summary with the number of committed videos and the working time."""
        self.summary.computed = committed
        self.summary.work_seconds = self.execution_seconds - self.summary.start_seconds


def make_setup(
    root: Path,
    name: str,
    network_options: NetworkOptions,
    network: FeatureNetwork,
    options: Options,
) -> WorkerSetup:
    """Register the features in the store's recipe and build the setup of the workers.

    Args:
        root: Folder of the store.
        name: Name of the feature set.
        network_options: The network to load, with an absolute path.
        network: The loaded network.
        options: How to execute the run.

    Returns:
        The setup.

    Raises:
        UsageError: The store lacks the stream that the network reads, its frames are too small, or
            its flow does not fit windows.
    """
    header = read_header(root)
    needs_next_frame = "windows" if network.recipe.window_stride else None
    check_streams(root, header.recipe, [network.sampling.source], needs_next_frame)
    check_sizes(network)
    if network.short_side is not None:
        check_frame_size(Run(network_options.model).recipe, Store(root))
    recipe, stored = network.recipe, header.recipe.features.get(name)
    if stored is not None:  # with equal weights, the network's name and note may differ
        recipe = replace(recipe, model=stored.model, note=stored.note)
    header = create_or_open(root, replace(header.recipe, features={name: recipe}))
    device = choose_device(options.device)
    cores = len(os.sched_getaffinity(0))
    cores_per_gpu = max(1, cores // max(1, count_gpus()))
    readers = options.readers
    if readers is None:
        readers = max(1, cores_per_gpu - 1) if device == "cuda" else 0
    is_alone = options.workers == 0 and device == "cpu"  # a single process uses all cores
    clips = CLIP_IMAGES if network.is_3d else 1
    return WorkerSetup(
        root=root,
        name=name,
        recipe=header.recipe,
        network_options=network_options,
        device=device,
        precision=options.precision,
        batch=options.batch or max(1, BATCH_SIZES[device] // clips),
        readers=readers,
        threads=cores if is_alone else max(1, cores // (options.workers or cores)),
        part=options.part,
        roll_bytes=options.roll_bytes,
        roll_seconds=options.roll_seconds,
    )
