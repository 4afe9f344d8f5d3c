"""`flowkit preview` as a user runs it."""

import pytest
from click.testing import CliRunner

from flowkit.commands.index import index
from flowkit.commands.preview import preview
from flowkit.errors import UsageError

IDS = [f"class_{n}/{take}.mp4" for n in range(10) for take in "ab"]


@pytest.fixture
def root(make_store, tmp_path):
    """A store with ten classes, two videos of each."""
    root = make_store(IDS, frames=3, annotated=False)
    for id in IDS:
        (tmp_path / "videos" / id).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / id).write_bytes(b"")
    arguments = [str(root), "--annotations", str(tmp_path / "videos"), "--format", "folder"]
    assert CliRunner().invoke(index, arguments).exit_code == 0
    return root


@pytest.mark.parametrize("option", ["--grid", "--sheet"])
def test_classes_that_are_not_shown_are_counted(root, tmp_path, option):
    out = tmp_path / "p.png"
    result = CliRunner().invoke(preview, [str(root), option, "-o", str(out)])
    assert result.exit_code == 0
    assert result.stdout == f"{out}\n"
    assert result.stderr == "8 of 10 classes are shown; to choose others, name videos\n"
    help_text = " ".join(CliRunner().invoke(preview, ["--help"]).stdout.split())
    assert help_text.count("of 8 classes at most") == 2


def test_nothing_is_counted_where_all_classes_are_shown_or_videos_are_named(root, make_store):
    out = str(root.parent / "p.png")
    result = CliRunner().invoke(preview, [str(root), IDS[0], IDS[19], "--sheet", "-o", out])
    assert (result.exit_code, result.stderr) == (0, "")
    bare = make_store(("x", "y"), root=root.parent / "bare", annotated=False)
    result = CliRunner().invoke(preview, [str(bare), "--sheet", "-o", out])
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_grid_is_no_film(root, tmp_path):
    result = CliRunner().invoke(preview, [str(root), "--grid", "-o", str(tmp_path / "g.mp4")])
    assert isinstance(result.exception, UsageError)
    assert "a grid is one picture, not a film: write a .png instead of" in str(result.exception)


def test_nor_beside_as_many_classes_as_are_shown(root, make_store, tmp_path):
    """Ten classes are annotated, and eight of them have videos."""
    few = make_store(IDS[:16], frames=3, annotated=False, root=root.parent / "few")
    arguments = [str(few), "--annotations", str(root.parent / "videos"), "--format", "folder"]
    assert CliRunner().invoke(index, arguments).exit_code == 0
    result = CliRunner().invoke(preview, [str(few), "--grid", "-o", str(tmp_path / "p.png")])
    assert (result.exit_code, result.stderr) == (0, "")


def test_classes_without_videos_are_not_missed(make_store, tmp_path):
    root = make_store(("a",), frames=3)  # of two classes
    result = CliRunner().invoke(preview, [str(root), "--grid", "-o", str(tmp_path / "p.png")])
    assert result.exit_code == 0
    assert result.stderr == ""
