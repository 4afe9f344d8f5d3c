"""Evaluated runs of every kind, with toy networks of random weights."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.recipe import FeatureRecipe, LogMelRecipe
from flowkit.store import (
    Fingerprint,
    ShardWriter,
    Store,
    VideoMeta,
    create_or_open,
    rebuild_index,
    write_annotations,
)
from tests.conftest import write_store
from tests.train.conftest import TINY
from train.evaluation.evaluate import average_splits, join_name
from train.evaluation.scores import Scores, fuse_scores, measure
from train.loop.checkpoint import write_tensors
from train.recipe.recipe import change_recipe, read_recipe
from train.runs.phases import list_phases, list_scorings
from train.runs.run import Run, create_run
from train.tasks.registry import find_task

VIDEOS, POSITIONS = 12, 4
CLASSES = ("wave", "jump high", "riding a very small bicycle uphill")
PLAIN = {"iterations": 0, "testing.controls": "[]"}
P3D = {
    "testing.controls": "[]", "network.backbone": "p3d", "network.blocks": "[1, 1, 2, 1]",
    "data.clip": "{length: 4}", "data.size": 24, "data.num_segments": 1, "testing.segments": 1,
}  # fmt: skip
I3D = {
    "testing.controls": "[]", "network.backbone": "i3d", "network.stem": 8, "network.width": 2,
    "data.clip": "{length: 4}", "data.num_segments": 1, "testing.segments": 1,
}  # fmt: skip
PYRAMID = {**PLAIN, "data.size": 24, "network.pyramid": {"taps": ["res2_0", "res3_1", "res4_1"]}}
SUBSETS = {"train": "train", "validate": "test", "test": "test"}
SPLITS = {"train": "train{split}", "validate": "test{split}", "test": "test{split}"}
SETS = {
    "dataset": "tiny", "classes": 3, "sets.streams": "{look: look, sound: sound}",
    "sets.dimensions": "{look: 6, sound: 3}", "sets.sample": "{look: 3, sound: 2}",
    "training.batch": 4, "training.epochs": 2, "subsets": SUBSETS,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of run: how its recipe is made."""

    recipe: str = "motion8_cma"
    """Name of the recipe that is made tiny."""
    changes: dict[str, Any]
    """Changes of its values."""


KINDS = {
    "CMA": Kind(changes={"iterations": 2, "testing.controls": "[]"}),
    "CMA after non-local": Kind(
        changes={"network.non_local": "[rgb]", "testing.controls": "[uniform]"}
    ),
    "CMA of P3D": Kind(changes=P3D),
    "CMA of I3D": Kind(changes=I3D),
    "non-local": Kind(changes={**PLAIN, "network.non_local": "[rgb, flow]"}),
    "two streams": Kind(changes=PLAIN),
    "RGB alone": Kind(changes={**PLAIN, "streams": "[rgb]"}),
    "flow alone": Kind(changes={**PLAIN, "streams": "[flow]"}),
    "clips of I3D": Kind(changes={**I3D, **PLAIN, "streams": "[rgb]"}),
    "pyramid": Kind(changes=PYRAMID),
    "many labels": Kind(changes={**PYRAMID, "labels": "many", "streams": "[rgb]"}),
    "splits": Kind(changes={**PLAIN, "splits": "[1, 2]", "subsets": SPLITS}),
    "audio": Kind(
        recipe="kinetics_audio_vgg16",
        changes={"network.width": 2, "network.weights": "{}", "subsets": SUBSETS},
    ),
    "clusters": Kind(recipe="flash_mnist_clusters", changes={**SETS, "sets.units": 4}),
    "CATNet": Kind(recipe="kinetics_catnet", changes={**SETS, "sets.heads": 4}),
    "average of sets": Kind(
        recipe="flash_mnist_clusters", changes={**SETS, "sets.method": "average"}
    ),
}


