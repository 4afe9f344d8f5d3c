import re
from collections import Counter
from pathlib import Path

import pytest

from flowkit.annotations import Annotation, Label, hmdb51
from flowkit.errors import AnnotationError

STRANGE = "#20_Rhythm_clap_u_nm_np1_fr_goo_0"


def test_the_real_files(shared_data: Path) -> None:
    table = hmdb51.read_table(shared_data / "annotations/hmdb51")
    assert len(table.classes) == 51
    assert table.classes[0] == "brush_hair"
    assert table.classes[50] == "wave"
    assert len(table.annotations) == 6766
    counts = Counter(
        (annotation.labels[0].name, subset)
        for annotation in table.annotations
        for subset in annotation.subsets
    )
    assert counts == {
        (name, f"{kind}{split}"): count
        for name in table.classes
        for kind, count in (("train", 70), ("test", 30))
        for split in (1, 2, 3)
    }
    in_split_1 = [a for a in table.annotations if {"train1", "test1"} & set(a.subsets)]
    assert len(in_split_1) == 6766 - 1666


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content)
    return folder


def test_strange_names_and_unused_videos(tmp_path: Path) -> None:
    write(
        tmp_path,
        clap_test_split1=f"{STRANGE}.avi 1 \na(b)[c]_0.avi 0 \n",
        clap_test_split2=f"{STRANGE}.avi 2 \na(b)[c]_0.avi 0 \n",
    )
    table = hmdb51.read_table(tmp_path)
    assert table.annotations == (
        Annotation(STRANGE, (Label("clap"),), ("train1", "test2")),
        Annotation("a(b)[c]_0", (Label("clap"),), ()),
    )
    (tmp_path / "videos/clap").mkdir(parents=True)
    (tmp_path / f"videos/clap/{STRANGE}.avi").touch()
    located = hmdb51.locate_videos(tmp_path / "videos", table)
    assert [source.id for source in located.sources] == [STRANGE]
    assert located.missing == ("a(b)[c]_0",)


@pytest.mark.parametrize("line", ["a.avi", "a.avi 3", "a 1", "1"])
def test_malformed_lines(tmp_path: Path, line: str) -> None:
    write(tmp_path, clap_test_split1=f"b.avi 1\n{line}\n")
    message = f"clap_test_split1.txt:2: expected 'name.avi n' with n = 0, 1 or 2, got '{line}'"
    with pytest.raises(AnnotationError, match=re.escape(message)):
        hmdb51.read_table(tmp_path)


def test_a_class_without_a_file_for_a_split(tmp_path: Path) -> None:
    write(tmp_path, clap_test_split1="", clap_test_split2="", run_test_split1="")
    with pytest.raises(AnnotationError, match=r"run_test_split2\.txt:1: expected a file for each"):
        hmdb51.read_table(tmp_path)
