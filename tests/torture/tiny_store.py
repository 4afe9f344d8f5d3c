"""A store of a few kilobytes with every kind of file, and all that a reader can say of it."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.flow import TVL1Params
from flowkit.recipe import FeatureRecipe, FlowRecipe, LogMelRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store import (
    Failure,
    Fingerprint,
    ShardWriter,
    Store,
    VideoMeta,
    append_failure,
    create_or_open,
    read_annotations,
    read_failures,
    read_splits,
    rebuild_index,
    write_annotations,
)
from flowkit.store.format import jpeg
from flowkit.store.integrity.outcome import read_outcome, record_outcome
from flowkit.store.integrity.verify import verify
from flowkit.store.split_summary import SplitRecord
from flowkit.store.status import read_status
from flowkit.store.video_list import VideoList

NET = FeatureRecipe(source="rgb", model="net", weights="ab" * 16, dimension=3, positions=0)
RECIPE = StoreRecipe(
    resize=Resize(width=16, height=16),
    rgb=RGBRecipe(),
    flow=FlowRecipe(tvl1=TVL1Params(scales=1, warps=1, iterations=2)),
    audio=LogMelRecipe(),
    features={"net": NET},
)
IDS = ("a", "b/ü #1", "c", "d")
CLASSES = ("wave", "jump high")

Content = dict[str, Any]
"""All that a store holds, by (video id, what)."""


@cache
def draw_jpegs(seed: int, frames: int) -> list[tuple[bytes, bytes, bytes]]:
    """Draw an RGB JPEG and two grey ones for each frame."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (frames, 16, 16, 3), np.uint8)
    flow = rng.integers(1, 256, (frames, 2, 16, 16), np.uint8)
    return [
        (jpeg.encode_rgb(image), jpeg.encode_grey(x), jpeg.encode_grey(y))
        for image, (x, y) in zip(rgb, flow, strict=True)
    ]


def describe(id: str, rows: int, streams: tuple[str, ...], size: int = 16) -> VideoMeta:
    """Describe a video."""
    return VideoMeta(
        id=id, source=f"videos/{id}.mp4", fingerprint=Fingerprint(7, 8, "0f" * 16),
        streams=streams, frames=rows, fps=25.0 if size else 0, width=size, height=size,
        duration=rows / 25 if size else None,
    )  # fmt: skip


def put_frames(writer: ShardWriter, id: str, seed: int, frames: int) -> None:
    """Write a video of frames and flow."""
    writer.begin(id)
    for t, (rgb, x, y) in enumerate(draw_jpegs(seed, frames)):
        has_flow = t < frames - 1
        writer.append(
            rgb=rgb, flow_x=x if has_flow else None, flow_y=y if has_flow else None, time=40000 * t
        )
    writer.end(describe(id, frames, ("rgb", "flow")))


def put_audio(writer: ShardWriter, id: str, patches: int) -> None:
    """Write the sound of a video."""
    writer.begin(id)
    for k in range(patches):
        writer.append(patch=np.full((96, 64), k, np.float32))
    writer.end(describe(id, patches, ("audio",), 0))


def put_features(writer: ShardWriter, id: str, seed: int, rows: int) -> None:
    """Write the features of a video."""
    writer.begin(id)
    vectors = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float16)
    writer.append_rows(vectors, np.arange(rows), np.arange(rows) % 2)
    writer.end(describe(id, rows, ("features/net",), 0))


def write_frames(root: Path, ids: tuple[str, ...] = IDS, roll: int = 2, part: Any = (0, 1)) -> None:
    """Write the frames of all videos, ``roll`` of them in a shard."""
    writer = ShardWriter(root, recipe=RECIPE, part=part)
    for number, id in enumerate(ids):
        put_frames(writer, id, IDS.index(id), 3 + IDS.index(id))
        if (number + 1) % roll == 0:
            writer.commit()
    writer.close()


def make_annotations() -> AnnotationTable:
    """Make the annotations of the videos, and of one that is not in the store."""
    rows = [
        Annotation(id, (Label(CLASSES[n % 2], 0.0, 1.5),), ("train" if n % 3 else "test",))
        for n, id in enumerate(sorted((*IDS, "missing")))
    ]
    return AnnotationTable(CLASSES, tuple(rows))


