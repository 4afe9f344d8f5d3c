"""JSON in unusual forms: what Python's parser refuses, and values that other files do not have."""

import json
import re

import pytest

from flowkit.annotations.label_files import LabelOptions, read_label_files
from flowkit.annotations.label_files.json_files import RepeatedKeyError, build_object
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


def test_a_deep_first_line_is_described(tmp_path):
    path = tmp_path / "l.json"
    path.write_text('{"id": ' + "[" * 50_000 + '\n{"id": "b"}\n')
    with pytest.raises(AnnotationError, match=r"l\.json: expected JSON, got "):
        read_label_files([path])


def test_a_repeated_key_among_many_is_found_without_comparing_all_of_them():
    comparisons = 0

    class CountedKey(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            nonlocal comparisons
            comparisons += 1
            return str.__eq__(self, other)

    keys = [CountedKey(f"video {n}") for n in range(1000)]
    with pytest.raises(RepeatedKeyError, match="the key 'video 999' twice"):
        build_object([(key, None) for key in [*keys, CountedKey("video 999")]])
    assert comparisons < 10 * len(keys)


def test_a_video_may_be_called_as_a_list_of_videos(tmp_path):
    path = tmp_path / "l.json"
    path.write_text('{"clips": "jump", "b": ["run"]}')
    assert read_label_files([path]).ids == ["clips", "b"]


PAIR = "entry {}: expected a list of 2 texts or numbers"
ONE_LIST = (
    'expected one list with an object for each video, such as {{"videos": [{{"id": "a", "label": '
    '"jump"}}]}}, got an object with the keys {}; write the labels of each video into its object'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[["a", {"x": 1}]]', PAIR.format(1) + ", got \"['a', {'x': 1}]\""),
        ("[[]]", PAIR.format(1) + ", got '[]'"),
        ('[["a", "jump"], ["c"]]', PAIR.format(2) + ", as the first entry is, got \"['c']\""),
        ('{"database": {}}', "expected a row for each video, but the file is empty"),
        (  # the layout of COCO for videos
            '{"info": {"year": 2020}, "videos": [{"id": 1, "file_name": "a.mp4"}], '
            '"annotations": [{"video_id": 1, "category_id": 1}]}',
            ONE_LIST.format("info, videos, annotations"),
        ),
        (
            '{"videos": [{"id": "a"}], "annotations": [{"video": "a"}]}',
            ONE_LIST.format("videos, annotations"),
        ),
        ('{"version": 1, "videos": ["a", "c"]}', ONE_LIST.format("version, videos")),
        ('{"version": 1, "videos": {"a": {"id": 1}}}', ONE_LIST.format("version, videos")),
    ],
)
def test_other_layouts_are_refused(tmp_path, text, message):
    path = tmp_path / "l.json"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=re.escape(f"{path}: {message}")):
        read_label_files([path])


@pytest.mark.parametrize("subset", [{"x": 1}, [{"x": 1}, [2]], [None], 3])
def test_a_subset_may_be_any_value(tmp_path, subset):
    path = tmp_path / "l.json"
    rows = [{"id": "a", "label": "run", "subset": subset}]
    path.write_text(json.dumps([*rows, {"id": "b", "label": "run", "subset": "train"}]))
    assert read_label_files([path]).classes == ("run",)
