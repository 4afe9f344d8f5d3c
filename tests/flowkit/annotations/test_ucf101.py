import re
from collections import Counter
from pathlib import Path

import pytest

from flowkit.annotations import Annotation, Label, ucf101
from flowkit.errors import AnnotationError


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.txt").write_bytes(content.encode())
    return folder


CLASSES = "1 ApplyEyeMakeup\r\n2 HandstandPushups \r\n"


def test_the_real_files(shared_data: Path) -> None:
    table = ucf101.read_table(shared_data / "annotations/ucf101")
    counts = Counter(subset for annotation in table.annotations for subset in annotation.subsets)
    assert counts == {
        "train1": 9537, "test1": 3783, "train2": 9586, "test2": 3734, "train3": 9624, "test3": 3696,
    }  # fmt: skip
    assert len(table.annotations) == 13320
    assert len(table.classes) == 101
    assert table.classes[0] == "ApplyEyeMakeup"
    assert table.classes[100] == "YoYo"
    first = table.annotations[0]
    assert first == Annotation(
        "v_ApplyEyeMakeup_g01_c01", (Label("ApplyEyeMakeup"),), ("test1", "train2", "train3")
    )


def test_crlf_blanks_and_the_case_of_handstand_pushups(tmp_path: Path) -> None:
    write(
        tmp_path / "ucfTrainTestlist",
        classInd=CLASSES,
        trainlist01="HandStandPushups/v_HandStandPushups_g08_c01.avi 2 \r\n\r\n",
        testlist01="ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi  \r\n",
        trainlist02="HandstandPushups/v_HandstandPushups_g08_c01.avi 2\r\n",
    )
    table = ucf101.read_table(tmp_path)
    assert table.annotations == (
        Annotation("v_ApplyEyeMakeup_g01_c01", (Label("ApplyEyeMakeup"),), ("test1",)),
        Annotation(
            "v_HandStandPushups_g08_c01", (Label("HandstandPushups"),), ("train1", "train2")
        ),
    )
    videos = tmp_path / "videos"
    for name in ("HandstandPushups/v_HandstandPushups_g08_c01.AVI", "v_Other_g01_c01.avi"):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).touch()
    located = ucf101.locate_videos(videos, table)
    assert [source.id for source in located.sources] == ["v_HandStandPushups_g08_c01"]
    assert located.sources[0].path == videos / "HandstandPushups/v_HandstandPushups_g08_c01.AVI"
    assert located.sources[0].subsets == ("train1", "train2")
    assert located.missing == ("v_ApplyEyeMakeup_g01_c01",)
    assert located.unannotated == (videos / "v_Other_g01_c01.avi",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"classInd": "0 A\n1 B\n"}, "classInd.txt:1: expected '1 ClassName', got '0 A'"),
        ({"classInd": "1 A\n3 B\n"}, "classInd.txt:2: expected '2 ClassName', got '3 B'"),
        (
            {"trainlist01": "A/v_A_g01_c01.avi 2\n"},
            "trainlist01.txt:1: expected class number 1 for A",
        ),
        ({"trainlist01": "C/v_C_g01_c01.avi 1\n"}, "trainlist01.txt:1: expected 'Class/v_Class"),
        ({"trainlist01": "\nv_A_g01_c01.avi 1\n"}, "trainlist01.txt:2: expected 'Class/v_Class"),
        ({"trainlist01": "A/v_A_g01_c01 1\n"}, "trainlist01.txt:1: expected 'Class/v_Class"),
    ],
)
def test_malformed_lines(tmp_path: Path, files: dict[str, str], message: str) -> None:
    write(tmp_path, **{"classInd": "1 A\n2 B\n", "trainlist01": ""} | files)
    with pytest.raises(AnnotationError, match=re.escape(message)):
        ucf101.read_table(tmp_path)


def test_lists_without_the_classes(tmp_path: Path) -> None:
    write(tmp_path, trainlist01="A/v_A_g01_c01.avi 1\n", testlist01="")
    with pytest.raises(AnnotationError, match=r"classInd.txt:1: expected the list of classes"):
        ucf101.read_table(tmp_path)


def test_videos_alone_are_no_annotation(tmp_path: Path) -> None:
    (tmp_path / "v_A_g01_c01.avi").touch()
    assert ucf101.find_files(tmp_path) == []
