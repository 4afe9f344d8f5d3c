"""Keys of videos in URLs: any id has one, and nothing else is one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.web.keys import make_key, parse_key

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(IDS)
def test_a_key_is_a_plain_word_and_gives_the_id_back(id):
    key = make_key(id)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", key)
    assert parse_key(key) == id


@given(st.text())
def test_every_text_is_the_key_of_at_most_one_id(text):
    id = parse_key(text)
    assert id is None or make_key(id) == text


@pytest.mark.parametrize("text", ["..", "a/b", "YQ==", "YR", "/w", "é", "Y Q", "_w"])
def test_a_text_that_no_id_has_is_no_key(text):
    assert parse_key(text) is None
