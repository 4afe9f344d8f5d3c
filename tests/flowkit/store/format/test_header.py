import json
from dataclasses import replace

import pytest

from flowkit.errors import CorruptError, FormatError, RecipeError
from flowkit.flow import PRESETS
from flowkit.recipe import FlowRecipe, LogMelRecipe, RGBRecipe, StoreRecipe
from flowkit.store import create_or_open, read_header

BASE = StoreRecipe(rgb=RGBRecipe(), flow=FlowRecipe())


def test_made_once_and_read_again(tmp_path):
    header = create_or_open(tmp_path / "a/b", BASE, "motion8")
    assert read_header(tmp_path / "a/b") == header
    assert (header.dataset, header.recipe) == ("motion8", BASE)
    assert create_or_open(tmp_path / "a/b", BASE, None) == header
    assert (tmp_path / "a/b/frames").is_dir()
    assert not (tmp_path / "a/b/audio").exists()


def test_a_stream_is_added_and_a_narrower_recipe_takes_nothing_away(tmp_path):
    create_or_open(tmp_path, StoreRecipe(rgb=RGBRecipe()))
    wide = create_or_open(tmp_path, StoreRecipe(flow=FlowRecipe(), audio=LogMelRecipe()))
    assert wide.recipe.streams == ("rgb", "flow", "audio")
    assert create_or_open(tmp_path, StoreRecipe(rgb=RGBRecipe())) == wide == read_header(tmp_path)
    assert (tmp_path / "audio").is_dir()


def test_another_recipe_or_dataset_is_refused_and_named(tmp_path):
    create_or_open(tmp_path, BASE, "ucf101")
    before = (tmp_path / "store.json").read_bytes()
    with pytest.raises(RecipeError, match=r"flow\.bound: 20\.0 ≠ 15\.0"):
        create_or_open(tmp_path, replace(BASE, flow=FlowRecipe(bound=15.0)))
    with pytest.raises(RecipeError, match=r"ucf101.*hmdb51"):
        create_or_open(tmp_path, BASE, "hmdb51")
    assert (tmp_path / "store.json").read_bytes() == before


# The flow part of the recipe as flowkit wrote it before levels had schedules of their own.
OLDER_FLOW = {
    "tvl1": {
        "tau": 0.25, "lambda_": 0.15, "theta": 0.3, "epsilon": 0.01, "scales": 5,
        "scale_step": 0.8, "min_side": 16, "warps": 5, "iterations": 300,
    },
    "bound": 20.0,
    "quality": 95,
    "quantization": "128 + round(127 * clip(v, -bound, bound) / bound)",
    "grey": "opencv-rgb2gray",
}  # fmt: skip


def test_a_store_of_an_older_flowkit_is_opened_and_left_as_it_is(tmp_path):
    create_or_open(tmp_path, BASE)
    path = tmp_path / "store.json"
    assert json.loads(path.read_text())["recipe"]["flow"] == OLDER_FLOW
    older = json.loads(path.read_text())
    accurate = OLDER_FLOW["tvl1"] | {"scales": 64, "warps": 6}
    for preset, tvl1 in (("paper", OLDER_FLOW["tvl1"]), ("accurate", accurate)):
        older["recipe"]["flow"]["tvl1"] = tvl1
        path.write_text(json.dumps(older))
        before = path.read_bytes()
        recipe = replace(BASE, flow=FlowRecipe(tvl1=PRESETS[preset]))
        assert create_or_open(tmp_path, recipe).recipe == recipe
        assert path.read_bytes() == before


def test_a_store_of_preset_fast_refuses_another_and_says_what_differs(tmp_path):
    fast = replace(BASE, flow=FlowRecipe(tvl1=PRESETS["fast"]))
    create_or_open(tmp_path, fast)
    assert create_or_open(tmp_path, fast).recipe == fast
    with pytest.raises(RecipeError) as refusal:
        create_or_open(tmp_path, BASE)
    for line in ("scale_step: 0.5 ≠ 0.8", "median_side: 3 ≠ 1", "finest_warps: 1 ≠ None"):
        assert f"flow.tvl1.{line}" in str(refusal.value)


def test_other_folders_are_no_stores(tmp_path):
    (tmp_path / "film.mp4").touch()
    with pytest.raises(FormatError, match=r"film\.mp4"):
        create_or_open(tmp_path, BASE)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    for path in (tmp_path, tmp_path / "none", tmp_path / "film.mp4"):
        with pytest.raises(FormatError, match=r"store\.json"):
            read_header(path)
    with pytest.raises(FormatError, match="file"):
        create_or_open(tmp_path / "film.mp4", BASE)


def test_a_newer_format_is_refused_and_unknown_keys_are_not(tmp_path):
    create_or_open(tmp_path, BASE)
    path = tmp_path / "store.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"later": 1}))
    assert read_header(tmp_path).recipe == BASE
    path.write_text(json.dumps(values | {"format": 2}))
    with pytest.raises(FormatError, match="got 2"):
        create_or_open(tmp_path, BASE)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "1"}', '{"format": 1}', "\x00\xff"])
def test_a_broken_header(tmp_path, text):
    create_or_open(tmp_path, BASE)
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(CorruptError, match=r"store\.json"):
        read_header(tmp_path)


def test_killed_while_it_was_made(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "store.json.part").write_text('{"form')
    assert create_or_open(tmp_path, BASE) == read_header(tmp_path)
