"""A disk that fills up: the run stops and says what it needs, the store stays valid."""

import subprocess

import pytest

from flowkit.annotations import explicit_files
from flowkit.errors import DiskFullError
from flowkit.extraction import Options, extract
from flowkit.store import Store
from flowkit.store.integrity.verify import verify


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB, and a function that enlarges it."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not mount("size=256k"):
        pytest.skip("a real full disk takes the right to mount a small one")
    yield disk, lambda: mount("remount,size=64m")
    subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")
def test_a_full_disk_stops_the_run_and_a_rerun_completes(
    small_disk, tmp_path, make_clip, recipe, contents, workers
):
    disk, enlarge = small_disk
    clips = [make_clip(tmp_path / f"{i}.mp4", frames=60, seed=i) for i in range(6)]
    with pytest.raises(
        DiskFullError, match=r"disk full while writing .*free some and run the same command again"
    ):
        extract(explicit_files(clips), disk / "S", recipe, Options(workers=workers))
    assert not verify(disk / "S", deep=True).problems
    assert enlarge()
    summary = extract(explicit_files(clips), disk / "S", recipe, Options(workers=0))
    assert summary.left == 0
    assert summary.extracted + summary.done_before == 6
    assert not verify(disk / "S", deep=True).problems
    extract(explicit_files(clips), tmp_path / "T", recipe, Options(workers=0))
    assert contents(disk / "S") == contents(tmp_path / "T")
    assert len(Store(disk / "S")) == 6
