import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from flowkit import catalog
from flowkit.annotations import FORMATS, Label
from flowkit.catalog import find_dataset, load_catalog
from flowkit.cli import main
from flowkit.errors import CatalogError, UsageError
from flowkit.flow.params import PRESETS

SHIPPED = Path(__file__).resolve().parents[2] / "datasets.yaml"
ENTRY = {
    "title": "Mine",
    "format": "ucf101",
    "videos": ["mine/videos"],
    "annotations": ["mine/lists"],
    "recipe": {"resize": {"mode": "short-side", "side": 256}, "flow": {}},
}


def write(folder: Path, entries: object) -> Path:
    path = folder / "datasets.yaml"
    path.write_text(yaml.safe_dump(entries))
    return path


def test_the_shipped_catalogue() -> None:
    shipped = load_catalog(SHIPPED)
    names = [
        "kinetics-400",
        "kinetics-600",
        "kinetics-700",
        "ucf101",
        "hmdb51",
        "charades",
        "something-something-v2",
        "jester",
        "diving48",
        "moments-in-time",
        "motion8",
    ]
    assert list(shipped) == names
    for dataset in shipped.values():
        assert dataset.format in FORMATS
        assert dataset.videos
        assert dataset.annotations
        assert dataset.subsets
        assert dataset.obtain
        assert dataset.homepage
        assert dataset.licence
        assert dataset.expected_bytes > 0
        sound = ("audio",) if dataset.name.startswith("kinetics") else ()
        assert dataset.recipe.streams == ("rgb", "flow", *sound)
        assert dataset.recipe.flow is not None
        assert dataset.recipe.flow.bound == 20
        assert dataset.recipe.flow.tvl1 == PRESETS["paper"]
    assert shipped["ucf101"].recipe.resize.compute_size(320, 240) == (256, 256)
    assert shipped["charades"].recipe.fps == 24
    assert shipped["kinetics-600"].homepage == shipped["kinetics-400"].homepage
    assert shipped["kinetics-600"].videos != shipped["kinetics-400"].videos


def test_the_head_of_the_file_explains_every_key() -> None:
    head = SHIPPED.read_text().partition("\nkinetics:")[0]
    explained = {line[4:].split()[0] for line in head.splitlines() if line.startswith("#   ")}
    keys = {field.name for field in fields(catalog.Dataset)} - {"name", "catalog"} | {"variants"}
    assert keys <= explained


def test_subset_names_are_those_that_the_parsers_give(shared_data: Path) -> None:
    for name in ("ucf101", "hmdb51"):
        table = FORMATS[name].read_table(shared_data / "annotations" / name, None)
        given = {subset for annotation in table.annotations for subset in annotation.subsets}
        assert set(find_dataset(name, None, load_catalog(SHIPPED)).subsets) == given


