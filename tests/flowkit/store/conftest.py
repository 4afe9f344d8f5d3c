"""Stores of arbitrary bytes: the store never looks into the images."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flowkit.recipe import FeatureRecipe, FlowRecipe, LogMelRecipe, RGBRecipe, StoreRecipe
from flowkit.store import Fingerprint, ShardWriter, Store, VideoMeta, create_or_open, rebuild_index

NET = FeatureRecipe(source="rgb", model="net", weights="ab" * 16, dimension=3, positions=0)
RECIPE = StoreRecipe(
    rgb=RGBRecipe(), flow=FlowRecipe(), audio=LogMelRecipe(), features={"net": NET}
)

Row = tuple[bytes, bytes | None, bytes | None]


def draw_rows(seed: int, rows: int, size: int = 60) -> list[Row]:
    """Frames of random bytes; the last has no flow."""
    rng = np.random.default_rng([seed, rows])
    drawn: list[Row] = [
        (rng.bytes(size + t % 7), rng.bytes(size // 3 + t % 3), rng.bytes(size // 3 + t % 2))
        for t in range(rows)
    ]
    drawn[-1] = (drawn[-1][0], None, None)
    return drawn


def meta(id: str, rows: int, streams: tuple[str, ...] = ("rgb", "flow"), **more: Any) -> VideoMeta:
    values = {"source": f"{id}.mp4", "fingerprint": Fingerprint(7, 8, "0f" * 16)}
    values |= {"streams": streams, "frames": rows, "fps": 25.0, "width": 4, "height": 3}
    return VideoMeta(id=id, **(values | more))


def put(writer: ShardWriter, id: str, rows: Sequence[Row], **more: Any) -> Any:
    writer.begin(id)
    for rgb, x, y in rows:
        writer.append(rgb=rgb, flow_x=x, flow_y=y)
    return writer.end(meta(id, len(rows), **more))


def put_audio(writer: ShardWriter, id: str, patches: int, start: float = 0.0) -> Any:
    writer.begin(id)
    for k in range(patches):
        writer.append(patch=np.full((96, 64), start + k, np.float32))
    return writer.end(meta(id, patches, ("audio",), fps=1 / 0.96, width=0, height=0))


def draw_features(seed: int, rows: int, dimension: int = 3) -> np.ndarray[Any, Any]:
    """(rows, dimension) float16."""
    drawn = np.random.default_rng([seed, rows]).normal(size=(rows, dimension))
    return drawn.astype(np.float16)


def put_features(
    writer: ShardWriter, id: str, vectors: np.ndarray[Any, Any], name: str = "net", **more: Any
) -> Any:
    """A video's features, at positions 0, 1, … in views 0, 1, 0, …"""
    writer.begin(id)
    rows = np.arange(len(vectors))
    writer.append_rows(vectors, rows, rows % 2)
    values = {"fps": 0, "width": 0, "height": 0} | more
    return writer.end(meta(id, len(vectors), (f"features/{name}",), **values))


def fill_features(root: Path, videos: Mapping[str, np.ndarray[Any, Any]], **options: Any) -> Path:
    """A store of these videos' features, in one shard unless ``options`` say otherwise."""
    create_or_open(root, RECIPE)
    writer = ShardWriter(root, "features/net", recipe=RECIPE, **options)
    for id, vectors in videos.items():
        put_features(writer, id, vectors)
    writer.close()
    return root


def features(root: Path) -> dict[str, np.ndarray[Any, Any]]:
    """All features of a store, after a rebuild of its index."""
    rebuild_index(root)
    store = Store(root)
    return {id: store[id].features("net") for id in store if "features/net" in store[id].streams}


def contents(root: Path) -> dict[str, list[Row]]:
    """All that the reader gives of the frames of a store, after a rebuild of its index."""
    rebuild_index(root)
    store = Store(root)
    found = {}
    for id in store:
        video = store[id]
        flow = [video.flow_bytes(t) for t in range(video.num_flow)] + [(None, None)]
        found[id] = [(video.rgb_bytes(t), *flow[t]) for t in range(video.num_frames)]
    return found


def tree(root: Path) -> dict[str, bytes]:
    """Every file of a store but the locks, with its bytes."""
    files = (path for path in root.rglob("*") if path.is_file() and path.parent.name != "locks")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def open_files(root: Path) -> int:
    """How many files below ``root`` this process has open."""
    gc.collect()  # what an earlier test left behind would close in between
    links = (os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    return sum(link.startswith(f"{root}/") for link in links)


@pytest.fixture(scope="session")
def stores() -> SimpleNamespace:
    """The functions above, for tests."""
    return SimpleNamespace(
        RECIPE=RECIPE,
        draw_rows=draw_rows,
        meta=meta,
        put=put,
        put_audio=put_audio,
        NET=NET,
        draw_features=draw_features,
        put_features=put_features,
        fill_features=fill_features,
        features=features,
        contents=contents,
        tree=tree,
        open_files=open_files,
        fill=fill,
        snapshots=snapshots,
    )


def fill(root: Path, videos: Mapping[str, Sequence[Row]], **options: Any) -> Path:
    """A store of these videos, in one shard unless ``options`` of the writer say otherwise."""
    create_or_open(root, RECIPE)
    writer = ShardWriter(root, recipe=RECIPE, **options)
    for id, rows in videos.items():
        put(writer, id, rows)
    writer.close()
    return root


def snapshots(
    monkeypatch: pytest.MonkeyPatch, root: Path, into: Path, work: Callable[[], Any]
) -> Iterator[Path]:
    """Copies of ``root`` as a kill would leave it before each system call of ``work`` that
    changes the disk, and after the last; a copy carries no locks, as a killed process holds none.
    """
    steps: list[Path] = []
    copying = False

    def watch(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal copying
            if not copying:
                copying = True
                steps.append(into / str(len(steps)))
                shutil.copytree(root, steps[-1])
                copying = False
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for owner, name in (
            (os, "write"),
            (os, "fsync"),
            (Path, "replace"),
            (Path, "unlink"),
        ):
            patch.setattr(owner, name, watch(getattr(owner, name)))
        work()
    steps.append(into / str(len(steps)))
    shutil.copytree(root, steps[-1])
    return iter(steps)


@pytest.fixture
def make_root(tmp_path: Path) -> Callable[..., Path]:
    """``make_root(videos, **options)``: :func:`fill` in a fresh folder."""
    made = iter(range(10**6))
    return lambda videos, **options: fill(tmp_path / f"store{next(made)}", videos, **options)
