"""`flowkit demo`: that it says so where its videos are not what it shows."""

import pytest
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.decode import VideoReader
from flowkit.extraction.options import Options

SIZE = ("--videos", "8", "--test-videos", "0", "--frames", "4", "--size", "32x32")


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """``demo(…)`` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWKIT_DATA", raising=False)

    def run(*words):
        return CliRunner().invoke(main, ["demo", "--store", "S", *words])

    return run


def plant(monkeypatch, marker):
    """Videos whose names contain ``marker`` cannot be opened."""

    def open_video(path, resize, fps):
        if marker in path.name:
            raise TypeError("no such argument")
        return VideoReader(path, resize, fps)

    monkeypatch.setattr(
        "flowkit.extraction.Options", lambda **o: Options(open_video=open_video, **o)
    )


def test_all_of_it(demo, tmp_path):
    result = demo(*SIZE, "--workers", "0")
    assert result.exit_code == 0, result.output
    assert "over 24 pairs" in result.stdout
    assert (tmp_path / "S.png").stat().st_size > 1000
    assert demo("--check").exit_code == 0


def test_videos_that_failed_are_said(demo, monkeypatch):
    plant(monkeypatch, "train_00003")
    for words in ([*SIZE, "--workers", "0"], ["--check"]):
        result = demo(*words)
        assert result.exit_code == 1
        assert "over 21 pairs" in result.stdout  # of those that are there
        line = result.stderr.splitlines()[-1]
        assert line.startswith("error: 1 videos of motion8 could not be extracted into S (1 int")
        assert "flowkit status S --failures" in line


def test_a_store_without_videos_is_said(demo, monkeypatch):
    plant(monkeypatch, "")
    result = demo(*SIZE, "--workers", "0")
    assert result.exit_code == 1
    assert "TypeError" in result.stderr.splitlines()[-1]
    result = demo("--check")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: S holds no video to compare: 8 failed (8 internal-error)")