def test_where_the_catalogue_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "ucf101" in load_catalog()
    write(tmp_path, {"mine": ENTRY})
    assert list(load_catalog()) == ["mine"]
    other = tmp_path / "other"
    other.mkdir()
    assert list(load_catalog(write(other, {"yours": ENTRY}))) == ["yours"]
    with pytest.raises(CatalogError, match=r"cannot read the catalogue .*gone\.yaml"):
        load_catalog(tmp_path / "gone.yaml")
    (tmp_path / "latin.yaml").write_bytes("größe: {}\n".encode("latin-1"))
    with pytest.raises(CatalogError, match=r"latin\.yaml: expected UTF-8 text, .*save it as UTF-8"):
        load_catalog(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"mine": ENTRY | {"lisence": "x"}},
            "mine: unknown key 'lisence'; did you mean 'licence'?",
        ),
        ({"mine": ENTRY | {"videos": "a"}}, "mine: videos: expected a list of strings, got 'a'"),
        ({"mine": ENTRY | {"videos": [1]}}, "mine: videos: expected a list of strings, got [1]"),
        ({"mine": ENTRY | {"title": 8}}, "mine: title: expected a string, got 8"),
        (
            {"mine": ENTRY | {"expected_videos": "8"}},
            "mine: expected_videos: expected a whole number, 0 or more, got '8'",
        ),
        ({"mine": ENTRY | {"expected_videos": True}}, "a whole number, 0 or more, got True"),
        ({"mine": ENTRY | {"expected_videos": -1}}, "a whole number, 0 or more, got -1"),
        (
            {"mine": ENTRY | {"format": "ucf11"}},
            "mine: format: unknown format 'ucf11'; did you mean 'ucf101'?",
        ),
        ({"mine": ENTRY | {"recipe": {"size": 2}}}, "mine: recipe: unknown key 'size' in recipe"),
        ({"mine": ENTRY | {"recipe": {"flow": {"bound": -1}}}}, "mine: recipe: flow bound must"),
        ({"mine": ENTRY | {"recipe": {"flow": {"bound": "x"}}}}, "mine: recipe: "),
        ({"mine": ENTRY | {"recipe": {"flow": 3}}}, "mine: recipe: "),
        (
            {"mine": ENTRY | {"recipe": {"rgb": "high"}}},
            "mine: recipe: rgb: expected a mapping of settings, got 'high'",
        ),
        (
            {"mine": ENTRY | {"recipe": {"resize": None}}},
            "mine: recipe: resize: expected a mapping",
        ),
        (
            {"mine": ENTRY | {"recipe": {"flow": {"tvl1": "paper"}}}},
            "mine: recipe: flow.tvl1: expected a mapping",
        ),
        (
            {"mine": ENTRY | {"recipe": {"features": ["a"]}}},
            "mine: recipe: features: expected a mapping of settings, got ['a']",
        ),
        (
            {"mine": ENTRY | {"recipe": {"features": {"a": 3}}}},
            "mine: recipe: features.a: expected a mapping",
        ),
        ({"mine": ENTRY | {"recipe": 3}}, "mine: recipe: expected a recipe as a mapping, got 3"),
        ({"mine": {"format": "folder"}}, "mine: the key 'title' is required"),
        ({"mine": 3}, "mine: expected an entry as a mapping, got 3"),
        ({"mine": ENTRY | {1: 2}}, "mine: key 1 must be a string"),
        ({1: ENTRY}, "entry 1: expected a name"),
        (["mine"], "expected a mapping of dataset names to entries"),
        ({"mine": ENTRY | {"variants": {"b": {}}}}, "mine: the key 'variant' is required"),
        (
            {"mine": ENTRY | {"variant": "a", "variants": {"b": {"tittle": "x"}}}},
            "mine: variants: b: unknown key 'tittle'; did you mean 'title'?",
        ),
        ({"mine": ENTRY | {"variant": "a", "variants": {"a": {}}}}, "mine-a is defined twice"),
        (
            {"mine": ENTRY | {"variant": "a", "variants": {"b": {"variants": {}}}}},
            "mine: variants: b: a variant has no variants; list them beside 'b'",
        ),
    ],
)
def test_malformed_catalogues(tmp_path: Path, entries: object, message: str) -> None:
    path = write(tmp_path, entries)
    with pytest.raises(CatalogError, match=re.escape(f"{path}")) as raised:
        load_catalog(path)
    assert message in str(raised.value)


def test_repeated_keys_and_broken_yaml(tmp_path: Path) -> None:
    path = tmp_path / "datasets.yaml"
    path.write_text("a:\n  title: x\n  title: y\n")
    with pytest.raises(CatalogError, match=r"'title' is given twice.*line 3"):
        load_catalog(path)
    path.write_text("a: {title: x, <<: {title: y}}\n")
    with pytest.raises(CatalogError, match=r"a: .*required"):  # read, but not complete
        load_catalog(path)
    path.write_text("x: {a: {b: &b {<<: {title: x}, title: y}}}\nc: {<<: *b}\n")
    with pytest.raises(CatalogError, match="x: unknown key"):  # c merges b before b is built
        load_catalog(path)
    path.write_text("? {a: b}\n: {title: x}\n")
    with pytest.raises(CatalogError, match="a key is a list or a mapping"):
        load_catalog(path)
    path.write_text("a: {title\n")
    with pytest.raises(CatalogError, match="is not valid YAML"):
        load_catalog(path)


@pytest.mark.parametrize(
    ("name", "variant", "found"),
    [
        ("kinetics", None, "kinetics-400"),
        ("kinetics", "600", "kinetics-600"),
        ("kinetics-700", None, "kinetics-700"),
        ("Kinetics", None, "kinetics-400"),
        ("Kinetics", "700", "kinetics-700"),
        ("Kinetics600", None, "kinetics-600"),
        ("UCF-101", None, "ucf101"),
    ],
)
def test_datasets_are_found_by_name(name: str, variant: str | None, found: str) -> None:
    assert find_dataset(name, variant, load_catalog(SHIPPED)).full_name == found


@pytest.mark.parametrize(
    ("name", "variant", "nearest"),
    [("ufc101", None, "ucf101"), ("kinetic", None, "kinetics-"), ("kinetics", "650", "kinetics-")],
)
def test_wrong_names_get_the_nearest(name: str, variant: str | None, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"no dataset .*did you mean '{nearest}"):
        find_dataset(name, variant, load_catalog(SHIPPED))


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> catalog.Dataset:
    """A dataset of two annotated videos, neither of which is on disk yet."""
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path / "data"))
    entry = ENTRY | {"obtain": "Ask Ann.", "homepage": "ann.example", "expected_videos": 2}
    return load_catalog(write(tmp_path, {"mine": entry}))["mine"]


def add_videos(root: Path, *names: str) -> None:
    for name in names:
        path = root / "data/mine/videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def add_lists(root: Path) -> None:
    lists = root / "data/mine/lists"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 Run\n")
    (lists / "trainlist01.txt").write_text("Run/v_Run_g01_c01.avi 1\nRun/v_Run_g02_c01.avi 1\n")


