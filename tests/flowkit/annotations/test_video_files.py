from pathlib import Path

import pytest

from flowkit.annotations.video_files import get_stem, has_videos, is_video, list_folder, list_videos
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
