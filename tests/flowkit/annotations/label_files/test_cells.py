"""How values of label files become labels: long numbers, Unicode, and what cannot be stored."""

import json
import unicodedata
from pathlib import Path

import pytest

from flowkit.annotations.label_files import LabelOptions, read_label_files
from flowkit.errors import AnnotationError

LONG = "9007199254740993"
"""A number that a float cannot hold: it would become the even number before it."""


def read_names(folder: Path, text: str, **options) -> list[list[str]]:
    """The names of the labels of each video of a CSV file."""
    path = folder / "l.csv"
    path.write_text(text, encoding="utf-8")
    listing = read_label_files([path], LabelOptions(**options))
    return [[label.name for label in labels] for labels in listing.labels]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ((LONG, "9007199254740992"), [[LONG], ["9007199254740992"]]),
        (("9" * 400, "1"), [["9" * 400], ["1"]]),
        (("01", "1.0"), [["1"], ["1"]]),
    ],
)
def test_numbers_keep_all_digits(tmp_path, labels, expected):
    assert read_names(tmp_path, f"id,label\na,{labels[0]}\nb,{labels[1]}\n") == expected


def test_labels_that_look_alike_are_one_class(tmp_path):
    composed, split = (unicodedata.normalize(form, "größe") for form in ("NFC", "NFD"))
    assert composed != split
    text = f"id,labels\na,{composed}\nb,{split}\nc,{split};{composed}\n"
    assert read_names(tmp_path, text) == [[composed]] * 3
    classes = tmp_path / "classes.txt"
    classes.write_text(f"0 {split}\n", encoding="utf-8")
    assert read_names(tmp_path, text, classes=classes) == [[split]] * 3


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("label", r"entry 1: the label '\\ud800'"),
        ("split", r"the subset '\\ud800'"),
        ("person", r"the attribute 'person: \\ud800'"),
    ],
)
def test_half_a_character_is_refused_before_it_is_stored(tmp_path, key, message):
    path = tmp_path / "l.json"
    path.write_text(json.dumps([{"id": "a", "label": "x"} | {key: "\ud800"}]))
    with pytest.raises(AnnotationError, match=message + " is not valid Unicode"):
        read_label_files([path])
