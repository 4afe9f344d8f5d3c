"""Messages about a store on object storage name its URL, not the folder of its mirror."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from flowkit.cli import main

ROOT = Path(__file__).resolve().parents[2]


def test_no_message_names_the_folder_of_an_open_store():
    for package in ("flowkit", "train"):
        for path in (ROOT / package).rglob("*.py"):
            assert not re.findall(r"\{[\w.]*store\.path\}", path.read_text()), path


def fail(*arguments: object) -> str:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code, result.output
    return result.output.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("recipe", "streams", "changes", "message"),
    [
        (
            "two_stream",
            ("rgb",),
            (),
            "has no flow, which two_stream is trained on. Add it: flowkit",
        ),
        ("clusters", ("rgb", "flow"), (), "has no features, which clusters"),
        ("motion8_cma", ("rgb", "flow"), (), "the recipe is for 8 classes, URL has 2"),
        ("two_stream", ("rgb", "flow"), ("subsets.train=x",), "URL: "),
    ],
)
def test_messages_of_training(make_store, upload, tmp_path, recipe, streams, changes, message):
    url = upload(make_store(tuple("abcdef"), streams=streams, width=320, height=240))
    options = [word for change in changes for word in ("--set", change)]
    line = fail("train", recipe, "--store", url, "--run", tmp_path / "run", *options)
    assert message.replace("URL", url) in line
    assert url in line and "mirrors" not in line
