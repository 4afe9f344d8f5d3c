"""docs/papers.md: every table and figure has a line, and its commands run with small networks."""

import json
import re
import shlex
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from flowkit.cli import main
from tests.train.conftest import TINY
from tests.train.report.conftest import KINDS, SPLITS, SUBSETS
from train.recipe.recipe import FeatureSetRecipe, ImageRecipe, list_recipes, read_draft
from train.report.figures import FIGURES

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
HEADER = "| table or figure | commands | needs | ours |"
PAPERS = {
    "Cross-Modality Attention": (
        *(f"Table {n}" for n in range(1, 7)), *(f"Fig. {n}" for n in range(1, 8)),
    ),
    "Pyramid attention": (
        *(f"Table 1({part})" for part in "abcde"), "Table 2(a)", "Table 2(b)",
        *(f"Fig. {n}" for n in range(1, 6)),
    ),
    "Attention Clusters": (
        *(f"Table {n}" for n in range(1, 6)), *(f"Fig. {n}" for n in range(1, 6)),
    ),
    "CATNet": (*(f"Table {n}" for n in range(1, 5)), *(f"Fig. {n}" for n in range(1, 7))),
}  # fmt: skip
"""The tables and figures that the papers have."""
SCRIPT = "python docs/draw_paper_figures.py "
CODE = re.compile(r"`([^`]+)`")
RUN = re.compile(r"\b(R\d?): `(\w+)`(?: row `([^`]+)`)?")
FILES = {"receptive": "salient"}
"""The beginning of the names of a figure's files, where it is not the name of the figure."""
REASON = re.compile(r"none: \S.{20,}")
SMALL = "### Tables of "
"""The beginning of the headings above the tables of small runs."""
QUICK = {("Cross-Modality Attention", "Table 1"), ("CATNet", "Table 2")}
"""The lines whose trainings are quick tests: one on images, one on sets."""


class Line(NamedTuple):
    """A table or figure of a paper on the page."""

    paper: str
    name: str
    commands: tuple[str, ...]
    needs: str
    ours: str

    @property
    def runs(self) -> dict[str, tuple[str, str | None]]:
        """Recipe and row of each run, by its name on the page: R, R0, …"""
        runs = {name: (recipe, row or None) for name, recipe, row in RUN.findall(self.needs)}
        for command in self.list("train"):
            words = shlex.split(command)
            row = words[words.index("--row") + 1] if "--row" in words else None
            runs[words[words.index("--run") + 1]] = (words[2], row)
        return runs

    def list(self, name: str) -> tuple[str, ...]:
        """The commands `flowkit NAME` of the line."""
        return tuple(c for c in self.commands if c.split()[:2] == ["flowkit", name])


