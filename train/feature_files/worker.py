"""Compute the feature files of one video: decode, compute flow, run the networks, write rows.

    frames ─ flow ─ crops ─ batches of windows ─ networks ─ rows ─ NAME.npy ─ NAME.json
    └────────── background thread ───────────┘

The JSON file is written last, so that a video either has all its files or counts as missing. On a
CPU PyTorch has one thread, so that features do not depend on the number of cores.
"""

import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, pairwise
from itertools import count as count_from
from threading import Event, Lock
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from flowkit.errors import VideoError
from flowkit.extraction.flow_solver import warm_up_flow
from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.extraction.prefetch import Prefetcher
from flowkit.extraction.stage_timer import StageTimer
from flowkit.extraction.tasks import ExtractionTask, Outcome
from flowkit.extraction.video_failures import convert_failures
from flowkit.store.format.atomic import convert_disk_errors, sync_folder, write_atomic
from flowkit.store.format.schema import encode_json
from flowkit.streams import StreamName
from flowkit.version import __version__
from train.feature_files.feature_file import FeatureFileWriter
from train.feature_files.folder import remove_files
from train.feature_files.network_pool import NetworkPool
from train.feature_files.plan import SHORTER_THAN_WINDOW
from train.feature_files.recipe import FileRecipe
from train.feature_files.settings import FileSettings
from train.feature_files.sources import open_source
from train.feature_files.video_info import FrameFacts, count_needed_frames, describe_video
from train.feature_files.window_images import StreamInput, WindowImages
from train.features.embedding import convert_gpu_errors, load_network
from train.features.network import FeatureNetwork

F32 = npt.NDArray[np.float32]
NETWORK_LOCK = Lock()
"""Held while a network is loaded, since the workers of a GPU share the networks of a process."""
load_cached_network = lru_cache(maxsize=4)(load_network)
"""Load a network on its device, once for each process."""


