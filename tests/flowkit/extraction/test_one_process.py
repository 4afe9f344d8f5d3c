"""A notebook: extraction by Ray, training with forked loader workers, and extraction again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import flowkit
from flowkit.store import Store

NOTEBOOK = """
import gc, sys
from pathlib import Path

from torch.utils.data import DataLoader

from flowkit.annotations import explicit_files
from flowkit.datasets.snippets import SnippetDataset
from flowkit.extraction import Options, RecipeOverrides, choose_recipe, extract
from flowkit.store import Store
from train.recipe.recipe import change_recipe, read_recipe
from train.runs.run import Settings, create_run
from train.loop.session import train

folder, *changes = sys.argv[1:]
folder = Path(folder)
clips = sorted(folder.glob("*.mp4"))


def extract_clips(name):
    streams = ("rgb", "flow")
    recipe = choose_recipe(folder / name, streams, RecipeOverrides(size="32x32"), None)
    extract(explicit_files(clips), folder / name, recipe, Options(workers=2))


def collect(number):
    gc.collect()  # what was left of Ray would be freed here, where its threads are not


def main():
    extract_clips("S1")
    store = Store(folder / "T")
    recipe = change_recipe(read_recipe("motion8_cma"), dict(c.split("=", 1) for c in changes))
    assert train(create_run(folder / "R", recipe, store), store, Settings(workers=1), print)
    dataset = SnippetDataset(store, "train", 2, training=True)
    loader = DataLoader(
        dataset, 4, num_workers=2, multiprocessing_context="fork", worker_init_fn=collect
    )
    assert sum(len(batch["label"]) for batch in loader) == len(dataset)
    extract_clips("S2")


if __name__ == "__main__":
    main()
"""
TINY = (
    "classes=2", "dataset=tiny", "data.short_side=24", "data.size=16", "data.num_segments=2",
    "network.width=4", "training.epochs=1", "training.batch=4", "testing.segments=2",
    "iterations=0",
)  # fmt: skip


@pytest.mark.slow
def test_extract_train_extract(tmp_path, make_clip, make_store):
    for number in range(4):
        make_clip(tmp_path / f"{number}.mp4", seed=number)
    make_store([f"video {number:02}" for number in range(12)], tmp_path / "T", frames=9)
    script = tmp_path / "notebook.py"
    script.write_text(NOTEBOOK)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(tmp_path), *TINY],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search_path())},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("S1", "S2"):
        assert len(Store(tmp_path / name)) == 4


def search_path() -> list[str]:
    """This flowkit, before one that is installed, and what was found before it here."""
    own = str(Path(flowkit.__file__).parents[1])
    return [own, *filter(None, [os.environ.get("PYTHONPATH")])]
