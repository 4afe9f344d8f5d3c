from pathlib import Path

from flowkit.annotations import FORMATS, Label, folder


def plant(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_the_first_folder_is_the_class(tmp_path: Path) -> None:
    plant(tmp_path, "run/a.mp4", "jump/deep/b.avi", "loose.mkv", "run/notes.txt")
    table, located = folder.scan_folder(tmp_path)
    assert table.classes == ("jump", "run")
    assert [(source.id, source.labels, source.subsets) for source in located.sources] == [
        ("jump/deep/b.avi", (Label("jump"),), ()),
        ("loose.mkv", (), ()),
        ("run/a.mp4", (Label("run"),), ()),
    ]
    assert all(source.path == tmp_path / source.id for source in located.sources)
    assert [annotation.id for annotation in table.annotations] == [s.id for s in located.sources]


def test_splits_above_the_classes(tmp_path: Path) -> None:
    plant(tmp_path, "train/run/a.mp4", "validation/run/a.mp4", "test/b.mp4", "loose.mp4")
    table, located = folder.scan_folder(tmp_path)
    assert table.classes == ("run",)
    assert {source.id: (len(source.labels), source.subsets) for source in located.sources} == {
        "loose.mp4": (0, ()),
        "test/b.mp4": (0, ("test",)),
        "train/run/a.mp4": (1, ("train",)),
        "validation/run/a.mp4": (1, ("val",)),
    }


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    plant(tmp_path, "train/a.mp4", "bus/a.mp4")
    assert folder.scan_folder(tmp_path)[0].classes == ("bus", "train")


def test_names_that_differ_by_normalization_are_rejected(tmp_path: Path) -> None:
    plant(tmp_path, "caf\u00e9/a.mp4", "cafe\u0301/a.mp4", "run/a.mp4")
    table, located = folder.scan_folder(tmp_path)
    assert [source.id for source in located.sources] == ["run/a.mp4"]
    assert [annotation.id for annotation in table.annotations] == ["run/a.mp4"]
    assert [rejected.kind for rejected in located.rejected] == ["duplicate-id"]


def test_the_format_gives_what_scan_gives(tmp_path: Path) -> None:
    plant(tmp_path, "run/a.mp4")
    form = FORMATS["folder"]
    table = form.read_table(tmp_path, None)
    assert (table, form.locate_videos(tmp_path, table)) == folder.scan_folder(tmp_path)
