import re
from pathlib import Path

import pytest

from flowkit.annotations.text import (
    find_annotation_files,
    find_text_files,
    read_csv,
    read_lines,
)
from flowkit.errors import AnnotationError


def test_bom_crlf_blank_lines_and_blanks_are_tolerated(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone \r\n\r\n  two\t\r\n")
    assert list(read_lines(path)) == [(f"{path}:1", "one"), (f"{path}:3", "two")]


def test_bytes_that_are_not_utf8_are_placed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntw\xe9\n")
    with pytest.raises(AnnotationError, match=r"a\.txt:2: expected UTF-8 text, got byte 0xe9"):
        list(read_lines(path))
    path.write_bytes(b"\xef\xbb\xbfone\n\xe9\n")
    with pytest.raises(AnnotationError, match=r"a\.txt:2: expected UTF-8 text, got byte 0xe9"):
        list(read_lines(path))


def test_csv_quotes_header_case_and_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('ID, Label\n1,"a, ""b""\nc"\n\n2,d\n')
    assert list(read_csv(path, ["id"])) == [
        (f"{path}:2", {"id": "1", "label": 'a, "b"\nc'}),
        (f"{path}:5", {"id": "2", "label": "d"}),
    ]


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c"])
def test_only_line_breaks_end_the_lines_of_a_csv(tmp_path: Path, character: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f"id,label\r\n1,a{character}b\r\n2,c\r\n".encode())
    assert list(read_csv(path, ["id"])) == [
        (f"{path}:2", {"id": "1", "label": f"a{character}b"}),
        (f"{path}:3", {"id": "2", "label": "c"}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.csv:1: expected a header with id, label, got an empty file"),
        ("id,name\n1,a\n", "a.csv:1: expected a header with id, label, got 'id,name'"),
        (
            ",id,,label,ID\n",
            "a.csv:1: expected each column once, got 'id' twice; remove one of them",
        ),
        ("id,label\n1,a\n2\n", "a.csv:3: expected 2 fields (id, label), got 1 in '2'"),
        ("id,label\n1,a,b\n", "a.csv:2: expected 2 fields (id, label), got 3"),
        ('id,label\n1,"a\n2,b\n', "a.csv:2: expected comma-separated fields"),
    ],
)
def test_malformed_csv(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(AnnotationError, match=re.escape(message)):
        list(read_csv(tmp_path / "a.csv", ["id", "label"]))


def test_files_are_found_some_folders_down(tmp_path: Path) -> None:
    for name in ("a.txt", "x/y/a.txt", ".h/a.txt", "1/2/3/4/a.txt", "x/folder/a.txt/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_text_files(tmp_path, re.compile(r"a\.txt"))
    assert found == [tmp_path / "a.txt", tmp_path / "x/y/a.txt"]
    assert find_text_files(tmp_path / "nowhere", re.compile("a")) == []


def test_annotation_files_are_those_of_the_first_folder_with_enough(tmp_path: Path) -> None:
    for name in ("2.txt", "3.txt", "1/1.txt", "1/2.txt", "1/4.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    pattern = re.compile(r"\d\.txt")
    found = [find_annotation_files(tmp_path, pattern, number) for number in (1, 3, 4)]
    assert found[0] == [tmp_path / "2.txt", tmp_path / "3.txt"]
    assert found[1:] == [[tmp_path / f"1/{n}.txt" for n in (1, 2, 4)], []]
