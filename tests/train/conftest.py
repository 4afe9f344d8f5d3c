"""A store and a recipe small enough to be trained in seconds."""

from collections.abc import Callable, Iterator

import pytest
import torch

from flowkit.store import Store
from tests.conftest import keep_one_thread
from tests.s3_server import s3, upload  # noqa: F401 (fixtures)
from train.recipe.recipe import Recipe, change_recipe, read_recipe
from train.runs.run import Run, Settings, create_run

TINY = {
    "classes": "2",
    "dataset": "tiny",
    "data.short_side": "24",
    "data.size": "16",
    "data.num_segments": "2",
    "network.width": "4",
    "training.epochs": "2",
    "phases": "{}",
    "training.batch": "4",
    "training.rate": "0.02",
    "testing.segments": "2",
}
SETTINGS = Settings(threads=1, workers=0)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Use one thread: see `keep_one_thread`."""
    with keep_one_thread():
        yield


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """A training on sets flushes them, in its whole process; other tests count on them."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def store(make_store) -> Store:
    """Twelve videos of two classes: eight in train, four in test."""
    return Store(make_store([f"video {number:02}" for number in range(12)], frames=9))


@pytest.fixture
def tiny_changes() -> dict[str, str]:
    """What makes a recipe tiny."""
    return TINY


@pytest.fixture
def tiny() -> Callable[..., Recipe]:
    """``tiny(training.epochs=1, …)`` with dots as double underscores: motion8_cma made tiny."""

    def make(name: str = "motion8_cma", **changes: object) -> Recipe:
        own = {key.replace("__", "."): str(value) for key, value in changes.items()}
        return change_recipe(read_recipe(name), {**TINY, **own})

    return make


@pytest.fixture
def begin(tmp_path, store, tiny) -> Callable[..., Run]:
    """``begin("run", …)``: a run folder of the tiny recipe."""

    def make(name: str = "run", **changes: object) -> Run:
        return create_run(tmp_path / name, tiny(**changes), store)

    return make
