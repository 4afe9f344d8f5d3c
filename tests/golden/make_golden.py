"""Make the store, the runs and the export that test_golden.py holds later code against.

    python tests/golden/make_golden.py

writes `videos`, `store`, `run`, `half`, `export` and `golden.json` beside this file, by the
commands that a user types. It was run once, with flowkit 0.1.0 as of 29 November 2026, before
modules were moved and renamed: what it made is read by every later version, so it is not run
again unless the format of stores gets a new version, and then into a folder of its own.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
FLOWKIT = (sys.executable, "-m", "flowkit")
CHANGES = {
    "classes": "2",
    "dataset": "golden",
    "subsets": "{train: train, validate: val, test: val}",
    "data.short_side": "32",
    "data.size": "24",
    "data.num_segments": "2",
    "network.width": "2",
    "training.epochs": "2",
    "phases": "{}",
    "training.batch": "4",
    "training.rate": "0.02",
    "testing.segments": "2",
}

COMMON = ("--threads", "1", "--workers", "0", "--device", "cpu")


def run_flowkit(*arguments: str) -> str:
    """Run a command in the current folder; returns what it printed."""
    return subprocess.run(
        [*FLOWKIT, *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def make_videos() -> None:
    """Write eight clips of two classes, six to train with, every other one with sound."""
    sys.path.insert(0, str(HERE.parents[1]))
    from tests.conftest import write_clip

    for number in range(8):
        label, subset = ("left", "right")[number % 2], "train" if number < 6 else "val"
        path = Path("videos") / subset / label / f"{number}.mp4"
        write_clip(path, 9, 48, 32, seed=number, sound=number in (0, 3, 6))


def make_store() -> None:
    """Extract all three streams, and compute features with a network of the finished run."""
    run_flowkit(
        "extract", "--videos", "videos", "--store", "store", "--audio", "--size", "32x32",
        "--preset", "fast", "--workers", "0",
    )  # fmt: skip


def train(run: str, *arguments: str) -> None:
    """Train a tiny network."""
    changes = [word for key, value in CHANGES.items() for word in ("--set", f"{key}={value}")]
    run_flowkit(
        "train", "motion8_cma", "--run", run, "--store", "store", *changes, *COMMON, *arguments
    )


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def describe_store(root: Path, features: bool = True) -> dict[str, Any]:
    """Digests of all that a store holds, read as its users read it."""
    from flowkit.store import Store

    store = Store(root)
    videos = {}
    for id in store:
        video = store[id]
        videos[id] = {
            "frames": video.num_frames,
            "labels": [label.name for label in video.labels],
            "rgb": digest(np.stack([video.rgb(t) for t in range(video.num_frames)]).tobytes()),
            "flow": digest(np.stack([video.flow(t) for t in range(video.num_flow)]).tobytes()),
            "audio": digest(np.asarray(video.audio()).tobytes()),
        }
        if features:
            vectors = np.asarray(video.features("pooled"))
            videos[id]["features"] = digest(vectors.tobytes())
    return videos


def describe_folder(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): digest(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        os.chdir(scratch)
        make_videos()
        make_store()
        train("run")
        run_flowkit("evaluate", "run", "--store", "store", *COMMON)
        run_flowkit(
            "features", "--store", "store", "--model", "run", "--stream", "rgb",
            "--name", "pooled", "--positions", "3", "--workers", "0", "--device", "cpu",
        )  # fmt: skip
        train("half", "--stop-after", "7")  # amid its last phase
        run_flowkit("export", "store", "export", "--format", "denseflow", "--subset", "val")
        golden = {
            "store": describe_store(Path("store")),
            "export": describe_folder(Path("export")),
            "evaluate": json.loads(
                run_flowkit("evaluate", "run", "--store", "store", "--json", *COMMON)
            ),
        }
        for name in ("videos", "store", "run", "half", "export"):
            shutil.rmtree(HERE / name, ignore_errors=True)
            shutil.copytree(name, HERE / name)
        (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
        os.chdir(HERE)


if __name__ == "__main__":
    main()
