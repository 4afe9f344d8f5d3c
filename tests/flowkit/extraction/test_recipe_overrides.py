"""The values of the recipe that the user sets: those without effect, and how messages call them."""

import pytest

import flowkit
from flowkit.errors import UsageError
from flowkit.extraction import RecipeOverrides, choose_recipe
from flowkit.recipe import FlowRecipe, RGBRecipe, StoreRecipe
from flowkit.store import create_or_open


@pytest.mark.parametrize(
    ("streams", "overrides", "option"),
    [
        (("rgb",), RecipeOverrides(preset="fast"), "--preset is for flow"),
        (("rgb",), RecipeOverrides(bound=0.0), "--bound is for flow"),
        (("rgb", "audio"), RecipeOverrides(step=2), "--step is for flow"),
        (("rgb",), RecipeOverrides(flow_quality=90), "--flow-quality is for flow"),
        (("flow",), RecipeOverrides(rgb_quality=90), "--rgb-quality is for rgb"),
        (("flow",), RecipeOverrides(subsampling="4:4:4"), "--subsampling is for rgb"),
        (("audio",), RecipeOverrides(keep_jpegs=True), "--keep-jpegs is for rgb"),
    ],
)
def test_a_value_for_a_stream_that_is_not_extracted_is_refused(
    tmp_path, streams, overrides, option
):
    with pytest.raises(UsageError, match=f"^{option}, and --streams does not name [a-z]+: leave"):
        choose_recipe(tmp_path / "S", streams, overrides)


def test_values_for_a_stream_that_the_store_has_are_accepted(tmp_path):
    """A video whose source has changed is extracted again with all streams of the store."""
    recipe = StoreRecipe(rgb=RGBRecipe(), flow=FlowRecipe())
    create_or_open(tmp_path / "S", recipe)
    flow_values = RecipeOverrides(preset="paper", bound=20.0, step=1)
    assert choose_recipe(tmp_path / "S", ("rgb",), flow_values) == recipe
    assert choose_recipe(tmp_path / "S", ("flow",), RecipeOverrides(keep_jpegs=True)) == recipe


def test_a_dataset_whose_recipe_has_flow_can_be_extracted_without_it(tmp_path):
    base = StoreRecipe(rgb=RGBRecipe(keep=True), flow=FlowRecipe(bound=15.0))
    assert choose_recipe(tmp_path / "S", ("flow",), RecipeOverrides(), base).rgb is None
    assert choose_recipe(tmp_path / "S", ("rgb",), RecipeOverrides(), base).flow is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "fastt"}, "unknown flow preset 'fastt'; did you mean 'fast'"),
        ({"size": 256}, r"size is \(width, height\) in pixels, such as \(256, 256\); got 256"),
        ({"size": (256,)}, r"got \(256,\)"),
        ({"size": "256x256"}, "got '256x256'"),
        ({"size": (9, 9), "keep_size": True}, "^size, short_side and keep_size exclude"),
        ({"square_pixels": True}, "^square_pixels has an effect only with short_side or keep_size"),
        ({"streams": ["rgb"], "step": 2}, "^step is for flow, and streams does not name flow"),
        ({"streams": ["flow"], "keep_jpegs": True}, "^keep_jpegs is for rgb, and streams does not"),
        ({"flow_weights": "w.pth"}, "^flow_weights is for learned methods; expected method raft"),
        ({"method": "raft_small", "preset": "fast"}, "^preset fast sets parameters of TV-L1"),
    ],
)
def test_messages_call_settings_as_python_does(tmp_path, make_clip, settings, message):
    clip = make_clip(tmp_path / "a.mp4", frames=2)
    with pytest.raises(UsageError, match=message):
        flowkit.extract([clip], tmp_path / "S", workers=0, progress=False, **settings)
    assert not (tmp_path / "S" / "store.json").exists()


@pytest.mark.parametrize(
    ("from_store", "source", "grey"),
    [
        (False, "video", "opencv-rgb2gray"),
        (True, "stored rgb", "opencv-rgb2gray of the stored RGB JPEG"),
    ],
)
def test_tvl1_instead_of_the_learned_method_of_the_dataset(tmp_path, from_store, source, grey):
    learned = FlowRecipe(method="raft_small", weights="0" * 32, tvl1=None, grey="none (RGB)")
    create_or_open(tmp_path / "S", StoreRecipe(rgb=RGBRecipe()))
    overrides = RecipeOverrides(method="tvl1", from_store=from_store)
    base = StoreRecipe(flow=learned)
    flow = choose_recipe(tmp_path / "S", ("flow",), overrides, base).flow
    assert flow == FlowRecipe(source=source, grey=grey)
