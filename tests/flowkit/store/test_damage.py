"""Damaged files of a store: each is refused in one line that names it, and `verify` goes on."""

import errno
import json
import os
import struct
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.errors import AnnotationError, CorruptError, FlowkitError, StoreError
from flowkit.store import (
    Store,
    append_failure,
    read_annotations,
    read_failures,
    read_splits,
    rebuild_index,
    write_annotations,
)
from flowkit.store.annotations import check_annotation_rows, read_annotation_rows
from flowkit.store.failures import Failure
from flowkit.store.format.header import read_header
from flowkit.store.format.records import load_record, read_record, record_paths
from flowkit.store.index_file import open_index
from flowkit.store.integrity.outcome import NAME, read_outcome, record_outcome
from flowkit.store.integrity.report import Report
from flowkit.store.integrity.verify import verify
from flowkit.store.status import read_status
from flowkit.store.video_list import VideoList

REMOVED = object()
"""Stands for a key that is removed."""


def change(path: Path, keys: tuple, value) -> None:
    """Change a value of a JSON file."""
    values = json.loads(path.read_bytes())
    parent = values
    for key in keys[:-1]:
        parent = parent[key]
    if value is REMOVED:
        del parent[keys[-1]]
    else:
        parent[keys[-1]] = value
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("videos", 0, "batch"), None),
        (("videos", 0, "batch"), 2**31),
        (("videos", 0, "rows"), "5"),
        (("videos", 0, "rows"), REMOVED),
        (("videos", 0, "first_row"), -1),
        (("videos", 0, "width"), 1.5),
        (("videos", 0, "frames"), True),
        (("videos", 0, "fps"), "25"),
        (("videos", 0, "fps"), -1),
        (("videos", 0, "duration"), []),
        (("videos", 0, "motion"), {"mean": 1}),
        (("videos", 0, "id"), ""),
        (("videos", 0, "id"), "\ud800"),
        (("videos", 0, "streams"), "rgb"),
        (("videos", 0, "streams"), ["rgb", "rgb"]),
        (("videos", 0, "supersedes"), 1),
        (("videos", 0, "warnings"), None),
        (("videos", 0, "fingerprint"), []),
        (("videos", 0, "fingerprint", "mtime_ns"), 2**63),
        (("videos", 0, "fingerprint", "digest"), "x" * 32),
        (("videos", 0, "fingerprint", "size"), -1),
        (("videos", 0), None),
        (("videos",), {}),
        (("sha256",), "0"),
        (("committed",), "now"),
        (("bytes",), None),
        (("format",), "1"),
        (("format",), REMOVED),
    ],
)
def test_a_damaged_commit_record(make_store, keys, value):
    root = make_store()
    (path,) = record_paths(root)
    change(path, keys, value)
    for read in (load_record, read_record):
        with pytest.raises(CorruptError, match=r"verify --repair") as error:
            read(path)
        assert str(path) in str(error.value)
    with pytest.raises(CorruptError):
        rebuild_index(root, scratch=True)
    problems = [problem.what for problem in verify(root).problems]
    assert any("commit record" in what for what in problems)
    assert not verify(root, repair=True).clean
    assert verify(root).clean
    assert len(Store(root)) == 3


def replace_bytes(position: float, data: bytes):
    """Make a function that overwrites bytes of a file."""

    def apply(path: Path) -> None:
        content = bytearray(path.read_bytes())
        start = int(position * len(content)) if position < 1 else len(content) - int(position)
        content[start : start + len(data)] = data
        path.write_bytes(content)

    return apply


def rewrite_index(edit, metadata: dict[bytes, bytes] | None = None):
    """Make a function that writes the index again with other values."""

    def apply(path: Path) -> None:
        table = pa.ipc.open_file(path.read_bytes()).read_all()
        kept = table.schema.metadata | (metadata or {})
        table = edit(table).replace_schema_metadata(kept)
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_batch(table.combine_chunks().to_batches()[0])

    return apply


def set_column(name: str, values):
    """Make a function that replaces a column of a table by values of the same type."""

    def edit(table: pa.Table) -> pa.Table:
        place, kind = table.schema.get_field_index(name), table.schema.field(name).type
        return table.set_column(place, name, pa.array(values, kind))

    return edit


def same(table: pa.Table) -> pa.Table:
    return table


def replace_text(old: bytes, new: bytes):
    """Make a function that replaces a text of a file wherever it stands."""
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new))


