"""Networks that return what they see, and requests that are computed in moments."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from flowkit.annotations import LocatedVideos, Source
from flowkit.flow import TVL1Params
from flowkit.recipe import FlowRecipe, Resize, StoreRecipe
from models.backbones.backbone import Backbone, InputConvention
from tests.train.features.conftest import finish, finished  # noqa: F401 (fixtures)
from train.feature_files import FileOptions, FileRequest, extract_feature_files
from train.feature_files import run as run_module
from train.feature_files import worker as worker_module
from train.feature_files.summary import Summary
from train.feature_files.windows import WindowSampling
from train.features import embedding as embedding_module
from train.features.network import FeatureNetwork, NetworkOptions, build_feature_network

QUIET = Console(quiet=True)
TVL1 = TVL1Params(scales=2, warps=1, iterations=5)


class Mirror(Backbone):
    """A network whose features are its input: (channels, images, size, size), flattened."""

    rgb_input = InputConvention(mean=(0.0,), std=(1.0,))
    flow_input = InputConvention(mean=(0.0,), std=(1.0,), order="xy")

    def __init__(self, dims: int, channels: int, size: int, factor: float = 1.0) -> None:
        super().__init__()
        self.dims, self.num_features = dims, channels * size * size
        self.factor = torch.nn.Parameter(torch.tensor(factor))
        self.fc = None

    def steps(self):
        return iter(())

    def embed(self, x):
        return x.flatten(1) * self.factor


def load_mirror(options: NetworkOptions) -> FeatureNetwork:
    """Build the network that ``options.model`` names: ``clips``, ``images`` or a factor."""
    name = Path(options.model).name  # workers get an absolute path
    stream, size = options.stream or "rgb", options.size or 8
    dims = 2 if name.startswith("images") else 3
    length = (options.clip_length or 4) if dims == 3 else 1
    channels = {"rgb": 3, "flow": 2}[stream]
    factor = float(name.partition("*")[2] or 1)
    backbone = Mirror(dims, channels * length, size, factor).eval()
    sampling = (size, length, 1)
    return build_feature_network(options, backbone, Path(name), name, stream, sampling, None)


@pytest.fixture
def mirrors(monkeypatch) -> None:
    """Let all runs in this process use `load_mirror`."""
    for module in (run_module, embedding_module):
        monkeypatch.setattr(module, "load_feature_network", load_mirror)
    worker_module.load_cached_network.cache_clear()


@pytest.fixture
def make_request(tmp_path) -> Callable[..., FileRequest]:
    """``make_request(streams=, windows=, size=, crops=, model=, out=, …)``."""

    def make(
        streams: tuple[str, ...] = ("rgb", "flow"),
        windows: WindowSampling | None = None,
        size: int = 8,
        crops: str = "centre",
        model: str = "clips",
        out: Path | None = None,
        resize: Resize | None = None,
        fps: float | None = None,
        **options: Any,
    ) -> FileRequest:
        windows = windows or WindowSampling(length=4, stride=3)
        networks = {
            stream: NetworkOptions(
                model=model, stream=stream, crops=crops, size=size,
                clip_length=windows.length if model.startswith("clips") else None,
                clip_stride=windows.step if model.startswith("clips") else None,
            )
            for stream in streams
        }  # fmt: skip
        flow = FlowRecipe(tvl1=TVL1) if "flow" in streams else None
        resize = resize or Resize(width=16, height=12)
        frames = options.pop("frames", StoreRecipe(resize=resize, fps=fps, flow=flow))
        return FileRequest(
            out=out or tmp_path / "feats", networks=networks, windows=windows, frames=frames,
            **options,
        )  # fmt: skip

    return make


def locate(*paths: Path, root: Path | None = None, **rest: Any) -> LocatedVideos:
    """Name videos by their file names, or by their paths below ``root``."""
    ids = {p.relative_to(root or p.parent).as_posix(): p for p in paths}
    return LocatedVideos(tuple(Source(id, ids[id]) for id in sorted(ids)), **rest)


def compute(located: LocatedVideos, request: FileRequest, **options: Any) -> Summary:
    """Compute feature files in this process."""
    options = {"workers": 0, "device": "cpu", "batch": 4, **options}
    return extract_feature_files(located, request, FileOptions(**options), QUIET)


def read_files(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder but those of runs."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def read_info(folder: Path, name: str) -> dict[str, Any]:
    """Read the JSON file of a video."""
    return json.loads((folder / f"{name}.json").read_bytes())


def load_rows(path: Path, size: int = 8, length: int = 4) -> dict[str, np.ndarray]:
    """Load the rows of both streams as float32 (T, C, L, size, size)."""
    rows = np.load(path)
    split = 3 * length * size * size
    parts = {"rgb": rows[:, :split], "flow": rows[:, split:]}
    return {name: part.reshape(len(rows), -1, length, size, size) for name, part in parts.items()}
