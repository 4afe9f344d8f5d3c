from pathlib import Path

import pytest

from flowkit.annotations import Annotation, Label, motion8
from flowkit.errors import AnnotationError


def test_lists_and_videos(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/train.csv").write_text("id,label\nup/a.mp4,up\nleft/b.mp4,left\n")
    (tmp_path / "annotations/test.csv").write_text("id,label\nup/c.mp4,up\n")
    table = motion8.read_table(tmp_path)
    assert table.classes == ("left", "up")
    assert table.annotations == (
        Annotation("left/b.mp4", (Label("left"),), ("train",)),
        Annotation("up/a.mp4", (Label("up"),), ("train",)),
        Annotation("up/c.mp4", (Label("up"),), ("test",)),
    )
    (tmp_path / "videos/up").mkdir(parents=True)
    for name in ("a", "x"):
        (tmp_path / f"videos/up/{name}.mp4").touch()
    located = motion8.locate_videos(tmp_path / "videos", table)
    assert [source.id for source in located.sources] == ["up/a.mp4"]
    assert located.missing == ("left/b.mp4", "up/c.mp4")
    assert located.unannotated == (tmp_path / "videos/up/x.mp4",)


def test_an_empty_label_is_placed(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,label\nup/a.mp4,\n")
    with pytest.raises(AnnotationError, match=r"train\.csv:2: expected 'id,label'"):
        motion8.read_table(tmp_path)
