"""Feature extraction beside the network alone, at the same batch.

    python benchmarks/features.py [--device cuda] [--backbone NAME] [--precision P] [--batch N]
        [--videos N] [--positions N] [--readers N] [--size N]

1. Features per second of a worker of `flowkit features` (read, decode, crop, network, write) beside
   the network's own rate over one and the same batch that lies on the device: RGB, and flow of 5
   fields (10 JPEGs a feature). The bar on a GPU is 80 %.
2. How many JPEGs are decoded, beside how many different ones the positions need: the same.

Videos are textured noise, 256×256, 60 frames; weights are random. On a CPU the network takes nearly
all of the time, and the ratio says only that it runs.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from machine import describe_machine
from rich.console import Console

from flowkit.datasets import stream_readers, views
from flowkit.datasets.transforms import ThreeCrop
from flowkit.errors import FlowkitError
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store import Fingerprint, ShardWriter, Store, VideoMeta, create_or_open, rebuild_index
from flowkit.store.format.jpeg import encode_grey, encode_rgb
from models.backbones.backbone import normalize
from train.distributed.parallel import DTYPES, choose_layout
from train.features.network import NetworkOptions
from train.features.network_loading import load_feature_network
from train.features.options import Options
from train.features.plan import make_plan, share_out
from train.features.run import make_setup
from train.features.setup import WorkerSetup
from train.features.summary import Summary
from train.features.worker import Worker
from train.tasks.backbones import FAMILIES, NETWORKS, list_options

SIDE, FRAMES, FIELDS = 256, 60, 5
console = Console(width=120, markup=False, highlight=False)


def write_store(root: Path, videos: int) -> Path:
    """Videos that share their images: what is read has the sizes of real ones all the same."""
    recipe = StoreRecipe(resize=Resize(mode="none"), rgb=RGBRecipe(), flow=FlowRecipe())
    create_or_open(root, recipe)
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (SIDE // 8, SIDE // 8 + FRAMES, 3), np.uint8)
    wide = cv2.resize(coarse, (SIDE + 8 * FRAMES, SIDE), interpolation=cv2.INTER_CUBIC)
    frames = [np.ascontiguousarray(wide[:, 8 * t : 8 * t + SIDE]) for t in range(FRAMES)]
    rgb = [encode_rgb(frame) for frame in frames]
    grey = [encode_grey(np.ascontiguousarray(frame[..., 0])) for frame in frames]
    writer = ShardWriter(root, recipe=recipe)
    for number in range(videos):
        id = f"video {number:05}"
        writer.begin(id)
        for t in range(FRAMES):
            field = grey[t] if t < FRAMES - 1 else None
            writer.append(rgb=rgb[t], flow_x=field, flow_y=field)
        mark = Fingerprint(number, number, "0" * 32)
        writer.end(VideoMeta(id=id, source=id, fingerprint=mark, streams=("rgb", "flow"),
                             frames=FRAMES, fps=25.0, width=SIDE, height=SIDE))  # fmt: skip
    writer.close()
    rebuild_index(root)
    return root


def write_weights(path: Path, backbone: str, stream: str) -> Path:
    """Random weights of a network of images.

    The first layer's are small: batch normalization that has seen nothing lets features grow from
    layer to layer, beyond what float16 holds.
    """
    torch.manual_seed(0)
    settings = NETWORKS[backbone]
    channels = 3 if stream == "rgb" else 2 * FIELDS
    family = FAMILIES[settings.backbone]
    network = family(in_channels=channels, num_classes=0, **list_options(settings))
    next(network.parameters()).data *= 1e-3
    torch.save(network.state_dict(), path)
    return path


def measure_network(worker: Worker, setup: WorkerSetup, repeat: int) -> float:
    """Features per second of the network alone, over a batch that lies on the device."""
    network, device = worker.embedder.network(), torch.device(setup.device)
    recipe = network.recipe
    channels = 3 if recipe.source == "rgb" else 2 * recipe.clip_length
    images = torch.rand(setup.batch, channels, recipe.size, recipe.size, device=device)
    images = normalize(images, network.convention).contiguous(memory_format=choose_layout(device))
    dtype = DTYPES[setup.precision]
    with torch.inference_mode(), torch.autocast(
        device.type, dtype, enabled=dtype != torch.float32
    ):  # fmt: skip
        network.backbone.embed(images)
        wait(device)
        started = time.perf_counter()
        for _ in range(repeat):
            network.backbone.embed(images)
        wait(device)
    return repeat * setup.batch / (time.perf_counter() - started)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class FeatureRates:
    """Features per second of one stream: of the extraction, and of its network alone."""

    size: int
    batch: int
    readers: int
    extraction: float
    network: float


def measure(
    folder: Path, root: Path, stream: str, options: argparse.Namespace, name: str | None = None
) -> FeatureRates:
    """Time the extraction of one stream, then its network alone.

    Args:
        folder: Where random weights are written.
        root: The store.
        stream: ``rgb`` or ``flow``.
        options: As the command line gives them.
        name: Of the features in the store, which are of one network; the stream's by default.

    Raises:
        FlowkitError: a video failed.
    """
    file = write_weights(folder / f"{stream}.pth", options.backbone, stream)
    wanted = NetworkOptions(
        model=str(file), backbone=options.backbone, positions=options.positions, size=options.size
    )  # fmt: skip
    network = load_feature_network(wanted)
    given = Options(
        workers=0, device=options.device, precision=options.precision, batch=options.batch,
        readers=options.readers,
    )  # fmt: skip
    setup = make_setup(root, name or stream, wanted, network, given)
    worker = setup.make_worker()
    rows = (network.recipe.positions, network.views)
    source, summary = network.sampling.source, Summary(store=str(root), name=stream, network="")
    targets = make_plan(Store(root), setup.stream, source, rows, {}, given, summary)
    total = sum(target.weight for target in targets)
    warm, *_ = share_out(targets, 2 * setup.batch, network.path)
    (rest,) = share_out(targets[len(warm.targets) :], total, network.path)
    worker.extract(warm)
    started = time.perf_counter()
    outcomes = worker.extract(rest)
    failed = [outcome.reason for outcome in outcomes if outcome.status != "done"]
    if failed:
        raise FlowkitError(f"{stream}: {len(failed)} of {len(outcomes)} videos failed: {failed[0]}")
    rate = sum(outcome.features for outcome in outcomes) / (time.perf_counter() - started)
    alone = measure_network(worker, setup, max(2, total // setup.batch))
    worker.close()
    return FeatureRates(network.recipe.size, setup.batch, setup.readers, rate, alone)


def show(stream: str, options: argparse.Namespace, found: FeatureRates) -> None:
    console.print(
        f"{stream}: {options.backbone} at {found.size}, {options.precision}, batch {found.batch}, "
        f"{found.readers} readers: extraction {found.extraction:,.1f}, network alone "
        f"{found.network:,.1f} features/s, ratio {found.extraction / found.network:.2f}"
    )


@contextmanager
def counting() -> Iterator[list[int]]:
    """The sizes of all JPEGs that are decoded meanwhile in this process."""
    decoded: list[int] = []
    real = stream_readers.decode_rgb, stream_readers.decode_grey

    def watch(decode):  # type: ignore[no-untyped-def]
        return lambda data: decoded.append(len(data)) or decode(data)

    stream_readers.decode_rgb, stream_readers.decode_grey = map(watch, real)
    try:
        yield decoded
    finally:
        stream_readers.decode_rgb, stream_readers.decode_grey = real


def count_decoded(root: Path) -> None:
    """JPEGs decoded of one video, for snippets and clips that overlap, and those that differ."""
    cases = {
        "25 positions of 5 fields": ("flow", 25, 5, 1, 256),
        "every position of 5 fields, 8 at once": ("flow", 0, 5, 1, 8),
        "10 clips of 32 frames, 3 crops": ("rgb", 10, 32, 1, 256),
        "10 clips of 12 frames 4 apart, 3 at once": ("rgb", 10, 12, 4, 3),
    }
    store = Store(root)
    for name, (stream, positions, length, stride, most) in cases.items():
        sampling = views.PositionSampling(
            source=stream, positions=positions, length=length, stride=stride
        )  # fmt: skip
        available = FRAMES - (stream == "flow")
        starts, _ = sampling.sample_starts(available)
        needed = np.unique(sampling.list_image_times(starts, available))
        reader = views.ViewReader(root, stream, ThreeCrop(64))
        with counting() as decoded:
            for chunk in views.cut_video(store.index.id(0), available, sampling, most):
                reader[[chunk]]
        planes = 2 if stream == "flow" else 1
        console.print(f"{name}: {len(decoded)} JPEGs decoded, {planes * len(needed)} needed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--positions", type=int, default=25)
    parser.add_argument("--readers", type=int)
    parser.add_argument("--size", type=int)
    options = parser.parse_args()
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    console.print(f"{describe_machine()}; {gpu}; torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        root = write_store(Path(folder) / "store", options.videos)
        for stream in ("rgb", "flow"):
            show(stream, options, measure(Path(folder), root, stream, options))
        count_decoded(root)


if __name__ == "__main__":
    main()
