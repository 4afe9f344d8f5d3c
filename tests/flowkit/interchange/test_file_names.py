import string
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowkit.interchange.file_names import (
    MAX_BYTES,
    MAX_KEY_BYTES,
    TRUNCATED,
    encode_id,
    encode_key,
    find_case_collisions,
    is_case_insensitive,
)

ids = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)


@given(ids)
@example("")
@example(".")
@example("..")
@example("../../etc/passwd")
@example("a\0b")
@example("ü" * 300)
@example("50%25")
@example("%")
@example("a%~b")
def test_a_name_is_safe_and_comes_back(id):
    name = encode_id(id)
    assert 0 < len(name.encode()) <= MAX_BYTES
    assert name.isascii()
    assert Path("x", name).name == name
    assert not name.startswith(".")
    assert not set(name) & set('/\\\0 \t\n:*?"<>|')
    if TRUNCATED not in name and id:
        assert unquote(name) == id


@given(ids)
@example("")
@example("a.b.c")
@example("..")
@example("ü." * 300)
def test_a_key_has_no_dot_and_comes_back(id):
    key = encode_key(id)
    assert 0 < len(key) <= MAX_KEY_BYTES
    assert set(key) <= set(string.ascii_letters + string.digits + "-_~%")
    if TRUNCATED not in key and id:
        assert unquote(key) == id


@given(ids, ids)
@example("x." * 200 + "a", "x." * 200 + "b")
def test_two_ids_have_two_keys(a, b):
    assert (encode_key(a) == encode_key(b)) == (a == b)


@given(ids, ids)
def test_two_ids_have_two_names(a, b):
    assert (encode_id(a) == encode_id(b)) == (a == b)


def test_long_ids_have_two_names():
    a, b = "x" * 400 + "a", "x" * 400 + "b"
    assert encode_id(a) != encode_id(b)
    assert TRUNCATED in encode_id(a)


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("v_Archery_g01_c01", "v_Archery_g01_c01"),
        ("abseiling/0347ZoDXyP0_000095_000105", "abseiling%2F0347ZoDXyP0_000095_000105"),
        ("Faith_Rewarded!_#1", "Faith_Rewarded%21_%231"),
        ("..", "%2E."),
        ("", "%"),
    ],
)
def test_names_are_these(id, name):
    assert encode_id(id) == name


def test_case_collisions_are_found():
    assert find_case_collisions(["a", "B", "A", "c/D", "C/d"]) == [("a", "A"), ("c/D", "C/d")]


def test_ignores_case_leaves_nothing(tmp_path):
    assert is_case_insensitive(tmp_path) == (tmp_path / tmp_path.name.upper()).exists()
    assert not list(tmp_path.iterdir())
