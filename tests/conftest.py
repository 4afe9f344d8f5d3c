"""Fixtures shared by all tests."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import settings

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe

# How long an example takes is no property of the code: machines are shared.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
TESTS = Path(__file__).parent
# Many processes at a time, and seconds that count: the files of a crowd run one after another. Two
# crowds may run at a time; one would take longer than all other tests together.
CROWDS = {
    "crowd of clusters": (
        "cluster/test_hosts", "flowkit/extraction/test_gpu.py", "flowkit/extraction/test_kills",
        "flowkit/extraction/test_one_process", "flowkit/extraction/test_ray_cluster",
        "torture/test_torture", "train/distributed/test_launch", "train/feature_files/test_kills",
        "train/features/test_kills",
    ),
    "crowd of commands": (
        "flowkit/commands/test_extract", "flowkit/doctor/test_command",
        "flowkit/doctor/test_ray_worker", "flowkit/extraction/test_disk_full",
        "flowkit/extraction/test_internal_errors", "flowkit/extraction/test_machines",
    ),
}  # fmt: skip
# Where xdist shares tests out, groups that take longest begin first, so that none is left to one
# process in the end. Other files follow in their order; they take seconds.
LONGEST = (
    "crowd of clusters", "crowd of commands", "benchmarks/test_gpu_rehearsal", "test_docs",
    "train/test_recipes", "train/distributed", "flowkit/flow/gpu",
    "train/features", "flowkit/test_locales",
    "flowkit/flow/test_solver", "train/test_commands", "flowkit/test_other_distributions",
    "train/test_pyramid", "train/evaluation", "train/loop", "train/flash_mnist",
)  # fmt: skip
# Where tests have their folders, if there is room: stores sync each file, which disks do slowly.
MEMORY, MEMORY_BYTES = Path("/dev/shm"), 8 << 30
# benchmarks/gpu.py brings its own copy to machines where nothing lies beside the checkout.
SHARED = Path(
    os.environ.get("FLOWKIT_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
)


def pytest_configure(config: pytest.Config) -> None:
    """Keep the order of groups, and overlook what Ray leaves open itself before 2.56."""
    config.option.loadscopereorder = False  # xdist would begin with groups of many tests
    if has_memory_folder():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    try:
        ray = tuple(map(int, version("ray").split(".")[:2]))
    except PackageNotFoundError:  # a GPU machine without it, where benchmarks/gpu.py runs -m gpu
        return
    if ray < (2, 56):
        for message in (r"unclosed file <.*/dev/null", r"subprocess \d+ is still running"):
            config.addinivalue_line("filterwarnings", f"ignore:{message}:ResourceWarning")


def has_memory_folder() -> bool:
    """Whether there is a file system in memory with room, from which programs can be started."""
    if not os.access(MEMORY, os.W_OK | os.X_OK):
        return False
    status = os.statvfs(MEMORY)
    is_large = status.f_bavail * status.f_frsize >= MEMORY_BYTES
    return is_large and not status.f_flag & os.ST_NOEXEC


def find_group(file: str) -> str:
    """The group of a file's tests, of its path below tests/: xdist gives them to one process."""
    return next((name for name, files in CROWDS.items() if file.startswith(files)), file)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the groups that take longest where xdist shares tests out (`make test`)."""

    def rank(item: pytest.Item) -> int:
        group = find_group(item.path.relative_to(TESTS).as_posix())
        return next((n for n, name in enumerate(LONGEST) if group.startswith(name)), len(LONGEST))

    if hasattr(config, "workerinput"):
        items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share tests out by groups: xdist 3.8 loses its own marks of groups with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return find_group(nodeid.split("::")[0].removeprefix("tests/"))

    return GroupScheduling(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips, Middlebury flow and official split files beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED} (it lies beside the checkout where there is any)")
    return SHARED


@pytest.fixture(scope="session")
def triton_interpreter() -> None:
    """Skip where Triton's interpreter cannot run the flow kernels."""
    from flowkit.flow.backends import find_interpreter_obstacle

    obstacle = find_interpreter_obstacle()
    if obstacle is not None:
        pytest.skip(obstacle)


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Path]:
    """``make_clip(path, frames, width, height, seed, sound, times)``: a small H.264 video."""
    return write_clip


