"""File names from templates: the names in braces are columns, whatever their characters are."""

from pathlib import Path

import pytest

from flowkit.annotations.label_files import LabelOptions, read_label_files
from flowkit.annotations.label_files.templates import parse_template
from flowkit.errors import UsageError


def read_names(folder: Path, content: str, **options: object) -> list[str]:
    """Return the file names that the rows of a label file have."""
    path = folder / "l.csv"
    path.write_text(content)
    return list(read_label_files([path], LabelOptions(**options)).names)  # type: ignore[arg-type]


def test_a_column_can_be_named_by_its_number(tmp_path: Path) -> None:
    columns = {"id": "2", "label": "1"}
    names = read_names(
        tmp_path, "jump,a,7\nrun,c,8\n", columns=columns, file_template="{1}/{id}_{3:0>2}_{1}.mp4"
    )
    assert names == ["jump/a_07_jump.mp4", "run/c_08_run.mp4"]


def test_a_column_can_have_dots_and_brackets(tmp_path: Path) -> None:
    content = "video.id,label,end[s],{x}\na,jump,3,9\n"
    columns = {"id": "video.id", "label": "label"}
    template = "{label}/{{{video.id}}}_{end[s]}.mp4"
    assert read_names(tmp_path, content, columns=columns, file_template=template) == [
        "jump/{a}_3.mp4"
    ]


@pytest.mark.parametrize("separator", [".", ":", " ", "!"])
def test_clips_of_kinetics_have_their_names_whatever_separates_the_words(
    separator: str, tmp_path: Path
) -> None:
    header = f"label,youtube{separator}id,time{separator}start,time{separator}end"
    assert read_names(tmp_path, f"{header}\njump,ABCDEFGHIJK,1,11\n") == [
        "ABCDEFGHIJK_000001_000011"
    ]


@pytest.mark.parametrize("template", ["x.mp4", "{}", "{id", "{id:{label}}", "{id!x}", "{id:d}"])
def test_a_malformed_template_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="expected --file-template with columns in braces"):
        parse_template(template)


def test_an_unknown_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no column 'id\.x'; its columns are id, label"):
        read_names(tmp_path, "id,label\na,jump\n", file_template="{id.x}.mp4")