def make_store(root: Path) -> Path:
    """Make the store with every kind of file."""
    create_or_open(root, RECIPE, "tiny")
    write_frames(root)
    audio, net = (ShardWriter(root, name, recipe=RECIPE) for name in ("audio", "features/net"))
    for number, id in enumerate(IDS):
        put_audio(audio, id, number % 2)
        put_features(net, id, number, 2 + number)
    audio.close()
    net.close()
    split = SplitRecord(fractions={"train": 0.5, "test": 0.5}, group_by=None, seed=3, only=None)
    write_annotations(root, make_annotations(), [split])
    for id in ("missing", "a"):
        append_failure(
            root, Failure(id, f"videos/{id}.mp4", "broken", "it is broken", 1, 2.5, 10, 11)
        )
    rebuild_index(root)
    record_outcome(root, verify(root), deep=False)
    return root


def list_files(root: Path) -> list[Path]:
    """List the files of a store but its locks."""
    return sorted(p for p in root.rglob("*") if p.is_file() and p.parent.name != "locks")


def copy_store(source: Path, target: Path) -> Path:
    """Copy a store by hard links: whoever changes a file must replace it."""
    shutil.copytree(source, target, copy_function=os.link, ignore=shutil.ignore_patterns("locks"))
    return target


def read_video(store: Store, id: str) -> Content:
    """Read all that a store holds of a video."""
    video = store[id]
    facts = {
        "id": video.id, "labels": [asdict(label) for label in video.labels],
        "subsets": video.subsets, "frames": video.num_frames, "flow": video.num_flow,
        "fps": video.fps, "duration": video.duration, "motion": video.motion,
        "size": (video.width, video.height), "source": video.source,
        "fingerprint": video.fingerprint, "warnings": video.warnings, "streams": video.streams,
    }  # fmt: skip
    found: Content = {f"{id} facts": facts}
    if "rgb" in video.streams:
        found[f"{id} times"] = video.times().tolist()
        found[f"{id} rgb"] = [video.rgb_bytes(t) for t in range(video.num_frames)]
        rgb, flow = video.snippet(0, video.num_flow).decode()
        found[f"{id} snippet"] = (rgb.tobytes(), flow.tobytes())
        video.frames()
    if "flow" in video.streams:
        found[f"{id} flow"] = [video.flow_bytes(t) for t in range(video.num_flow)]
    if "audio" in video.streams:
        found[f"{id} audio"] = video.audio().tobytes()
    if "features/net" in video.streams:
        columns = ("vector", "position", "view")
        found[f"{id} net"] = [video.vectors("features/net", c).tobytes() for c in columns]
    return found


def open_views(root: Path) -> Mapping[str, Callable[[], Any]]:
    """Name every way to look at a store."""
    return {
        "status": lambda: read_status(root),
        "list": lambda: describe_list(root),
        "annotations": lambda: read_annotations(root),
        "splits": lambda: read_splits(root),
        "failures": lambda: read_failures(root),
        "outcome": lambda: read_outcome(root),
        "subsets": lambda: describe_subsets(root),
    }


def describe_list(root: Path) -> Any:
    """Describe all videos, as `flowkit list` does."""
    videos = VideoList(root)
    return videos.describe(videos.select(sort="motion"))


def describe_subsets(root: Path) -> Any:
    """Describe subsets and classes of a store."""
    store = Store(root)
    return {name: store.subset(name).tolist() for name in store.subsets()}, store.classes


@contextmanager
def refuse_others(what: str, problems: list[str]) -> Iterator[None]:
    """Note an exception that is no `FlowkitError`, or whose message has several lines."""
    from flowkit.errors import FlowkitError

    try:
        yield
    except FlowkitError as error:
        if "\n" in str(error).strip():
            problems.append(f"{what}: several lines: {error}")
    except Exception as error:  # noqa: BLE001 (that is what the trial looks for)
        problems.append(f"{what}: {type(error).__name__}: {error}")
