"""Which recipe a run works by: what was asked for, else the store's own, else the dataset's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flowkit.errors import RecipeError, UsageError
from flowkit.flow import PRESETS
from flowkit.recipe import AudioRecipe, FlowRecipe, Recipe, Resize, RGBRecipe, Subsampling
from flowkit.store import read_header


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a person asked of the recipe; None where nothing was said."""

    size: str | None = None  # "256x256"
    short_side: int | None = None
    no_resize: bool = False
    upsize: bool = False
    fps: float | None = None
    preset: str | None = None
    bound: float | None = None
    rgb_quality: int | None = None
    flow_quality: int | None = None
    subsampling: Subsampling | None = None


def choose_recipe(
    root: Path, streams: tuple[str, ...], wishes: Wishes, base: Recipe | None = None
) -> Recipe:
    """The recipe for ``streams`` at the store ``root``.

    The same command can be given again without repeating what the store knows: a wish that
    was not uttered takes the store's value, in a new store that of ``base`` (the dataset's),
    then the default. A wish that contradicts the store is left in, and refused when the
    store is opened.
    """
    base = base or Recipe()
    exists = (root / "store.json").exists()
    common = read_header(root).recipe if exists else replace(base, rgb=None, flow=None, audio=None)
    own = common.joined(base)
    fps = wishes.fps if wishes.fps is not None else own.fps
    recipe = replace(common, resize=choose_resize(wishes, own.resize), fps=fps)
    if "rgb" in streams:
        rgb = own.rgb or RGBRecipe()
        rgb_wishes = {"quality": wishes.rgb_quality, "subsampling": wishes.subsampling}
        recipe = replace(recipe, rgb=replace(rgb, **uttered(rgb_wishes)))
    if "flow" in streams:
        flow = own.flow or FlowRecipe()
        flow_wishes = {
            "tvl1": None if wishes.preset is None else PRESETS[wishes.preset],
            "bound": wishes.bound,
            "quality": wishes.flow_quality,
        }
        if flow.tvl1 is None:
            raise RecipeError(
                f"the flow of {root} was imported ({flow.grey}), and its solver is unknown: "
                "expected --streams without flow, or another store"
            )
        recipe = replace(recipe, flow=replace(flow, **uttered(flow_wishes)))
    if "audio" in streams:
        recipe = replace(recipe, audio=own.audio or AudioRecipe())
    return recipe


def choose_resize(wishes: Wishes, own: Resize) -> Resize:
    asked = [wishes.size is not None, wishes.short_side is not None, wishes.no_resize]
    if sum(asked) > 1:
        raise UsageError("--size, --short-side and --no-resize exclude one another; give one")
    if wishes.upsize and wishes.short_side is None:
        raise UsageError("--upsize says how --short-side treats smaller videos; give both")
    if wishes.size is not None:
        width, height = parse_size(wishes.size)
        return Resize(mode="exact", width=width, height=height, filter=own.filter)
    if wishes.short_side is not None:
        return Resize(
            mode="short-side", side=wishes.short_side, upsize=wishes.upsize, filter=own.filter
        )
    return Resize(mode="none", filter=own.filter) if wishes.no_resize else own


def parse_size(text: str) -> tuple[int, int]:
    """``256x256`` or ``256×256`` → (width, height) in pixels."""
    try:
        width, height = (int(word) for word in text.lower().replace("×", "x").split("x"))
    except ValueError:
        raise UsageError(
            f"expected a size such as 256x256 (width x height), got {text!r}"
        ) from None
    return width, height


def uttered(wishes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wishes.items() if value is not None}
