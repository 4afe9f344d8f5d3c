"""The documentation: its tutorials run, with small numbers, and it names only what exists."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_args

import click
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from flowkit.cli import main
from tests.conftest import keep_one_thread
from train.feature_files.windows import Placement, WindowSampling
from train.features.weight_checks import make_feature_backbone
from train.recipe.recipe import Network
from train.tasks.backbones import NETWORKS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(
    r"(?P<skipped><!-- not run by the test -->\n)?"
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<code>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
INLINE = re.compile(r"`(flowkit [^`]+)`")
INCLUDE = re.compile(r"^<!-- include (\S+) -->$", re.MULTILINE)

# What is added to a command of a tutorial, so that it takes seconds.
SMALLER = {
    "demo --write": "--videos 16 --test-videos 8 --frames 6 --size 64x64",
    "extract": "--size 64x64 --workers 0",
    "train": (
        "--workers 0 --set training.epochs=1 --set training.batch=4 --set phases={} "
        "--set training.schedule=constant --set data.short_side=64 --set data.size=32 "
        "--threads 1 --set network.width=8 --set testing.controls=[] --set testing.segments=1"
    ),
    "evaluate": "--workers 0",
    "predict": "--workers 0",
    "features --videos": "--workers 0 --resize 64x64 --fps 2 --preset fast",
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: see `keep_one_thread`."""
    with keep_one_thread():
        yield


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    title: str | None
    code: str
    skipped: bool


