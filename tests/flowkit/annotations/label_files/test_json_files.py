"""JSON that Python's parser refuses in unusual ways."""

import json

import pytest

from flowkit.annotations.label_files import LabelOptions, read_label_files
from flowkit.errors import AnnotationError

HUGE = "1" * 5000


@pytest.mark.parametrize("text", [f'[{{"id": "a", "label": {HUGE}}}]', "[" * 100_000])
def test_what_the_parser_refuses_is_described(tmp_path, text):
    path = tmp_path / "l.json"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=r"l\.json: expected JSON, got "):
        read_label_files([path])


@pytest.mark.parametrize("text", [f'{{"jump": {HUGE}}}', "[" * 100_000])
def test_so_is_that_of_a_class_list(tmp_path, text):
    (tmp_path / "classes.json").write_text(text)
    (tmp_path / "l.csv").write_text("id,label\na,0\n")
    with pytest.raises(AnnotationError, match=r"classes\.json: expected JSON, got "):
        read_label_files([tmp_path / "l.csv"], LabelOptions(classes=tmp_path / "classes.json"))


@pytest.mark.parametrize("subset", [{"x": 1}, [{"x": 1}, [2]], [None], 3])
def test_a_subset_may_be_any_value(tmp_path, subset):
    path = tmp_path / "l.json"
    rows = [{"id": "a", "label": "run", "subset": subset}]
    path.write_text(json.dumps([*rows, {"id": "b", "label": "run", "subset": "train"}]))
    assert read_label_files([path]).classes == ("run",)
