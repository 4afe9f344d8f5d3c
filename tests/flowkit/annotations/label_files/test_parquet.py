"""Columns of Parquet files that cannot be read as labels, or only after a conversion."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowkit.annotations.label_files import LabelOptions, read_label_files
from flowkit.errors import AnnotationError


def test_decimals_are_numbers(tmp_path):
    numbers = pa.array([1, 2]).cast(pa.decimal128(20, 1))
    pq.write_table(pa.table({"id": ["a", "b"], "label": numbers}), tmp_path / "l.parquet")
    assert read_label_files([tmp_path / "l.parquet"]).classes == ("1", "2")


def test_labels_of_another_type_are_refused_rather_than_left_out(tmp_path):
    path = tmp_path / "l.parquet"
    labels = [[{"text": "x"}], [{"text": "y"}]]
    pq.write_table(pa.table({"id": ["a", "b"], "labels": labels, "kind": ["p", "q"]}), path)
    with pytest.raises(AnnotationError, match="the labels in 'labels' are of the type list<"):
        read_label_files([path])
    listing = read_label_files([path], LabelOptions(columns={"label": "kind"}))
    assert listing.classes == ("p", "q")


def test_two_columns_of_one_name(tmp_path):
    columns = [pa.array(["a"]), pa.array(["x"]), pa.array(["y"])]
    table = pa.Table.from_arrays(columns, names=["id", "label", "label"])
    pq.write_table(table, tmp_path / "l.parquet")
    with pytest.raises(AnnotationError, match=r"cannot be read as Parquet: .*'?label.* 2 times"):
        read_label_files([tmp_path / "l.parquet"])


def test_values_that_are_not_utf_8(tmp_path):
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"id": ["clip 7"], "label": ["wave"]}), path, compression="none")
    path.write_bytes(path.read_bytes().replace(b"clip 7", b"clip \xb5"))
    with pytest.raises(AnnotationError, match=r"cannot be read as Parquet: .*utf-8") as error:
        read_label_files([path])
    assert "\n" not in str(error.value)