def read_blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [
        Block(match["language"], match["title"], match["code"], match["skipped"] is not None)
        for match in BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def list_commands(page: Path) -> Iterator[str]:
    """The flowkit commands of a page, in shell blocks and in the text."""
    for block in read_blocks(page):
        if block.language == "sh":
            lines = block.code.replace("\\\n", " ").splitlines()
            yield from (line.strip() for line in lines if line.strip().startswith("flowkit "))
    yield from INLINE.findall(BLOCK.sub("", page.read_text(encoding="utf-8")))


def split_words(command: str) -> list[str]:
    """The words of a command line after `flowkit`, without its comment."""
    return shlex.split(command, comments=True)[1:]


def run_shell(script: str) -> None:
    """Run shell commands in the present folder."""
    subprocess.run(["sh", "-euc", script], check=True, timeout=60)


def run_flowkit(words: list[str]) -> None:
    """Run one command of flowkit in this process, made smaller."""
    line = " ".join(words)
    more = [text for begin, text in SMALLER.items() if line.startswith(begin)]
    result = CliRunner().invoke(main, [*words, *shlex.split(" ".join(more))])
    assert result.exit_code == 0, f"flowkit {line}: {result.output}\n{result.exception!r}"


def run_block(block: Block, names: dict[str, Any]) -> None:
    """Run a block of a tutorial, or write it where it has the name of a file."""
    if block.title is not None:
        Path(block.title).write_text(block.code, encoding="utf-8")
    elif block.language == "python":
        # Without processes of its own: exec has no module that they could come from.
        exec(block.code.replace("num_workers=2", "num_workers=0"), names)
    elif block.language == "sh":
        lines: list[str] = []
        for line in block.code.replace("\\\n", " ").splitlines():
            if line.startswith("flowkit "):
                run_shell("\n".join(lines))
                lines = []
                run_flowkit(split_words(line))
            else:
                lines.append(line)
        run_shell("\n".join(lines))


@pytest.fixture
def run_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """``run_page(name)``: run the blocks of a page in an empty folder; the names of its Python."""

    def run(name: str) -> dict[str, Any]:
        monkeypatch.delenv("FLOWKIT_DATA", raising=False)
        monkeypatch.chdir(tmp_path)
        names: dict[str, Any] = {}
        for block in read_blocks(DOCS / name):
            if not block.skipped:
                run_block(block, names)
        return names

    return run


def test_the_quick_start_runs(run_page: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    names = run_page("quick_start.md")
    assert names["flow"].shape == (64, 64, 2)
    assert names["flows"].shape == (5, 64, 64, 2)
    assert (tmp_path / "motion8.png").is_file()
    assert (tmp_path / "runs/motion8/report.html").is_file()


def test_your_own_data_runs(run_page: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    names = run_page("your_own_data.md")
    assert names["batch"]["rgb"].shape == (8, 3, 3, 224, 224)
    assert names["batch"]["flow"].shape == (8, 3, 10, 224, 224)
    assert names["batch"]["label"].shape == (8,)
    assert (tmp_path / "runs/mine/report.html").is_file()
    assert (tmp_path / "stores/gestures/index.arrow").is_file()


@pytest.fixture
def matches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_clip: Any) -> None:
    """The videos and weights of the page about features, with a small network in I3D's place."""
    small = Network(backbone="i3d_inception", width=2)
    monkeypatch.setitem(NETWORKS, "i3d_inception", small)
    for stream, channels in (("rgb", 3), ("flow", 2)):
        network = make_feature_backbone("i3d_inception", channels)
        torch.save(network.state_dict(), tmp_path / f"{stream}_imagenet.pt")
    for name, frames in (("game_01", 16), ("game_02", 13), ("game_03", 2)):
        times = [500 * frame for frame in range(frames)]
        make_clip(tmp_path / f"matches/{name}.mp4", width=64, height=64, times=times)


@pytest.mark.usefixtures("matches")
def test_the_page_about_features_runs(
    run_page: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    names = run_page("features.md")
    assert names["features"].shape == (names["info"]["frames"], 64)  # of ms-tcn: a row a frame
    assert names["columns"] == {"rgb": [0, 32], "flow": [32, 64]}
    assert names["flow_features"].shape == (1, 32)
    assert names["crops"].shape == (1, 10, 64)
    assert np.load(tmp_path / "mstcn/transposed/game_01.npy").shape == (64, 16)
    assert names["windows"].list_frames(9)[-1].tolist() == [6, 7, 8, 8]
    database = json.loads((tmp_path / "feats/annotations.json").read_text())["database"]
    assert {key: len(video["annotations"]) for key, video in database.items()} == {
        "game_01": 2, "game_02": 2, "game_03": 1
    }  # fmt: skip


def test_the_drawing_of_windows_is_that_of_the_windows() -> None:
    """The rows below each placement in docs/features.md are the frames that windows have."""
    text = (DOCS / "features.md").read_text(encoding="utf-8")
    drawn: dict[str, list[list[int]]] = {}
    for line in text.partition("frames        0  1  2")[2].partition("```")[0].splitlines()[1:]:
        if not line.strip():
            continue
        word = line.split()[0]
        if not word.startswith("["):
            drawn[word] = []
        frames = re.search(r"\[([\d ]+)\]", line)
        assert frames is not None, line
        drawn[[*drawn][-1]].append([int(frame) for frame in frames[1].split()])
    assert [*drawn] == [*get_args(Placement)]
    for placement, rows in drawn.items():
        windows = WindowSampling(length=4, stride=2, placement=placement)  # type: ignore[arg-type]
        assert windows.list_frames(9).tolist() == rows


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    commands = [*list_commands(page)]
    for path in INCLUDE.findall(page.read_text(encoding="utf-8")):
        commands += list_commands(ROOT / path)
    for line in commands:
        name, *words = split_words(line)
        if name.startswith(("-", "COMMAND")):
            continue
        command = main.get_command(click.Context(main), name)
        assert command is not None, f"{page.name}: `{line}`: there is no command {name}"
        known = {
            option for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        } | {"--help"}  # fmt: skip
        for word in words:
            if word.startswith("-"):
                option = word.strip("[]").split("=")[0]
                assert option in known, f"{page.name}: `{line}`: there is no option {option}"


def resolve_name(name: str) -> Any:
    """The module, or the class or function, of a dotted name."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        owner, _, last = name.rpartition(".")
        return getattr(resolve_name(owner), last)


def list_documented() -> set[str]:
    """The names that the API pages are made of, such as ``flowkit.store.Store``."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    names: set[str] = set()
    for part in re.split(r"^::: ", text, flags=re.MULTILINE)[1:]:
        members = re.search(r"^ +members: \[(.*)\]$", part, re.MULTILINE)
        name = part.split()[0]
        names |= {f"{name}.{member}" for member in members[1].split(", ")} if members else {name}
    return names


@pytest.mark.parametrize("name", sorted(list_documented()))
def test_what_api_pages_name_exists(name: str) -> None:
    assert resolve_name(name) is not None


@pytest.mark.parametrize("module", ["flowkit", "flowkit.store", "flowkit.flow", "train"])
def test_api_pages_have_every_public_name(module: str) -> None:
    documented = [resolve_name(name) for name in sorted(list_documented())]
    for whole in [value for value in documented if isinstance(value, ModuleType)]:
        documented += vars(whole).values()
    owner = import_module(module)
    found = {id(value) for value in documented}
    missing = [name for name in owner.__all__ if id(getattr(owner, name)) not in found]
    assert [name for name in missing if name != "__version__"] == []


def test_nav_names_exactly_the_pages() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    found: list[str] = []

    def walk(entry: Any) -> None:
        if isinstance(entry, str):
            found.append(entry)
        else:
            for item in entry.values() if isinstance(entry, dict) else entry:
                walk(item)

    walk(yaml.safe_load(text)["nav"])
    assert sorted(found) == [page.relative_to(DOCS).as_posix() for page in PAGES]


def test_percentages_of_papers_are_measured_or_reported() -> None:
    known = (ROOT / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    known += "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "train/recipes").glob("*.yaml")
    )
    for name in ("papers.md", "quick_start.md"):
        page = (DOCS / name).read_text(encoding="utf-8")
        rows = re.findall(r"(?<=\| )(\d+\.\d+)(?= \|)", page)
        for number in [*rows, *re.findall(r"(\d+\.\d+) %", page)]:
            assert re.search(rf"(?<![\d.]){re.escape(number)}0?(?!\d)", known), f"{name}: {number}"


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs the extra docs (make docs)")
def test_the_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loads = re.findall(
            r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"(?:https?:)?//", text
        )
        assert not loads, f"{page.name} loads {loads}"