def test_nothing_is_there(mine: catalog.Dataset) -> None:
    message = (
        r"dataset mine: no videos in .*data/mine/videos and no annotations in .*data/mine/lists\. "
        r"Set FLOWKIT_DATA .*To obtain them: Ask Ann\. Homepage: ann\.example"
    )
    with pytest.raises(CatalogError, match=message):
        mine.locate_videos()
    assert mine.detect_presence().problem is not None


def test_only_videos(mine: catalog.Dataset, tmp_path: Path) -> None:
    add_videos(tmp_path, "a.avi")
    with pytest.raises(CatalogError, match=r"mine: no annotations in .*data/mine/lists\."):
        mine.locate_videos()
    presence = mine.detect_presence()
    assert (presence.found, presence.annotated, presence.missing) == (1, 0, 0)


def test_only_annotations(mine: catalog.Dataset, tmp_path: Path) -> None:
    add_lists(tmp_path)
    with pytest.raises(CatalogError, match=r"mine: no videos in .*data/mine/videos\."):
        mine.locate_videos()
    presence = mine.detect_presence()
    assert (presence.found, presence.annotated, presence.missing) == (0, 2, 2)


def test_both_are_matched_and_counted(mine: catalog.Dataset, tmp_path: Path) -> None:
    add_lists(tmp_path)
    add_videos(tmp_path, "Run/v_Run_g02_c01.avi", "Run/v_Run_g03_c01.avi")
    table, located = mine.locate_videos()
    assert table.classes == ("Run",)
    assert [(source.id, source.labels) for source in located.sources] == [
        ("v_Run_g02_c01", (Label("Run"),))
    ]
    presence = mine.detect_presence()
    assert (presence.found, presence.annotated, presence.missing, presence.unannotated) == (
        1,
        2,
        1,
        1,
    )
    assert presence.problem is None
    elsewhere = mine.detect_presence(tmp_path / "elsewhere")
    assert elsewhere.videos is None


def test_a_malformed_list_is_a_problem_of_its_dataset_alone(
    mine: catalog.Dataset, tmp_path: Path
) -> None:
    add_lists(tmp_path)
    add_videos(tmp_path, "a.avi")
    (tmp_path / "data/mine/lists/testlist01.txt").write_text("nonsense\n")
    problem = mine.detect_presence().problem
    assert problem is not None
    assert "testlist01.txt:1: expected" in problem


@pytest.mark.parametrize("name", ["videos", "lists"])
def test_a_folder_that_cannot_be_entered_is_a_problem_of_its_dataset_alone(
    mine: catalog.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    add_lists(tmp_path)
    add_videos(tmp_path, "a.avi")
    is_dir = Path.is_dir

    def refuse(path: Path) -> bool:
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", refuse)
    problem = f"cannot read .*mine/{name}: Permission denied; check its permissions"
    assert re.fullmatch(problem, mine.detect_presence().problem or "")
    with pytest.raises(CatalogError, match=problem):
        mine.locate_videos()
    result = CliRunner().invoke(main, ["datasets", "--catalog", str(mine.catalog)])
    assert result.exit_code == 0, result.output


def test_a_home_of_an_unknown_user_is_not_found(
    mine: catalog.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWKIT_DATA", "~no-such-user/data")
    assert catalog.data_root() == Path("~no-such-user/data")
    with pytest.raises(CatalogError, match="no videos in ~no-such-user/data/mine/videos"):
        mine.locate_videos()
    monkeypatch.setenv("FLOWKIT_DATA", "~/data")
    assert catalog.data_root() == Path.home() / "data"


def test_a_folder_dataset_needs_no_annotations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path / "data"))
    entry = {"title": "F", "format": "folder", "videos": ["mine/videos"], "recipe": {}}
    dataset = load_catalog(write(tmp_path, {"f": entry}))["f"]
    add_videos(tmp_path, "run/a.mp4")
    table, located = dataset.locate_videos()
    assert table.classes == ("run",)
    assert located.sources[0].id == "run/a.mp4"


def test_the_command_lists_and_counts(mine: catalog.Dataset, tmp_path: Path) -> None:
    add_lists(tmp_path)
    add_videos(tmp_path, "v_Run_g01_c01.avi")
    arguments = ["datasets", "--catalog", str(mine.catalog)]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0
    (row,) = json.loads(result.output)
    assert (row["name"], row["found"], row["annotated"], row["missing"]) == ("mine", 1, 2, 1)
    assert row["obtain"] == "Ask Ann."
    table = CliRunner().invoke(main, arguments).output
    assert re.search(r"mine +1 +2 +1 +0 +\S*data/mine/videos", table.replace("\n", ""))
    details = CliRunner().invoke(main, [*arguments, "mine"]).output
    assert "Ask Ann." in details
    wrong = CliRunner().invoke(main, [*arguments, "minne"])
    assert wrong.exit_code == 2
    assert "did you mean 'mine'?" in wrong.stderr