def write_clip(
    path: Path,
    frames: int = 9,
    width: int = 64,
    height: int = 48,
    seed: int = 0,
    sound: bool = False,
    times: Sequence[int] | None = None,
) -> Path:
    """A moving texture of 25 frames per second, or with a frame at each time in milliseconds."""
    frames = frames if times is None else len(times)
    rng = np.random.default_rng(seed)
    wide = rng.integers(0, 255, (height // 8 + 2, (width + frames) // 8 + 2, 3), np.uint8)
    texture = wide.repeat(8, 0).repeat(8, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "18"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        if times is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=16000) if sound else None
        for t in range(frames):
            picture = np.ascontiguousarray(texture[:height, t : t + width])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[t], Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            samples = (0.3 * np.sin(np.arange(16000 * 2) * 0.3)).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


@contextmanager
def keep_one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread, whatever a run asks for.

    Threads of small networks wait for each other at each layer, and beside other processes each
    wait is as long as the turn of one of those.
    """
    import torch

    with pytest.MonkeyPatch.context() as patch:
        torch.set_num_threads(1)
        patch.setattr(torch, "set_num_threads", lambda number: None)
        yield


@pytest.fixture(scope="session")
def store_templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``store_templates(ids, …)``: a store of :func:`write_store`, which is written once."""
    folder, written = tmp_path_factory.mktemp("stores"), {}

    def find(ids: Sequence[str], **options: Any) -> Path:
        key = (tuple(ids), *sorted(options.items()))
        if key not in written:
            written[key] = write_store(folder / str(len(written)), ids, **options)
        return written[key]

    return find


@pytest.fixture
def make_store(tmp_path: Path, store_templates: Callable[..., Path]) -> Callable[..., Path]:
    """``make_store(ids, …)``: see :func:`write_store`; the path defaults to ``tmp_path/store``.

    Most tests want the same few stores, so it is a copy, a twentieth of the work: stores that are
    asked for twice have the same names of shards. One that is there already is written to.
    """

    def make(
        ids: Sequence[str] = ("a", "b/ü #1", "c"), root: Path | None = None, **options
    ) -> Path:
        root = root or tmp_path / "store"
        if root.exists():
            return write_store(root, ids, **options)
        return Path(shutil.copytree(store_templates(ids, **options), root))

    return make


def write_store(
    root: Path,
    ids: Sequence[str],
    frames: int = 5,
    width: int = 40,
    height: int = 24,
    streams: tuple[str, ...] = ("rgb", "flow"),
    per_shard: int = 100,
    annotated: bool = True,
    bound: float = 20.0,
    fps: float = 25.0,
    step: int = 1,
    times: Callable[[int], int] | None = None,
) -> Path:
    """Videos of smooth random RGB and flow; video n has ``frames + n`` frames, and label n % 2.

    Frame t is shown at ``times(t)`` microseconds; without ``times`` the store has no times.
    """
    from flowkit.flow.quantization import quantize
    from flowkit.store import rebuild_index, write_annotations
    from flowkit.store.format import jpeg
    from flowkit.store.format.header import create_or_open
    from flowkit.store.format.schema import Fingerprint, VideoMeta
    from flowkit.store.writer import ShardWriter

    recipe = StoreRecipe(
        resize=Resize(mode="none"),
        rgb=RGBRecipe() if "rgb" in streams else None,
        flow=FlowRecipe(bound=bound, step=step) if "flow" in streams else None,
    )
    create_or_open(root, recipe, "tiny")
    rng = np.random.default_rng(7)
    writer = ShardWriter(root, recipe=recipe)
    for number, id in enumerate(ids):
        count = frames + number
        writer.begin(id)
        for t in range(count):
            row = {}
            if "rgb" in streams:
                row["rgb"] = jpeg.encode_rgb(draw_smooth(rng, height, width, 3), 90)
            if times is not None:
                row["time"] = times(t)
            if "flow" in streams and 0 <= t + step < count:
                planes = draw_smooth(rng, height, width, 2).astype(np.float32)
                field = (planes - 128) * np.float32(bound / 128)
                for axis, plane in zip(
                    "xy", quantize(field, bound).transpose(2, 0, 1), strict=True
                ):
                    row[f"flow_{axis}"] = jpeg.encode_grey(plane, 95)
            writer.append(**row)
        writer.end(
            VideoMeta(
                id=id,
                source=f"videos/{number}.mp4",
                fingerprint=Fingerprint(size=number, mtime_ns=number, digest=f"{number:032x}"),
                streams=streams,
                frames=count,
                fps=fps,
                width=width,
                height=height,
                duration=None if times is None else times(count) / 1e6,
            )
        )
        if (number + 1) % per_shard == 0:
            writer.commit()
    writer.close()
    if annotated:
        rows = [
            Annotation(id, (Label(("wave", "jump high")[n % 2]),), ("train" if n % 3 else "test",))
            for n, id in enumerate(ids)
        ]
        rows.sort(key=lambda row: row.id)
        write_annotations(root, AnnotationTable(("wave", "jump high"), tuple(rows)))
    rebuild_index(root)
    return root


def draw_smooth(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """(height, width, channels) uint8, so smooth that JPEG changes it little."""
    import cv2

    coarse = rng.integers(0, 256, (3, 4, channels), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
