import re
import shutil
from pathlib import Path

import pytest

from flowkit.annotations import Annotation, Label, kinetics
from flowkit.errors import AnnotationError

HEADER = "label,youtube_id,time_start,time_end,split"
CLIP = "0wR5jVB-WPk_000417_000427"


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_real_validation_file(shared_data: Path, tmp_path: Path) -> None:
    table = kinetics.read_table(shared_data / "annotations/kinetics", "400")
    assert len(table.annotations) == 19906
    assert len(table.classes) == 400
    assert list(table.classes) == sorted(table.classes)
    assert table.classes[:3] == ("abseiling", "air drumming", "answering questions")
    assert {annotation.subsets for annotation in table.annotations} == {("val",)}
    assert Annotation(CLIP, (Label("abseiling"),), ("val",)) in table.annotations
    assert all(re.fullmatch(r".{11}_\d{6}_\d{6}", a.id) for a in table.annotations)


def test_the_real_test_and_600_files(shared_data: Path, tmp_path: Path) -> None:
    real = shared_data / "annotations/kinetics"
    shutil.copy(real / "kinetics-400_test_head.csv", tmp_path / "kinetics-400_test.csv")
    shutil.copy(real / "kinetics-600_val_head.csv", tmp_path / "kinetics-600_val.csv")
    test = kinetics.read_table(tmp_path, "400")
    assert test.classes == ()
    assert test.annotations[0].labels == ()
    assert {annotation.subsets for annotation in test.annotations} == {("test",)}
    assert len(test.annotations) == 999
    larger = kinetics.read_table(tmp_path, "600")
    assert len(larger.classes) == 60
    assert {annotation.subsets for annotation in larger.annotations} == {("val",)}


def test_quotes_floats_validate_and_files_without_split(tmp_path: Path) -> None:
    write(
        tmp_path / "train.csv",
        "label,youtube_id,time_start,time_end",
        '"carving, ""ice""",-_abcdefghi,1.0,11.0',
    )
    write(tmp_path / "validate.csv", HEADER, "running,abcdefghijk,0,10,validate")
    write(
        tmp_path / "test.csv",
        "youtube_id,time_start,time_end,split",
        "abcdefghijk,7,17,test",
    )
    table = kinetics.read_table(tmp_path)
    assert table.classes == ('carving, "ice"', "running")
    assert table.annotations == (
        Annotation("-_abcdefghi_000001_000011", (Label('carving, "ice"'),), ("train",)),
        Annotation("abcdefghijk_000000_000010", (Label("running"),), ("val",)),
        Annotation("abcdefghijk_000007_000017", (), ("test",)),
    )


@pytest.mark.parametrize(
    "name",
    ["kinetics600/train.csv", "k600/annotations/train.csv", "a/kinetics_600_train.csv"],
)
def test_variants_are_told_apart_by_file_or_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, HEADER)
    write(tmp_path / "kinetics700_2020/train.csv", HEADER)
    assert kinetics.find_files(tmp_path, "600") == [tmp_path / name]
    assert kinetics.find_files(tmp_path, "400") == []
    assert kinetics.find_files(tmp_path, "700") == []
    assert kinetics.find_files(tmp_path, "700-2020") == [tmp_path / "kinetics700_2020/train.csv"]


@pytest.mark.parametrize(
    ("folder", "variant"),
    [
        ("kinetics400", "400"),
        ("my-k600_tiny/lists", "600"),
        ("kinetics/700", "700"),
        ("Kinetics700_2020", "700_2020"),
        ("k400/kinetics-600", "600"),
        ("jack600/data", None),
        ("k4000", None),
        ("kinetics", None),
    ],
)
def test_variants_in_folder_names(folder: str, variant: str | None) -> None:
    assert kinetics.find_folder_variant(Path(folder)) == variant


def test_a_file_that_says_its_variant_wins(tmp_path: Path) -> None:
    write(tmp_path / "val.csv", HEADER)
    named = write(tmp_path / "kinetics-400_val.csv", HEADER)
    assert kinetics.find_files(tmp_path, "400") == [named]


def test_two_files_for_one_split_are_named(tmp_path: Path) -> None:
    write(tmp_path / "val.csv", HEADER)
    write(tmp_path / "validate.csv", HEADER)
    with pytest.raises(AnnotationError, match=r"validate.csv:1: expected one val file .*/val\.csv"):
        kinetics.find_files(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run,short,1,2,train", "train.csv:3: expected a YouTube id of 11 characters, got 'short'"),
        ("run,abcdefghijk,one,2,train", "train.csv:3: expected time_start in seconds, got 'one'"),
        ("run,abcdefghijk,1,nan,train", "train.csv:3: expected time_end in seconds, got 'nan'"),
        ("run,abcdefghijk,1,-2,train", "train.csv:3: expected time_end in seconds, got '-2'"),
        ("run,abcdefghijk,1,2,tra", "train.csv:3: expected a split of train, val"),
        ("run,abcdefghijk,1,2", "train.csv:3: expected 5 fields"),
        ("jump,abcdefghij_,0,10,train", "train.csv:3: expected the labels of"),
    ],
)
def test_malformed_lines(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path / "train.csv", HEADER, "run,abcdefghij_,0,10,train", line)
    with pytest.raises(AnnotationError, match=re.escape(message)):
        kinetics.read_table(tmp_path)


def plant(root: Path, *names: str) -> None:
    for name in names:
        write(root / name, "")


def test_clips_are_found_under_every_naming(tmp_path: Path) -> None:
    write(
        tmp_path / "a/train.csv",
        HEADER,
        *(f"play ball,abcdefghij{n},{n},1{n},train" for n in range(6)),
        "play ball,abcdefghij0,50,60,train",
    )
    table = kinetics.read_table(tmp_path / "a")
    videos = tmp_path / "v"
    plant(
        videos,
        "train/play ball/abcdefghij0_000000_000010.mp4",
        "play_ball/abcdefghij1.mkv",
        "abcdefghij2_2_12.webm",
        "val/abcdefghij3_000003_000013.avi",
        "abcdefghij0.mp4",  # two clips come from this video: which one is it?
        "abcdefghij4_000099_000109.mp4",
    )
    located = kinetics.locate_videos(videos, table)
    assert {source.id: source.path.suffix for source in located.sources} == {
        "abcdefghij0_000000_000010": ".mp4",
        "abcdefghij1_000001_000011": ".mkv",
        "abcdefghij2_000002_000012": ".webm",
        "abcdefghij3_000003_000013": ".avi",
    }
    assert located.missing == (
        "abcdefghij0_000050_000060",
        "abcdefghij4_000004_000014",
        "abcdefghij5_000005_000015",
    )
    assert [path.name for path in located.unannotated] == [
        "abcdefghij0.mp4",
        "abcdefghij4_000099_000109.mp4",
    ]
    assert all(source.labels == (Label("play ball"),) for source in located.sources)


def test_two_files_of_one_clip_are_both_named(tmp_path: Path) -> None:
    write(tmp_path / "a/train.csv", HEADER, "x,abcdefghijk,0,10,train")
    plant(tmp_path / "v", "train/abcdefghijk_000000_000010.mp4", "replacement/abcdefghijk.mp4")
    located = kinetics.locate_videos(tmp_path / "v", kinetics.read_table(tmp_path / "a"))
    assert (located.sources, located.missing) == ((), ())
    (rejected,) = located.rejected
    assert rejected.id == "abcdefghijk_000000_000010"
    assert re.search(r"replacement/abcdefghijk\.mp4 and .*train/abc", rejected.reason)