def read_lines() -> list[Line]:
    lines = []
    for part in (DOCS / "papers.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        paper, _, text = part.partition("\n")
        rows = text.partition(HEADER)[2].partition("\n\n")[0].strip().splitlines()[1:]
        for row in rows:
            title, commands, needs, ours = map(str.strip, row.strip().strip("|").split("|"))
            name = title.partition(":")[0]
            lines.append(Line(paper, name, tuple(CODE.findall(commands)), needs, ours))
    return lines


LINES = read_lines()
COMMANDS = [(line, command) for line in LINES for command in line.commands]


def name_line(line: Line) -> str:
    return f"{line.paper}, {line.name}"


def test_every_table_and_figure_has_a_line():
    found = [(line.paper, line.name) for line in LINES]
    assert sorted(found) == sorted((paper, n) for paper, names in PAPERS.items() for n in names)
    for line in LINES:
        # Commands, or the module that is drawn.
        assert line.commands or "models." in line.ours, name_line(line)
        assert line.ours, name_line(line)


@pytest.mark.parametrize("line", LINES, ids=name_line)
def test_a_line_has_a_result_of_our_own_or_a_reason(line):
    """A link to a result on this page or another one, a figure of this page, or "none: why"."""
    if line.ours.startswith("none"):
        assert REASON.fullmatch(line.ours), line.ours
        return
    assert "](" in line.ours or re.search(r"\bFig\. \d", line.ours), line.ours
    text = (DOCS / "papers.md").read_text(encoding="utf-8")
    headings = {make_anchor(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    for anchor in re.findall(r"\]\(#([^)]+)\)", line.ours):
        assert anchor in headings, anchor


def make_anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def test_tables_of_small_runs_are_those_of_the_script(small_runs):
    """Each row names its recipe and row, and has a percentage for each column."""
    found = read_small_tables()
    assert list(found) == list(small_runs.TABLES)
    for title, (columns, rows) in small_runs.TABLES.items():
        header, *lines = found[title]
        assert header == ["", "recipe and row", *columns]
        assert [line[0] for line in lines] == [row.name for row in rows]
        for line, row in zip(lines, rows, strict=True):
            recipe, recipe_row, _ = small_runs.TRAINED[row.run]
            assert CODE.findall(line[1]) == [recipe, *([recipe_row] if recipe_row else [])]
            assert all(cell.isdecimal() and int(cell) <= 100 for cell in line[2:]), line


def test_recipes_of_small_runs_are_complete(small_runs):
    named = {(run.recipe, run.row) for run in small_runs.TRAINED.values()}
    files = sorted((DOCS / "paper_runs").glob("*.yaml"))
    rows = {(path.stem, row) for path in files for row in read_draft(path).values["rows"]}
    assert named == rows | {(path.stem, None) for path in files}
    for recipe, row in named:
        draft = read_draft(DOCS / "paper_runs" / f"{recipe}.yaml")
        complete = (draft if row is None else draft.take_row(row)).complete()
        assert (complete.dataset, complete.reported) == ("motion8", {})


@pytest.fixture(scope="module")
def small_runs() -> ModuleType:
    """The script of the small runs, docs/paper_runs/motion8.py."""
    spec = spec_from_file_location("motion8_runs", DOCS / "paper_runs" / "motion8.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_small_tables() -> dict[str, list[list[str]]]:
    """The tables of small runs by "PAPER, TABLE", each a list of rows without the line below."""
    tables = {}
    for part in (DOCS / "papers.md").read_text(encoding="utf-8").split(SMALL)[1:]:
        paper = part.partition(" on motion8\n")[0]
        paper = next(name for name in PAPERS if name.lower() == paper.lower())
        for name, rows in re.findall(
            r"^(Table [^:\n]+):.*\n\n((?:\|.*\n)+)", part.partition("\n#")[0], re.MULTILINE
        ):
            lines = [row.strip()[1:-1].split("|") for row in rows.strip().splitlines()]
            cells = [[cell.strip() for cell in line] for line in lines]
            tables[f"{paper}, {name}"] = [cells[0], *cells[2:]]
    return tables


@pytest.mark.parametrize("line", LINES, ids=name_line)
def test_recipes_and_rows_of_a_line_exist(line):
    """Each inline code of the column "needs" is a recipe, or a row of a recipe of the line."""
    named = [word for word in CODE.findall(line.needs) if word in list_recipes()]
    named += [recipe for recipe, _ in line.runs.values()]
    for recipe, row in line.runs.values():
        draft = read_draft(recipe)
        (draft if row is None else draft.take_row(row)).complete()
    rows = {row: name for name in named for row in read_draft(name).values["rows"]}
    for word in CODE.findall(line.needs):
        if word in rows:
            read_draft(rows[word]).take_row(word).complete()
        else:
            assert word in list_recipes() or word == "make", word


@pytest.mark.parametrize("line", [line for line in LINES if line.list("report")], ids=name_line)
def test_figures_of_a_line_are_drawn(line, make_kind, videos, tmp_path, monkeypatch):
    monkeypatch.setattr("train.report.figures.frame_counts.COUNTS", (1, 3))
    for name, (recipe, row) in line.runs.items():
        draft = read_draft(recipe)
        complete = (draft if row is None else draft.take_row(row)).complete()
        # Runs to compare with have another seed.
        shutil.copytree(make_kind(choose_kind(complete), int(name != "R")).path, tmp_path / name)
    for command in line.list("report"):
        words = shlex.split(command)[1:]
        figures = [word for word in words if word in FIGURES]
        assert len(figures) == 1, command
        names = {"S": str(videos.path)} | {name: str(tmp_path / name) for name in line.runs}
        run = names[words[1]]
        words = [names.get(word, word) for word in words]
        invoke([*words, "--workers", "0", "--threads", "1"])  # frames loads data
        drawn = sorted((Path(run) / "figures").iterdir())
        stem = FILES.get(figures[0], figures[0])
        assert any(path.name.startswith(stem) for path in drawn), drawn


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, marks=() if line[:2] in QUICK else pytest.mark.slow)
        for line in LINES if line.list("train")
    ],
    ids=name_line,
)  # fmt: skip
def test_runs_of_a_line_are_trained_and_evaluated(line, videos, tmp_path):
    """The commands of a line, made small: one row of each recipe."""
    for command in (*line.list("train"), *line.list("evaluate")):
        words = [
            str(videos.path) if word == "S" else str(tmp_path / word) if word in line.runs else word
            for word in shlex.split(command)[1:]
        ]
        if words[0] == "evaluate":
            # The longest video of the small store has no 30 different snippets.
            words = [re.sub(r"segments=\d+", "segments=3", word) for word in words]
            words += ["--workers", "0", "--threads", "1"]
        else:
            recipe, row = line.runs[shlex.split(command)[shlex.split(command).index("--run") + 1]]
            words += list_small_options(recipe, row)
        invoke(words)
        run = Path(words[words.index("--run") + 1] if words[0] == "train" else words[1])
        if words[0] == "train":
            invoke(["evaluate", str(run), "--store", str(videos.path), "--workers", "0",
                    "--threads", "1"])  # fmt: skip
        assert json.loads((run / "results.json").read_text())["scores"]


@pytest.mark.parametrize(
    ("line", "command"),
    [(line, c) for line, c in COMMANDS if not c.startswith(("flowkit train", "flowkit report",
                                                            "flowkit evaluate"))],
    ids=lambda value: value if isinstance(value, str) else value.name,
)  # fmt: skip
def test_other_commands_run(line, command, videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if command.startswith("make "):
        target = command.split()[1]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif command.startswith(SCRIPT):
        text = (ROOT / command.split()[1]).read_text(encoding="utf-8")
        assert f'"{command.split()[2]}"' in text
    else:
        words = [str(videos.path) if word == "S" else word for word in shlex.split(command)[1:]]
        invoke(words)
        assert [*tmp_path.iterdir()]


def invoke(words: list[str]) -> None:
    result = CliRunner().invoke(main, words)
    said = f"flowkit {shlex.join(words)}: {result.output}\n{result.exception!r}"
    assert result.exit_code == 0, said


def choose_kind(recipe) -> str:
    """The kind of small run that has the figures of a recipe."""
    if isinstance(recipe, FeatureSetRecipe):
        return "CATNet" if recipe.sets.method == "catnet" else "clusters"
    if not isinstance(recipe, ImageRecipe):
        return "audio"
    if recipe.network.pyramid is not None:
        return "many labels" if recipe.labels == "many" else "pyramid"
    alone = f"{'RGB' if recipe.streams == ('rgb',) else 'flow'} alone"
    if recipe.data.clip is not None:
        if recipe.network.backbone == "i3d":
            return "clips of I3D"
        return "CMA of P3D"
    if recipe.iterations:
        return "CMA after non-local" if recipe.network.non_local else "CMA"
    if len(recipe.streams) == 1:
        return alone
    return "non-local" if recipe.network.non_local else "two streams"


def list_small_options(recipe_name: str, row: str | None) -> list[str]:
    """Options of `flowkit train` that make a recipe small, and keep what its row is about."""
    draft = read_draft(recipe_name)
    recipe = (draft if row is None else draft.take_row(row)).complete()
    kind = KINDS[choose_kind(recipe)]
    values = {**(TINY if kind.recipe == "motion8_cma" else {}), **kind.changes}
    values |= {"dataset": "tiny", "classes": 3, "training.batch": 4}
    values |= {"training.epochs": 1, "training.iterations": 0}
    if isinstance(recipe, ImageRecipe):
        values |= {"iterations": min(recipe.iterations, 2), "network.weights": "{}"}
        if kind.recipe == "motion8_cma" and "network.backbone" not in kind.changes:
            values |= {"network.backbone": "resnet", "network.depth": 18}
        values |= {"training.schedule": "constant", "training.steps": "[]"}
        if recipe.data.clip is not None and recipe.network.positions:
            values["network.positions"] = "[res4_1]"
        if recipe.data.window is not None:  # labels of the small store have no times
            values["data.window"] = "null"
    if isinstance(recipe, FeatureSetRecipe):
        values = {"sets.may_be_empty": "[]", **values, "sets.weights": "''", "sets.test": 0}
    values["subsets"] = SUBSETS
    if recipe.splits:
        values |= {"splits": [1, 2][: len(recipe.splits)], "subsets": SPLITS}
    options = ["--workers", "0", "--threads", "1"]
    for key, value in values.items():
        options += ["--set", f"{key}={value}"]
    return options
