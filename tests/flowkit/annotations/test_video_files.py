import errno
import os
from pathlib import Path

import pytest

from flowkit.annotations.video_files import (
    get_stem,
    has_videos,
    is_frame_folder,
    is_video,
    list_folder,
    list_videos,
)
from flowkit.errors import UsageError


def plant(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_videos_at_any_depth_in_any_case_sorted(tmp_path: Path) -> None:
    plant(tmp_path, "b.MP4", "a/c d/e.webm", "a/z.txt", "a.b/f.avi", ".hidden.mp4", ".git/x.mp4")
    assert list_videos(tmp_path) == ["a.b/f.avi", "a/c d/e.webm", "b.MP4"]


def test_a_folder_named_like_a_video_is_listed_only_without_videos_below(tmp_path: Path) -> None:
    plant(tmp_path, "full.mp4/a.mp4", "frames.avi/img_1.jpg", "deep.mkv/inner.mkv/x.txt")
    (tmp_path / "empty.mp4").mkdir()
    assert list_videos(tmp_path) == [
        "deep.mkv/inner.mkv",
        "empty.mp4",
        "frames.avi",
        "full.mp4/a.mp4",
    ]


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    plant(root, "a/x.mp4")
    plant(other, "y.mp4")
    (root / "0loop").symlink_to(root)
    (root / "0same").symlink_to(root / "a")
    (root / "out").symlink_to(other)
    (other / "back").symlink_to(root)
    (root / "gone.mp4").symlink_to(root / "nowhere")
    (root / "file.mp4").symlink_to(other / "y.mp4")
    assert list_videos(root) == ["a/x.mp4", "file.mp4", "gone.mp4", "out/y.mp4"]


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    plant(tmp_path, "real/x.mp4")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list_videos(tmp_path / "link") == ["x.mp4"]


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found none at .*nowhere"):
        list_videos(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot list the folder .*/gone: No such file"):
        list_folder(tmp_path / "gone")


def test_a_folder_below_one_that_cannot_be_entered_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "a/b/c.mp4")
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path == tmp_path / "a" / "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(UsageError, match=r"cannot list the folder .*/a/b: Permission denied"):
        list_videos(tmp_path)


def test_holds_videos(tmp_path: Path) -> None:
    assert not has_videos(tmp_path / "nowhere")
    (tmp_path / "empty.mp4").mkdir()
    assert not has_videos(tmp_path)
    plant(tmp_path, "a/b/c.mov")
    assert has_videos(tmp_path)


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/b.c.mp4", "b.c"), ("b.mp4", "b"), ("a.b/c", "c"), ("a/#1;~[x].avi", "#1;~[x]")],
)
def test_stem(path: str, name: str) -> None:
    assert get_stem(path) == name == Path(path).stem


def test_is_video() -> None:
    assert is_video("a.MP4")
    assert is_video("a.b.webm")
    assert not is_video("mp4")
    assert not is_video("a.mp4.txt")


def write_files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a/f1.jpg", "a/f2.jpg", "b.mp4"), ["a", "b.mp4"]),
        (("run/a/1.png", "run/b/1.PNG"), ["run/a", "run/b"]),
        (("train/run/a/1.png", "train/run/Thumbs.db"), ["train/run/a"]),
        # Pictures beside videos, and of a class whose videos are below it, are no videos.
        (("run/a.mp4", "run/a.jpg", "run/poster1.jpg"), ["run/a.mp4"]),
        (("run/poster1.jpg", "run/a/1.png", "run/a/2.png"), ["run/a"]),
        (("run/1.jpg", "run/more/a.mp4"), ["run/more/a.mp4"]),
        (("run/7.mp4", "run/thumbs/7.jpg"), ["run/7.mp4"]),
        (("run/7.mp4", "run/other/8.jpg"), ["run/7.mp4", "run/other"]),
        # Names without a number are no series of frames.
        (("docs/logo.png", "docs/scheme.jpg", "a.mp4"), ["a.mp4"]),
        ((".cache/1.jpg", "a/.2.jpg", "a/x.mp4"), ["a/x.mp4"]),
        (("v.avi/1.jpg",), ["v.avi"]),
        (("1.jpg", "2.jpg"), []),
        (("1.jpg", "a/1.jpg"), ["a"]),
    ],
)
def test_which_folders_of_images_are_videos(tmp_path, names, expected):
    write_files(tmp_path, *names)
    assert list_videos(tmp_path) == expected
    assert has_videos(tmp_path) == bool(expected)


def test_with_frames_only_every_folder_of_images_is_a_video(tmp_path):
    write_files(tmp_path, "a/1.jpg", "a/depth/1.png", "b/x.png", "b/c.mp4", "d.mp4", "e/f.txt")
    assert list_videos(tmp_path, frames_only=True) == ["a", "a/depth", "b"]
    assert list_videos(tmp_path) == ["a/depth", "b/c.mp4", "d.mp4"]


def test_a_folder_of_images_that_is_named_itself(tmp_path):
    write_files(tmp_path, "v/1.jpg", "v/notes/x.txt", "w/1.jpg", "w/a/1.jpg")
    assert is_frame_folder(tmp_path / "v")
    assert not is_frame_folder(tmp_path / "w")
    assert not is_frame_folder(tmp_path / "w" / "nowhere")


def test_a_link_that_is_a_circle_is_no_folder(tmp_path):
    write_files(tmp_path, "a/1.jpg", "b.mp4")
    (tmp_path / "a/2.jpg").symlink_to("2.jpg")
    assert list_videos(tmp_path) == ["a", "b.mp4"]
    assert is_frame_folder(tmp_path / "a")
