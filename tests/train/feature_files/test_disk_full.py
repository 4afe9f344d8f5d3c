"""A disk that is full at any write: one line says so, and the next run completes the files."""

import errno
import os
from pathlib import Path

import pytest

from flowkit.errors import DiskFullError, StoreError
from tests.train.feature_files.conftest import compute, locate, read_files
from train.feature_files import feature_file
from train.feature_files.feature_file import FeatureFileWriter

pytestmark = pytest.mark.usefixtures("mirrors")


class FullFile:
    """A file on a disk that is full from a number of written bytes on; buffers nothing."""

    def __init__(self, file, disk):
        self.file, self.disk = file, disk

    def write(self, content):
        self.disk["left"] -= len(content)
        if self.disk["left"] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(content)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def fill_disk(monkeypatch, left):
    """Let all files that are opened for writing share a disk with so many bytes left."""
    disk, real = {"left": left, "written": 0}, Path.open

    def open_file(path, mode="r", *rest, **options):
        file = real(path, mode, *rest, **options)
        return FullFile(file, disk) if "w" in mode and "b" in mode else file

    monkeypatch.setattr(Path, "open", open_file)
    return disk


def test_full_at_any_byte(tmp_path, make_clip, make_request, monkeypatch):
    clips = [make_clip(tmp_path / "v" / f"{n}.mp4", frames=9, seed=n) for n in range(2)]
    whole = make_request(out=tmp_path / "whole", layout="separate")
    with monkeypatch.context() as patch:
        disk = fill_disk(patch, 1 << 40)
        compute(locate(*clips), whole)
        total = (1 << 40) - disk["left"]
    expected = read_files(whole.out)
    for percent in (0, 1, 3, 10, 30, 50, 70, 90, 99):
        request = make_request(out=tmp_path / f"full {percent}", layout="separate")
        with monkeypatch.context() as patch:
            fill_disk(patch, total * percent // 100)
            with pytest.raises(DiskFullError, match="free some and run the same command") as caught:
                compute(locate(*clips), request)
        assert len(str(caught.value).splitlines()) == 1
        assert not list(request.out.rglob("*.part"))
        left = read_files(request.out)
        for name in [name for name in left if name.endswith(".json")]:
            video = {k: v for k, v in expected.items() if k.startswith(name.partition(".")[0])}
            assert {k: left[k] for k in video} == video
        compute(locate(*clips), request)
        assert read_files(request.out) == expected


def test_full_when_the_second_file_is_opened(tmp_path, make_clip, make_request, monkeypatch):
    clip = make_clip(tmp_path / "v" / "a.mp4", frames=5)
    request = make_request(layout="separate")
    real = Path.open

    def open_file(path, mode="r", *rest, **options):
        if ".flow.npy." in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", open_file)
    with pytest.raises(DiskFullError, match=r"disk full while writing .*a\.flow\.npy"):
        compute(locate(clip), request)
    assert not read_files(request.out)


def test_a_folder_that_cannot_be_written(tmp_path, make_clip, make_request, monkeypatch):
    clip = make_clip(tmp_path / "v" / "a.mp4", frames=5)

    def refuse(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(feature_file.os, "fsync", refuse)
    with pytest.raises(StoreError, match="Input/output error; check the disk"):
        compute(locate(clip), make_request())


def test_the_space_that_remaining_videos_need(tmp_path, make_clip, make_request, monkeypatch):
    clips = [make_clip(tmp_path / "v" / f"{n}.mp4", frames=30 - 10 * n) for n in range(3)]
    real = FeatureFileWriter.append

    def append(writer, rows):
        if writer.path.name.startswith("2"):
            raise DiskFullError("disk full while writing 2.npy")
        real(writer, rows)

    monkeypatch.setattr(FeatureFileWriter, "append", append)
    with pytest.raises(DiskFullError, match=r"\(the remaining videos need about \d+\.\d KiB\)"):
        compute(locate(*clips), make_request())  # the largest first
    assert len(list((tmp_path / "feats").glob("*.json"))) == 2