class Worker:
    """Compute the feature files of one video after another.

    It has the methods of `flowkit.extraction.worker.Worker`, which the driver calls.

    Args:
        setup: The settings of the worker.
        host: Name of the machine, recorded with each video; None for the host name.
        gpu_timer: Timer that all workers of one GPU share; None for a timer of its own.
    """

    def __init__(
        self, setup: FileSettings, host: str | None = None, gpu_timer: GpuTimer | None = None
    ) -> None:
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        self.setup = setup
        self.heartbeat = 0  # grows with every frame and every row
        self.share = 0.0  # fraction of the rows of the current video that is written; 0 if unknown
        self._host = host or socket.gethostname()
        self._gpu_timer = gpu_timer or GpuTimer(setup.gpu_stages)
        self._stop = Event()

    def warm_up(self) -> None:
        """Load the networks, and the kernels of the flow method.

        Raises:
            FlowkitError: The weights are not those that the run was started with.
        """
        self._load_networks()
        warm_up_flow(self.setup)

    def stop(self) -> None:
        """Ask the computation that runs in another thread to end soon."""
        self._stop.set()

    def close(self) -> None:
        """Do nothing: every file is finished when its video is done."""

    def extract(self, task: ExtractionTask) -> Outcome:
        """Compute the feature files of one video.

        If the video is the cause that this is not possible, the outcome tells why.

        Args:
            task: The video, and the streams of the networks.

        Returns:
            The outcome: done, failed or stopped.

        Raises:
            DiskFullError: The disk is full.
            StoreError: The folder cannot be written.
            FlowkitError: The machine, not the video, is the cause.
        """

        def work() -> Outcome:
            with self._gpu_timer.enter_stage("video"), convert_gpu_errors(self.setup.batch):
                return self._compute_files(task)

        self.share = 0.0
        outcome = convert_failures(task, self.setup.folder.path, work)
        return replace(outcome, attempts=task.attempt, gpu=self._gpu_timer.pop_times())

    def _load_networks(self) -> dict[StreamName, FeatureNetwork]:
        recipes, device = self.setup.file_recipe.networks, torch.device(self.setup.device)
        with NETWORK_LOCK:
            return {
                stream: load_cached_network(options, recipes[stream].weights, device)
                for stream, options in self.setup.network_options.items()
            }

    def _compute_files(self, task: ExtractionTask) -> Outcome:
        setup, recipe, timer = self.setup, self.setup.file_recipe, StageTimer(self._gpu_timer)
        networks = self._load_networks()
        info_path = setup.folder.get_info_path(task.id)
        inputs = describe_inputs(networks, recipe.windows.length)
        views = max(network.views for network in networks.values())
        images = WindowImages(inputs, recipe.windows, max(1, setup.batch // views))
        with (
            open_source(task, setup, timer, self._report_progress, self._stop) as source,
            ExitStack() as stack,
        ):
            writers = self._open_writers(task.id, views, stack)
            with (
                Prefetcher(images.make_batches(source.read_chunks())) as batches,
                NetworkPool(networks, setup, timer) as pool,
            ):
                expected = recipe.windows.count_rows(source.expected_frames)
                self._write_rows(pool.embed(batches), writers, expected, timer)
            facts = source.describe_frames(images)
            self._check_frames(task, facts)
            source.check_unchanged()
            digests = [writer.finish() for writer in writers]
            # From here on the video counts as missing, until its new files are complete.
            remove_files([info_path])
            for writer in writers:
                writer.publish()
        with convert_disk_errors(setup.folder.path):
            sync_folder(setup.folder.path)
        files = describe_files(writers, digests, recipe)
        info = describe_video(
            task.id, source.name, source.fingerprint, facts, files, recipe, self._describe_machine()
        )
        write_atomic(info_path, encode_json(info), is_shared=True)
        return Outcome(
            id=task.id,
            status="done",
            frames=facts.frames,
            pairs=max(0, facts.frames - 1) if "flow" in networks else 0,
            features=info["rows"],
            bytes=sum(writer.bytes for writer in writers),
            warnings=tuple(info["warnings"]),
            seconds=timer.seconds,
        )

    def _open_writers(self, id: str, views: int, stack: ExitStack) -> list[FeatureFileWriter]:
        """Open a file for all streams, or one each; closing ``stack`` removes unpublished files."""
        recipe = self.setup.file_recipe
        paths = self.setup.folder.list_feature_files(id, recipe)
        view_axis = (views,) if views > 1 else ()
        writers = []
        for path, streams in zip(paths, recipe.files, strict=True):
            dimension = sum(recipe.networks[name].dimension for name in streams)
            writers.append(FeatureFileWriter(path, (*view_axis, dimension)))
            stack.callback(writers[-1].abandon)
        return writers

    def _write_rows(
        self,
        features: Iterable[list[F32]],
        writers: Sequence[FeatureFileWriter],
        expected: int,
        timer: StageTimer,
    ) -> None:
        """Append the rows of all batches, which have an array for each stream, to the files."""
        for streams in features:
            if self.setup.file_recipe.layout == "concatenated":
                streams = [np.concatenate(streams, axis=-1)]
            with timer.enter_stage("write"):
                for writer, rows in zip(writers, streams, strict=True):
                    writer.append(rows)
            self.heartbeat += len(streams[0])
            self.share = writers[0].rows / expected if expected else 0.0

    def _check_frames(self, task: ExtractionTask, facts: FrameFacts) -> None:
        """Check that the video has enough frames.

        Raises:
            VideoError: ``too-short``: it has no row. ``shorter-than-window``: it is shorter than a
                window, and the run is strict.
        """
        windows, frames = self.setup.file_recipe.windows, facts.frames
        count = f"{frames} frame{'' if frames == 1 else 's'}"
        cause = f" ({facts.warnings[-1]})" if facts.warnings else ""
        has_flow = "flow" in self.setup.network_options
        if not windows.count_rows(frames) or (has_flow and frames < 2):
            needed = next(n for n in count_from(1) if windows.count_rows(n))
            reason = "flow needs 2" if has_flow else f"expected at least {needed}"
            raise VideoError("too-short", f"{task.id} has {count}{cause}; {reason}")
        if self.setup.strict and windows.is_too_short(frames):
            raise VideoError(
                SHORTER_THAN_WINDOW,
                f"{task.id} has {count}{cause}, and a window needs {count_needed_frames(windows)}; "
                "without --strict its rows would be padded",
            )

    def _report_progress(self, frames: int) -> None:
        """Show the driver that the worker is alive."""
        self.heartbeat += frames

    def _describe_machine(self) -> dict[str, str]:
        return {
            "flowkit": __version__,
            "torch": torch.__version__,
            "backend": self.setup.backend,
            "device": self.setup.device,
            "host": self._host.partition("/")[0],  # without the Ray node, which differs each time
        }


def describe_inputs(
    networks: Mapping[StreamName, FeatureNetwork], window_length: int
) -> dict[StreamName, StreamInput]:
    """Describe what each network sees of a window: all its frames, or a snippet at its start."""
    return {
        stream: StreamInput(
            images=window_length if network.is_3d else network.recipe.clip_length,
            crops=network.crops,
            is_3d=network.is_3d,
        )
        for stream, network in networks.items()
    }


def describe_files(
    writers: Sequence[FeatureFileWriter], digests: Sequence[str], recipe: FileRecipe
) -> list[dict[str, Any]]:
    """Describe the files of a video, for its JSON file."""
    files = []
    for writer, digest, streams in zip(writers, digests, recipe.files, strict=True):
        edges = accumulate((recipe.networks[name].dimension for name in streams), initial=0)
        columns = dict(zip(streams, pairwise(edges), strict=True))
        files.append(
            {"name": writer.path.name, "shape": writer.shape, "columns": columns, "digest": digest}
        )
    return files
