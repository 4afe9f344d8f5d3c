"""Taking features out of a store: what is left is as it was, whenever the removal is killed."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.errors import LockedError, UsageError
from flowkit.store import (
    ShardWriter,
    Store,
    create_or_open,
    hold_store,
    read_failures,
    read_header,
    rebuild_index,
    recover,
    removal,
)
from flowkit.store.failures import Failure, append_failure
from flowkit.store.integrity.verify import verify
from flowkit.store.removal import remove_features
from flowkit.store.status import read_status


@pytest.fixture
def root(stores, tmp_path):
    """Frames of two videos, and features net and other of them; failures of each kind."""
    path = tmp_path / "S"
    recipe = replace(
        stores.RECIPE, features={"net": stores.NET, "other": replace(stores.NET, model="other")}
    )
    create_or_open(path, recipe)
    writer = ShardWriter(path, recipe=recipe)
    for number, id in enumerate("ab"):
        stores.put(writer, id, stores.draw_rows(number, 4))
    writer.close()
    for name in ("net", "other"):
        writer = ShardWriter(path, f"features/{name}", recipe=recipe)
        for number, id in enumerate("ab"):
            stores.put_features(writer, id, stores.draw_features(number, 5), name)
        writer.close()
    for stream in ("", "features/net", "features/other"):
        append_failure(path, Failure("c", "c.mp4", "broken", "no", 1, 0.0, stream=stream))
    rebuild_index(path)
    return path


def check(stores, root):
    """All but the features net is there."""
    store = Store(root)
    assert set(store.recipe.features) == {"other"}
    assert not (root / "removed" / "net").exists()
    assert not (root / "features" / "net").exists()
    for number, id in enumerate("ab"):
        assert store[id].streams == ("rgb", "flow", "features/other")
        wanted = stores.draw_features(number, 5)
        np.testing.assert_array_equal(store[id].features("other"), wanted)
    failed = {s: set(read_failures(root, s)) for s in ("", "features/net", "features/other")}
    assert failed == {"": {"c"}, "features/net": set(), "features/other": {"c"}}
    report = verify(root)
    assert report.clean
    assert not report.notes


def test_nothing_else_goes(stores, root):
    size = sum(path.stat().st_size for path in (root / "features/net").iterdir())
    assert remove_features(root, "net") == size
    check(stores, root)


@pytest.mark.parametrize(
    "step", ["sync_folder", "rebuild_index", "forget_failures", "write_atomic", "shutil.rmtree"]
)
def test_a_kill_at_any_step_and_the_same_call_again(stores, root, monkeypatch, step):
    def die(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"flowkit.store.removal.{step}", die)
        with pytest.raises(KeyboardInterrupt):
            remove_features(root, "net")
    rebuild_index(root)
    store = Store(root)
    assert store["a"].streams == ("rgb", "flow", "features/other")
    report = verify(root)
    assert report.clean
    assert any("removed/net was left" in note for note in report.notes)
    remove_features(root, "net")
    check(stores, root)


def test_the_name_is_free_again_even_before_the_bytes_are_gone(stores, root, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(removal.shutil, "rmtree", lambda path: None)
        remove_features(root, "net")
    new = replace(stores.NET, weights="cd" * 16, dimension=2)
    recipe = replace(read_header(root).recipe, features={"net": new})
    recipe = create_or_open(root, recipe).recipe
    writer = ShardWriter(root, "features/net", recipe=recipe)
    stores.put_features(writer, "a", np.ones((1, 2)))
    writer.close()
    rebuild_index(root)
    assert Store(root)["a"].features("net").tolist() == [[1, 1]]
    remove_features(root, "net")
    check(stores, root)


def test_other_files_beside_features_do_not_disturb(root):
    (root / "features" / ".DS_Store").write_bytes(b"x")
    assert recover(root).salvaged == ()
    assert verify(root).clean
    assert set(read_status(root).shards) == {"features/net", "features/other", "frames"}


@pytest.mark.parametrize("name", ["", ".", "..", "../frames", "../removed/../frames", "a/b", None])
def test_nothing_is_removed_that_is_not_features(stores, root, name):
    (root / "removed").mkdir()
    name = str(root / "frames") if name is None else name
    before = sorted(path for path in root.rglob("*") if "locks" not in path.parts)
    with pytest.raises(UsageError, match="expected a name of features"):
        remove_features(root, name)
    assert sorted(path for path in root.rglob("*") if "locks" not in path.parts) == before
    assert len(stores.contents(root)) == 2


def test_what_is_refused(root):
    with pytest.raises(UsageError, match=r"expected features that it has \(net, other\), got 'no'"):
        remove_features(root, "no")
    with hold_store(root), pytest.raises(LockedError):
        remove_features(root, "net")
    assert set(Store(root)["a"].streams) > {"features/net", "features/other"}


def test_the_command_asks_first(stores, root):
    asked = CliRunner().invoke(main, ["remove", str(root), "net"], input="n\n")
    assert "remove features/net of net from" in asked.output
    assert asked.exit_code == 1
    assert "features/net" in Store(root)["a"].streams
    done = CliRunner().invoke(main, ["remove", str(root), "net", "--yes"])
    assert "removed features/net" in done.output
    check(stores, root)


def test_features_computed_again_with_another_network_are_no_damage(stores, root):
    """The shards of frames were written with a recipe that has the first ones."""
    remove_features(root, "net")
    recipe = read_header(root).recipe
    features = {**recipe.features, "net": replace(stores.NET, model="third")}
    recipe = create_or_open(root, replace(recipe, features=features)).recipe
    with closing(ShardWriter(root, "features/net", recipe=recipe)) as writer:
        stores.put_features(writer, "a", stores.draw_features(0, 5), "net")
    rebuild_index(root)
    assert verify(root).clean
    wrong = {**recipe.features, "net": replace(stores.NET, model="fourth")}
    header = replace(read_header(root), recipe=replace(recipe, features=wrong))
    (root / "store.json").write_bytes(header.to_json())
    (problem,) = verify(root).problems
    assert "(features.net.model: fourth ≠ third)" in problem.what
