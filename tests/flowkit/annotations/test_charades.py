import re
import shutil
from pathlib import Path

import pytest

from flowkit.annotations import Annotation, Label, charades
from flowkit.errors import AnnotationError

HEADER = "id,subject,script,actions,length"


def write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n")


def test_the_real_sample(shared_data: Path, tmp_path: Path) -> None:
    shutil.copy(shared_data / "annotations/charades/sample.csv", tmp_path / "Charades_v1_train.csv")
    table = charades.read_table(tmp_path)
    assert len(table.classes) == 157
    assert (table.classes[0], table.classes[156]) == ("c000", "c156")
    assert table.annotations == (
        Annotation("46GP8", (Label("c092", 11.9, 21.2), Label("c147", 0.0, 12.6)), ("train",)),
    )


def test_names_quotes_and_empty_actions(tmp_path: Path) -> None:
    names = [f"c{n:03d} Action, number {n}" for n in range(157)]
    write(tmp_path / "Charades_v1_classes.txt", *names)
    write(tmp_path / "Charades_v1_train.csv", HEADER, 'AAAAA,X,"a, ""b""\nc",c156 1 2,9')
    write(tmp_path / "Charades_v1_test.csv", HEADER, "BBBBB,X,,,9")
    table = charades.read_table(tmp_path)
    assert table.annotations == (
        Annotation("AAAAA", (Label("Action, number 156", 1.0, 2.0),), ("train",)),
        Annotation("BBBBB", (), ("test",)),
    )
    assert table.classes[3] == "Action, number 3"
    (tmp_path / "BBBBB.mp4").touch()
    located = charades.locate_videos(tmp_path, table)
    assert [source.id for source in located.sources] == ["BBBBB"]
    assert located.missing == ("AAAAA",)


@pytest.mark.parametrize(
    "actions", ["c157 1 2", "c001 1", "c001 1 2 3", "c001 a b", "c1 1 2", "c001 1 inf"]
)
def test_malformed_actions(tmp_path: Path, actions: str) -> None:
    write(tmp_path / "Charades_v1_train.csv", HEADER, f"AAAAA,X,s,c000 0 1;{actions},9")
    message = "Charades_v1_train.csv:2: expected 'c000 start end' with a class of c000–c156 and"
    with pytest.raises(AnnotationError, match=re.escape(message)):
        charades.read_table(tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["c000 A", "c002 B"], "Charades_v1_classes.txt:2: expected 'c001 Name of the class'"),
        (["c000 A"], "Charades_v1_classes.txt:2: expected 157 classes, got 1"),
        (
            ["", *(f"c{n:03d} A" for n in range(157)), "", "c157 B"],
            "Charades_v1_classes.txt:160: expected 157 classes, got 158",
        ),
    ],
)
def test_malformed_classes(tmp_path: Path, lines: list[str], message: str) -> None:
    write(tmp_path / "Charades_v1_classes.txt", *lines)
    write(tmp_path / "Charades_v1_train.csv", HEADER)
    with pytest.raises(AnnotationError, match=re.escape(message)):
        charades.read_table(tmp_path)