def write_videos(root: Path) -> Store:
    """Videos with frames, flow, sound and two kinds of features; a third of them to test."""
    ids = [f"a folder with a long name/video {n:02}" for n in range(VIDEOS)]
    write_store(root, ids, frames=9)
    features = {
        "look": FeatureRecipe(source="rgb", model="net", weights="a", dimension=6, positions=4),
        "sound": FeatureRecipe(source="audio", model="ear", weights="b", dimension=3, positions=0),
    }
    recipe = replace(Store(root).recipe, features=features, audio=LogMelRecipe())
    create_or_open(root, recipe, "tiny")
    rng = np.random.default_rng(3)
    for stream, width in (("audio", 0), ("features/look", 6), ("features/sound", 3)):
        options = {"dimension": width} if width else {}
        writer = ShardWriter(root, stream, recipe=recipe, **options)
        for n, id in enumerate(ids):
            writer.begin(id)
            if width:
                vectors = rng.normal(0, 1, (POSITIONS, width)).astype(np.float32)
                writer.append_rows(vectors, [0, 2, 4, 7], [0] * POSITIONS)
            else:
                for _ in range(2):
                    writer.append(patch=rng.normal(-3, 1, (96, 64)).astype(np.float32))
            mark = Fingerprint(size=n, mtime_ns=n, digest=f"{n:032x}")
            writer.end(VideoMeta(
                id=id, source=id, fingerprint=mark, streams=(stream,),
                frames=POSITIONS if width else 2, fps=0, width=0, height=0,
            ))  # fmt: skip
        writer.close()
    subsets = (("test", "train1", "test2"), ("train", "train2", "test1"), ("train", "train1"))
    rows = tuple(
        Annotation(id, (Label(CLASSES[n // 2 % 3]),), subsets[n % 3]) for n, id in enumerate(ids)
    )
    write_annotations(root, AnnotationTable(CLASSES, rows))
    rebuild_index(root)
    return Store(root)


def finish(run: Run) -> None:
    """Give each phase random weights, its attention blocks some influence, and logged epochs."""
    task = find_task(run.recipe)
    for phase in list_phases(run.recipe):
        network = task.build_network(phase)
        weights = task.select_weights(network, phase)
        for name in weights:
            if name.startswith(("to_", "non_local")) and name.endswith("norm.weight"):
                weights[name] = torch.full_like(weights[name], 0.5)
        folder = run.folder(phase.name)
        folder.mkdir(parents=True)
        write_tensors(folder / "weights.pt", weights)
        epochs = [
            {"epoch": n, "loss": 2 / n, "val_loss": 3 / n, "train_top1": 0.5, "top1": 0.25 * n,
             "mAP": 0.3} for n in (1, 2, 3)
        ]  # fmt: skip
        (folder / "epochs.jsonl").write_text("".join(json.dumps(e) + "\n" for e in epochs))


def write_results(run: Run, store: Store, costs: dict[str, Any]) -> None:
    """Write random scores, their metrics and the costs, as an evaluation does."""
    recipe, rng = run.recipe, np.random.default_rng(run.recipe.seed)
    results: dict[str, dict[str, float]] = {}
    for scoring in list_scorings(recipe):
        rows = store.subset(recipe.for_split(scoring.split).subsets.test)
        labels = np.array([CLASSES.index(store[int(row)].labels[0].name) for row in rows])
        if recipe.labels == "many":
            labels = np.eye(len(CLASSES), dtype=np.int64)[labels]
        ids = tuple(store.index.id(int(row)) for row in rows)
        scores = {}
        for branch in scoring.phases:
            logits = rng.normal(0, 1, (2, len(rows), len(CLASSES))).astype(np.float32)
            scores[branch] = Scores(ids, labels, *logits)
        if scoring.fusion is not None:
            scores["fusion"] = fuse_scores(scores["rgb"], scores["flow"], scoring.fusion)
        for branch, values in scores.items():
            name = join_name(scoring.name, branch)
            values.save(run.path / "scores" / f"{name}.npz")
            results[name] = measure(values.logits, labels)
    results |= average_splits(recipe, results)
    (run.path / "results.json").write_text(json.dumps({"scores": results, "costs": costs}))


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Store:
    return write_videos(tmp_path_factory.mktemp("kinds") / "store")


@pytest.fixture(scope="session")
def make_kind(videos, tmp_path_factory) -> Callable[[str], Run]:
    """``make_kind("CMA", 1)``: an evaluated run of a kind and a seed, which is made once."""
    folder, runs = tmp_path_factory.mktemp("runs"), {}

    def make(name: str, seed: int = 0) -> Run:
        if (name, seed) not in runs:
            kind = KINDS[name]
            tiny = {key: value for key, value in TINY.items() if kind.recipe == "motion8_cma"}
            changes = {**tiny, "dataset": "tiny", "classes": 3, "seed": seed, **kind.changes}
            recipe = change_recipe(
                read_recipe(kind.recipe), {key: str(value) for key, value in changes.items()}
            )
            run = create_run(folder / f"{name} {seed}", recipe, videos)
            if seed:  # the same networks with other scores, which is enough to compare with
                first = make(name)
                shutil.copytree(first.path / "phases", run.path / "phases")
                costs = json.loads((first.path / "results.json").read_text())["costs"]
            else:
                finish(run)
                costs = find_task(recipe).count_costs()
            write_results(run, videos, costs)
            runs[name, seed] = run
        return runs[name, seed]

    return make