LOCATED = {"shard": 0, "batch": 0, "first_row": 0, "rows": 5}
LABEL = [{"class": 0, "start": None, "end": None}]
INDEX_DAMAGE = {
    "the footer": replace_bytes(40, bytes(30)),
    "the length of the footer": replace_bytes(10, struct.pack("<i", 7)),
    "nothing left": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:700]),
    "no version": rewrite_index(same, {b"flowkit.version": b"null"}),
    "classes": rewrite_index(same, {b"flowkit.classes": b"[1]"}),
    "no JSON": rewrite_index(same, {b"flowkit.shards": b"\xff"}),
    "too few records": rewrite_index(same, {b"flowkit.records": b"[]"}),
    "a name that is not UTF-8": replace_text(b"motion_p95", b"motion_p9\xff"),
    "a name twice": rewrite_index(lambda table: table.append_column("fps", table["fps"])),
    "no id": rewrite_index(lambda table: table.drop_columns("id")),
    "a column of another type": rewrite_index(
        lambda t: t.set_column(3, t.schema.names[3], pa.array(["x"] * 3))
    ),
}
VALUE_DAMAGE = {
    "a class that there is not": set_column("labels", [LABEL, LABEL, [{**LABEL[0], "class": 9}]]),
    "a class below 0": set_column("labels", [LABEL, LABEL, [{**LABEL[0], "class": -1}]]),
    "no labels": set_column("labels", [LABEL, LABEL, None]),
    "a subset without a name": set_column("subsets", [["a"], ["b"], [None]]),
    "frames below 0": set_column("frames", [1, 2, -3]),
    "a shard that there is not": set_column("rgb", [LOCATED, LOCATED, {**LOCATED, "shard": 1}]),
    "a shard below 0": set_column("rgb", [LOCATED, LOCATED, {**LOCATED, "shard": -1}]),
    "a row below 0": set_column("flow", [LOCATED, LOCATED, {**LOCATED, "first_row": -1}]),
    "ids that are not sorted": set_column("id", ["c", "b", "a"]),
}


@pytest.mark.parametrize("damage", INDEX_DAMAGE.values(), ids=INDEX_DAMAGE)
def test_a_damaged_index_is_refused_when_it_is_opened(make_store, damage):
    root = make_store()
    damage(root / "index.arrow")
    for look in (Store, read_status, VideoList, open_index):
        with pytest.raises(CorruptError, match=r"index\.arrow.*flowkit index --scratch") as error:
            look(root)
        assert "\n" not in str(error.value)
    check_index_is_rebuilt(root)


@pytest.mark.parametrize("edit", VALUE_DAMAGE.values(), ids=VALUE_DAMAGE)
def test_damaged_values_of_an_index_are_refused_when_they_are_read(make_store, edit):
    root = make_store()
    rewrite_index(edit)(root / "index.arrow")
    store = Store(root)
    for look in (lambda: store.index.batch, lambda: read_status(root), store.subsets):
        with pytest.raises(CorruptError, match=r"index\.arrow.*flowkit index --scratch"):
            look()
    for id in ("a", "b/ü #1", "c"):
        with suppress(FlowkitError):
            video = store[id]
            assert all(label.name in store.classes for label in video.labels)
            video.snippet(0, 2)
            video.subsets  # noqa: B018
            video.frames()
    check_index_is_rebuilt(root)


def check_index_is_rebuilt(root: Path) -> None:
    """Check that verify reports the index, and that a rebuild corrects it."""
    assert [p.what for p in verify(root).problems] == ["index.arrow is broken; run `flowkit index`"]
    rebuild_index(root)
    assert verify(root).clean
    assert Store(root)["a"].labels


def test_an_index_that_cannot_be_read_is_not_called_damaged(make_store, monkeypatch):
    root = make_store()

    def fail(_):
        raise OSError(errno.EMFILE, "Failed to open local file")

    monkeypatch.setattr(pa, "memory_map", fail)
    with pytest.raises(
        StoreError, match=r"cannot read .*index\.arrow: Too many open files"
    ) as error:
        open_index(root)
    assert not isinstance(error.value, CorruptError)


def test_offsets_that_point_outside_of_the_index(make_store):
    """Arrow trusts offsets: a reader of strings and lists would end the process."""
    root = make_store()
    path = root / "index.arrow"
    content = path.read_bytes()
    sources = content.find(b"videos/0.mp4")
    offsets = content.rfind(struct.pack("<qq", 0, 12), 0, sources)
    assert 0 < offsets < sources
    path.write_bytes(content[: offsets + 8] + struct.pack("<q", 1 << 40) + content[offsets + 16 :])
    store = Store(root)
    with pytest.raises(CorruptError, match="flowkit index --scratch"):
        store["a"].source  # noqa: B018
    check_index_is_rebuilt(root)


