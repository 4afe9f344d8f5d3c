import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.annotations import Annotation, AnnotationTable, Label
from flowkit.annotations.table import Row, build_table
from flowkit.errors import AnnotationError

# NFC is applied so that no two drawn ids differ only by normalization.
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).map(
    lambda value: unicodedata.normalize("NFC", value)
)
times = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def tables(draw: st.DrawFn) -> AnnotationTable:
    classes = draw(st.lists(text, unique=True, max_size=4))
    label = st.builds(Label, st.sampled_from(classes or ["none"]), times, times)
    labels = st.lists(label, max_size=3 if classes else 0).map(tuple)
    subsets = st.lists(text, max_size=3).map(tuple)
    ids = sorted(draw(st.sets(text, max_size=6)))
    attributes = st.dictionaries(text, text, max_size=2)
    return AnnotationTable(
        tuple(classes),
        tuple(Annotation(id, draw(labels), draw(subsets), draw(attributes)) for id in ids),
    )


@given(tables())
def test_arrow_round_trip(table: AnnotationTable) -> None:
    assert AnnotationTable.from_arrow(table.to_arrow()) == table


def test_arrow_schema_is_the_one_that_the_index_is_joined_with() -> None:
    import pyarrow as pa

    table = AnnotationTable(("a", "b"), (Annotation("v", (Label("b", 1.5, None),), ("train1",)),))
    arrow = table.to_arrow()
    struct = pa.struct([("class", pa.int32()), ("start", pa.float64()), ("end", pa.float64())])
    assert arrow.schema.field("id").type == pa.string()
    assert arrow.schema.field("labels").type == pa.list_(struct)
    assert arrow.schema.field("subsets").type == pa.list_(pa.string())
    assert arrow.schema.metadata == {b"classes": b'["a", "b"]'}
    assert arrow.to_pylist() == [
        {
            "id": "v",
            "labels": [{"class": 1, "start": 1.5, "end": None}],
            "subsets": ["train1"],
        }
    ]


def test_attributes_are_a_column_only_if_there_are_any() -> None:
    import pyarrow as pa

    plain = Annotation("a", (), ())
    assert plain.attributes == {}
    assert AnnotationTable((), (plain,)).to_arrow().column_names == ["id", "labels", "subsets"]
    table = AnnotationTable((), (plain, Annotation("b", (), (), {"person": "p", "place": ""})))
    arrow = table.to_arrow()
    assert arrow.schema.field("attributes").type == pa.map_(pa.string(), pa.string())
    assert AnnotationTable.from_arrow(arrow) == table


def test_a_newer_table_keeps_what_it_says_nothing_about() -> None:
    run, jump = (Label("run"),), (Label("jump"),)
    older = AnnotationTable(
        ("run",), (Annotation("a", run, ("train",), {"p": "1"}), Annotation("b", run, ("val",)))
    )
    subsets = AnnotationTable((), (Annotation("a", (), ("test",)),))
    assert older.merged_with(subsets) == AnnotationTable(
        ("run",), (Annotation("a", run, ("test",), {"p": "1"}), Annotation("b", run, ("val",)))
    )
    labels = AnnotationTable(("jump",), tuple(Annotation(id, jump, ()) for id in "abc"))
    assert older.merged_with(labels) == AnnotationTable(
        ("jump",),
        (
            Annotation("a", jump, ("train",), {"p": "1"}),
            Annotation("b", jump, ("val",)),
            Annotation("c", jump, ()),
        ),
    )
    # A table that says something about one video says it about all of its videos.
    some = AnnotationTable(("jump",), (Annotation("a", jump, ("x",)), Annotation("b", (), ())))
    assert older.merged_with(some).by_id()["b"] == Annotation("b", (), ())


def test_a_table_without_class_names_is_refused() -> None:
    table = AnnotationTable((), ()).to_arrow().replace_schema_metadata({})
    with pytest.raises(AnnotationError, match="no class names"):
        AnnotationTable.from_arrow(table)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["b", "a"], "unique and sorted, got 'a' after 'b'"),
        (["a", "a"], "unique and sorted"),
        (["e\u0301", "\u00e9"], "differ only by Unicode normalization"),
    ],
)
def test_ids_are_unique_and_sorted(ids: list[str], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        AnnotationTable((), tuple(Annotation(id, (), ()) for id in ids))


def test_unknown_and_repeated_classes_are_refused() -> None:
    with pytest.raises(AnnotationError, match="'jump', which is none of the 1 classes"):
        AnnotationTable(("run",), (Annotation("v", (Label("jump"),), ()),))
    with pytest.raises(AnnotationError, match="'run' is listed twice"):
        AnnotationTable(("run", "run"), ())


RUN, JUMP = (Label("run"),), (Label("jump"),)


def test_subsets_of_one_video_are_joined_and_labels_kept() -> None:
    rows = [
        Row("v", (), "test", "f:1"),
        Row("v", RUN, "train1", "f:2"),
        Row("v", RUN, "train1", "f:3"),
        Row("v", RUN, None, "f:4"),
        Row("u", RUN, None, "f:5"),
    ]
    table = build_table(["run"], rows)
    assert table.annotations == (
        Annotation("u", RUN, ()),
        Annotation("v", RUN, ("test", "train1")),
    )


@pytest.mark.parametrize("subset", ["train", "val"])
def test_contradicting_lines_are_named(subset: str) -> None:
    rows = [Row("v", RUN, "train", "f.csv:2"), Row("v", JUMP, subset, "g.csv:9")]
    with pytest.raises(
        AnnotationError, match=r"^g.csv:9: expected the labels of f.csv:2 .*\(run\)"
    ):
        build_table(["jump", "run"], rows)
