"""Define the settings of the workers that compute feature files, and make workers from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from flowkit.decode import FrameReader, VideoReader
from flowkit.errors import UsageError
from flowkit.extraction.actors import PoolSize, choose_size, uses_gpu
from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.extraction.worker_setup import WorkerFactory
from flowkit.streams import StreamName
from train.feature_files.folder import FeatureFolder
from train.feature_files.recipe import FileRecipe
from train.features.network import NetworkOptions

if TYPE_CHECKING:
    from train.feature_files.worker import Worker


@dataclass(frozen=True, kw_only=True)
class FileSettings(WorkerFactory):
    """Settings of the workers that compute feature files; small and picklable."""

    folder: FeatureFolder
    """Folder of the feature files; ``root`` is its folder ``.flowkit``."""
    file_recipe: FileRecipe
    """Recipe of the files; ``recipe`` is its part for frames and flow."""
    network_options: Mapping[StreamName, NetworkOptions]
    """The network of each stream."""
    device: str = "cpu"
    """Device of the networks: "cpu" or "cuda"."""
    batch: int = 4
    """Images or clips per batch; crops count as images."""
    threads: int = 1
    """Threads of a worker that run networks; features do not depend on it."""
    strict: bool = False
    """Whether a video that is shorter than a window fails, instead of being padded."""
    open_video: Callable[..., FrameReader] = VideoReader
    """Function that opens a video, called as ``open_video(path, resize, fps)``."""

    @property
    def gpu_stages(self) -> tuple[str, ...]:
        """Return the stages of a worker that compute on its GPU."""
        stages = {"flow": uses_gpu(self.backend), "network": self.device == "cuda"}
        return tuple(stage for stage, is_on_gpu in stages.items() if is_on_gpu)

    @property
    def needs_gpu(self) -> bool:
        """Return whether each worker needs a GPU, alone or shared with other workers."""
        return self.device == "cuda" or uses_gpu(self.backend)

    def check_node(self) -> None:
        """Check that this machine has the device and the backend.

        Raises:
            FlowkitError: It lacks one of them.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("device cuda: PyTorch finds no CUDA GPU here; use --device cpu")
        super().check_node()

    def choose_size(
        self, nodes: list[dict[str, Any]], requested_workers: int | None, tasks: int
    ) -> PoolSize:
        """Choose one worker per core; on GPUs, the cores that belong to a GPU share it."""
        backend = "triton" if self.device == "cuda" else self.backend
        return choose_size(nodes, backend, requested_workers, tasks)

    def make_worker(self, host: str | None = None, gpu_timer: GpuTimer | None = None) -> "Worker":
        """Create a worker of this process."""
        from train.feature_files.worker import Worker

        return Worker(self, host, gpu_timer)