@pytest.mark.parametrize(
    "damage",
    [
        replace_bytes(40, bytes(30)),
        lambda path: path.write_bytes(b"ARROW1"),
        rewrite_index(set_column("labels", [LABEL, LABEL, [{**LABEL[0], "class": 9}]])),
        rewrite_index(set_column("labels", [LABEL, LABEL, [{**LABEL[0], "end": float("nan")}]])),
        rewrite_index(set_column("id", ["a", "a", "c"])),
        rewrite_index(same, {b"classes": b"{}"}),
        rewrite_index(lambda table: table.drop_columns("subsets")),
    ],
)
def test_damaged_annotations(make_store, damage):
    root = make_store()
    damage(root / "annotations.arrow")
    for look in (read_annotations, read_status, read_splits):
        with pytest.raises(CorruptError, match=r"annotations\.arrow.*flowkit index"):
            look(root)
    assert any("annotations.arrow is broken" in p.what for p in verify(root).problems)


def test_a_time_that_is_not_a_number_is_not_stored(make_store):
    root = make_store()
    row = Annotation("a", (Label("jump", start=float("nan"), end=2.0),), ())
    with pytest.raises(AnnotationError, match="a label whose start or end is not a number"):
        write_annotations(root, AnnotationTable(("jump",), (row,)))
    assert verify(root).clean


@pytest.mark.parametrize("splits", [b"[1]", b'[{"seed": 1}]', b'[{"fractions": 3}]', b"{", b"7"])
def test_damaged_records_of_a_division(make_store, splits):
    root = make_store()
    rewrite_index(same, {b"splits": splits})(root / "annotations.arrow")
    with pytest.raises(CorruptError, match=r"annotations\.arrow"):
        read_splits(root)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("format",), None), (("format",), True), (("dataset",), 1), (("creator",), []),
        (("recipe",), []), (("recipe", "resize"), 3), (("recipe", "features"), [1]),
        (("recipe", "rgb", "quality"), "x"), (("recipe", "resize", "mode"), {}),
        (("created",), REMOVED),
    ],
)  # fmt: skip
def test_a_damaged_header(make_store, keys, value):
    root = make_store()
    change(root / "store.json", keys, value)
    for look in (read_header, Store, read_status, verify):
        with pytest.raises(CorruptError, match=r"store\.json.*restore it"):
            look(root)


def test_damaged_lines_of_failures_are_left_out(make_store):
    root = make_store()
    failure = Failure("bad", "bad.mp4", "broken", "it is broken", 1, 2.0)
    append_failure(root, failure)
    good = failure.to_dict()
    for wrong in ({"id": 3}, {"attempts": "x"}, {"time": None}, {"stream": 1}, {"size": -1}):
        with (root / "failures.jsonl").open("a") as file:
            file.write(json.dumps(good | {"id": "other"} | wrong) + "\n")
    with (root / "failures.jsonl").open("ab") as file:
        file.write(b'\xff\xfe{"id"\n[]\nnull\n')
    assert read_failures(root) == {"bad": failure}
    assert read_status(root).failures == {"broken": 1}


@pytest.mark.parametrize("value", [{"shards": "x"}, {"first": [1]}, {"time": None}, {"deep": 1}])
def test_a_damaged_outcome_counts_as_none(make_store, value):
    root = make_store()
    record_outcome(root, Report(), deep=True)
    assert read_outcome(root) is not None
    values = json.loads((root / NAME).read_bytes())
    (root / NAME).write_text(json.dumps(values | value))
    assert read_outcome(root) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_files_that_may_not_be_read(make_store):
    root = make_store()
    for name in ("index.arrow", "store.json"):
        (root / name).chmod(0)
        with pytest.raises(StoreError, match="permissions"):
            Store(root)
        (root / name).chmod(0o644)


def test_annotations_name_each_video_once(make_store):
    table = read_annotation_rows(make_store())
    reverse = table.take(list(range(table.num_rows))[::-1])
    check_annotation_rows(reverse)
    for repeated in (pa.concat_tables([table, table.slice(2, 1)]), table.take([0, 0, 1])):
        with pytest.raises(ValueError, match="an id that occurs twice"):
            check_annotation_rows(repeated)
