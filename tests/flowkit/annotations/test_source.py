import re
from pathlib import Path

import pytest

from flowkit.annotations import Source, explicit_files
from flowkit.errors import UsageError


def plant(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_files_by_name_and_folders_by_path(tmp_path: Path) -> None:
    plant(tmp_path, "a.mp4", "notes.txt", "dir/x/b.avi", "dir/c.avi")
    located = explicit_files(tmp_path / name for name in ("notes.txt", "dir", "a.mp4"))
    assert [
        (source.id, source.path.relative_to(tmp_path).as_posix()) for source in located.sources
    ] == [
        ("a.mp4", "a.mp4"),
        ("c.avi", "dir/c.avi"),
        ("notes.txt", "notes.txt"),
        ("x/b.avi", "dir/x/b.avi"),
    ]
    assert located.missing == ()
    assert located.unannotated == ()


def test_a_path_given_twice_is_one_source(tmp_path: Path) -> None:
    plant(tmp_path, "a.mp4")
    assert len(explicit_files([tmp_path / "a.mp4", tmp_path / "a.mp4"]).sources) == 1


def test_a_folder_named_like_a_video_is_a_source(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.mkdir()
    assert explicit_files([path]).sources == (Source("x.mp4", path),)


def test_a_frame_folder_above_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "a/0.png", "a/sub/notes.txt")
    monkeypatch.chdir(tmp_path / "a" / "sub")
    assert [source.id for source in explicit_files([Path("..")]).sources] == ["a"]


def test_a_link_that_leads_nowhere_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").symlink_to(tmp_path / "gone.mp4")
    assert [source.id for source in explicit_files([tmp_path / "x.mp4"]).sources] == ["x.mp4"]


def test_files_of_one_name_are_rejected_and_named(tmp_path: Path) -> None:
    plant(tmp_path, "p/a.mp4", "q/a.mp4", "q/b.mp4")
    located = explicit_files([tmp_path / "p/a.mp4", tmp_path / "q"])
    assert [source.id for source in located.sources] == ["b.mp4"]
    (rejected,) = located.rejected
    assert (rejected.id, rejected.kind) == ("a.mp4", "duplicate-id")
    assert re.search(r"2 videos with the id 'a.mp4': .*/p/a.mp4 and .*/q/a.mp4", rejected.reason)


def test_one_file_named_twice_is_one_source(tmp_path: Path) -> None:
    plant(tmp_path, "a.mp4")
    assert len(explicit_files([tmp_path / "a.mp4", tmp_path]).sources) == 1


def test_names_that_differ_by_normalization_are_rejected(tmp_path: Path) -> None:
    plant(tmp_path, "p/caf\u00e9.mp4", "q/cafe\u0301.mp4", "q/b.mp4")
    located = explicit_files([tmp_path / "p", tmp_path / "q"])
    assert [source.id for source in located.sources] == ["b.mp4"]
    assert [rejected.kind for rejected in located.rejected] == ["duplicate-id"]


def test_names_that_are_not_utf8_are_rejected(tmp_path: Path) -> None:
    path = Path(str(tmp_path) + "/caf\udce9.mp4")
    path.write_bytes(b"")
    plant(tmp_path, "b.mp4")
    located = explicit_files([path, tmp_path / "b.mp4"])
    assert [source.id for source in located.sources] == ["b.mp4"]
    (rejected,) = located.rejected
    assert (rejected.id, rejected.kind) == (r"caf\xe9.mp4", "bad-name")
    assert "is not UTF-8" in rejected.reason


def test_a_file_that_cannot_even_be_looked_at_is_a_source(tmp_path: Path) -> None:
    """The worker quarantines it with the reason; here it would stop all the others."""
    name = "x" * 300 + ".mp4"
    assert [source.id for source in explicit_files([tmp_path / name]).sources] == [name]


def test_missing_file_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file: .*gone\.mp4"):
        explicit_files([tmp_path / "gone.mp4"])
    with pytest.raises(UsageError, match="no videos below"):
        explicit_files([tmp_path])
