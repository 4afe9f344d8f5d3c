"""What an actor says when its node cannot be used."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flowkit.errors import StoreError
from flowkit.extraction import WorkerSetup
from flowkit.extraction.actor import Actor


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Return the folder of a store that this node sees."""
    node = SimpleNamespace(get_node_id=lambda: "0123456789")
    ray = SimpleNamespace(get_runtime_context=lambda: node)
    monkeypatch.setitem(sys.modules, "ray", ray)
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "token").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("locked", "message"),
    [("journal", "does not see the store at"), ("videos", "does not see .*a.mp4: expected it on")],
)
def test_a_node_whose_user_may_not_enter_a_folder(root, recipe, monkeypatch, locked, message):
    """Root may enter any folder, so the refusal is played."""
    original = os.stat

    def refuse(path, **options):
        if f"/{locked}/" in str(path):
            raise PermissionError(13, "Permission denied")
        return original(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    setup = WorkerSetup(root=root, recipe=recipe, backend="numba")
    actor = Actor(setup, root / "crash", "token", root / "videos/a.mp4")
    with pytest.raises(StoreError, match=message):
        actor.start()


def test_a_node_that_may_only_read_the_store(root, recipe):
    setup = WorkerSetup(root=root, recipe=recipe, backend="numba")
    crash_path = root / "journal" / "token" / "crash"  # cannot be written
    with pytest.raises(StoreError, match=r"node .*/01234567 cannot write .*crash: .*write"):
        Actor(setup, crash_path, "token", root).start()
