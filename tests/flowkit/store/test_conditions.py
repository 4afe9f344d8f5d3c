"""Conditions on videos: what is understood, and what is refused with which advice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.errors import UsageError
from flowkit.store.conditions import COLUMNS, Condition, parse_conditions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("motion<0.1", [("motion", "<", 0.1)]),
        ("  p95 >= 1e-3 ", [("p95", ">=", 0.001)]),
        ("frames==64", [("frames", "=", 64.0)]),
        ("warnings!=0 and fps<=-1", [("warnings", "!=", 0.0), ("fps", "<=", -1.0)]),
        ("width>1 AND height<2 and id=x", [("width", ">", 1.0), ("height", "<", 2.0),
                                           ("id", "=", "x")]),
        ("class='brush hair'", [("class", "=", "brush hair")]),
        ('class="it\'s" and subset!=val', [("class", "=", "it's"), ("subset", "!=", "val")]),
        ("id>='a/ü #1;~' and id<z", [("id", ">=", "a/ü #1;~"), ("id", "<", "z")]),
        ("id=3", [("id", "=", "3")]),
        ("class='and' and class!=''", [("class", "=", "and"), ("class", "!=", "")]),
        ("class=and and id=and", [("class", "=", "and"), ("id", "=", "and")]),
    ],
)  # fmt: skip
def test_conditions(text, expected):
    assert parse_conditions(text) == [Condition(*parts) for parts in expected]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a column, a comparison and a value, .* got 'nothing'"),
        ("motion", "expected a column, a comparison and a value, .* got 'motion'"),
        ("motion<", "got 'motion<'"),
        ("<0.1", "got '<0.1'"),
        ("motion 0.1 <", "expected a column, a comparison and a value"),
        ("motion<0.1 and", "got 'nothing'"),
        ("motion<0.1 or p95<1", "expected 'and' between two conditions, got 'or'"),
        ("class=brush hair", "got 'hair' .*put quotes around values with blanks"),
        ("motoin<1", "no column 'motoin'; did you mean motion"),
        ("x<1", "no column 'x'; there are id, class, subset, frames, fps, duration, width, "
                "height, motion, p95, warnings"),
        ("'motion'<1", "expected a column"),
        ("motion<low", "motion is a number: expected motion<NUMBER, got low"),
        ("motion<nan", "motion is a number"),
        ("motion<inf", "motion is a number"),
        ("motion<'1'", "motion is a number"),
        ("motion<<1", "expected a value after motion<, got '<'"),
        ("class<a", "class can be compared by = and != only"),
        ("id='open", "expected conditions such as .*got \"'open\""),
        ("__import__('os')<1", "no column|expected"),
    ],
)  # fmt: skip
def test_what_is_no_condition(text, message):
    with pytest.raises(UsageError, match=message):
        parse_conditions(text)


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text):
    try:
        conditions = parse_conditions(text)
    except UsageError:
        return
    assert conditions and all(condition.column in COLUMNS for condition in conditions)
