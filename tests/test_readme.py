"""The README's Python runs as it stands, on a store such as `make demo` makes."""

import re
from pathlib import Path

import pytest

from flowkit.annotations import FORMATS
from flowkit.extraction import Options, extract
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe

README = Path(__file__).resolve().parents[1] / "README.md"


def read_code() -> list[str]:
    """The README's Python."""
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_store_in_ten_lines(tmp_path, make_clip, monkeypatch, capsys):
    make_clip(tmp_path / "videos" / "left" / "train_00000.mp4", frames=12)
    table = FORMATS["folder"].read_table(tmp_path / "videos", None)
    located = FORMATS["folder"].locate_videos(tmp_path / "videos", table)
    recipe = StoreRecipe(resize=Resize(width=32, height=32), rgb=RGBRecipe(), flow=FlowRecipe())
    extract(located, tmp_path / "stores" / "motion8", recipe, Options(workers=0), table=table)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(read_code()[0], names)
    assert "12 25.0" in capsys.readouterr().out
    assert names["flow"].shape == (32, 32, 2)
    assert names["flows"].shape == (5, 32, 32, 2)


@pytest.mark.parametrize("target", ["demo", "test", "lint", "docs", "bench"])
def test_the_commands_are_in_the_makefile(target):
    assert f"\n{target}:" in README.with_name("Makefile").read_text()


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)", README.read_text(encoding="utf-8")))
def test_links_lead_to_files(link):
    assert (README.parent / link).is_file()


def test_the_readme_stays_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 130
