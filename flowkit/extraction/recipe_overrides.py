"""Choose the store recipe of a run: what the user set, else the store's, else the dataset's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flowkit.errors import RecipeError, UsageError
from flowkit.extraction.learned_flow import check_stored_size
from flowkit.flow.learned.registry import find_method
from flowkit.flow.learned.weights import choose_weights
from flowkit.flow.params import PRESETS, resolve_params
from flowkit.path_text import printable_path
from flowkit.recipe import FlowRecipe, LogMelRecipe, Resize, RGBRecipe, StoreRecipe, Subsampling
from flowkit.store import read_header
from flowkit.streams import STREAMS

TVL1 = FlowRecipe().method
"""Name of the method that is not learned."""
NO_GREY = "none (RGB)"
"""What the recipe of a learned method says about the conversion to grey."""
STORED_RGB = {"source": "stored rgb", "grey": "opencv-rgb2gray of the stored RGB JPEG"}
"""Values of the flow recipe if flow is computed from the RGB frames of the store."""
RGB_OPTIONS = ("rgb_quality", "subsampling", "keep_jpegs")
"""Values that have an effect only where RGB is extracted."""
FLOW_OPTIONS = ("method", "flow_weights", "preset", "bound", "step", "flow_quality")
"""Values that have an effect only where flow is extracted."""


@dataclass(frozen=True, kw_only=True)
class RecipeOverrides:
    """Values of the store recipe that the user set; None for values that were not set."""

    size: str | None = None
    """Width and height of the stored frames, such as ``256x256``."""
    short_side: int | None = None
    """Shorter side of the stored frames in pixels; the aspect ratio is kept."""
    no_resize: bool = False
    """Whether frames are stored at the size of the video."""
    upsize: bool = False
    """Whether ``short_side`` also enlarges smaller videos."""
    square_pixels: bool = False
    """Whether frames of non-square pixels are stretched to their true aspect ratio."""
    fps: float | None = None
    """Frames per second to resample to."""
    preset: str | None = None
    """Name of the optical-flow preset."""
    method: str | None = None
    """Name of the optical-flow method: ``tvl1`` or a learned one."""
    flow_weights: Path | None = None
    """Weight file of a learned method; None for the file in PyTorch's cache."""
    bound: float | None = None
    """Displacement in pixels beyond which flow is clipped."""
    rgb_quality: int | None = None
    """JPEG quality of the RGB frames, 1–100."""
    flow_quality: int | None = None
    """JPEG quality of the flow images, 1–100."""
    step: int | None = None
    """Frames from a frame to the one that its flow leads to; below 0 for backward flow, never 0."""
    subsampling: Subsampling | None = None
    """Chroma subsampling of the RGB frames."""
    keep_jpegs: bool = False
    """Whether JPEG files of frame folders keep their bytes where the recipe allows it."""
    from_store: bool = False
    """Whether flow is computed from the RGB frames of the store."""
    names: Mapping[str, str] = field(default_factory=dict)
    """How messages call a value, by its name here; the others are called as the options of `flowkit
    extract`, such as ``--short-side``."""

    def name_option(self, name: str) -> str:
        """Return how messages call a value."""
        option = "upscale" if name == "upsize" else name
        return self.names.get(name, f"--{option.replace('_', '-')}")

    def find_given(self, names: Sequence[str]) -> str | None:
        """Return how messages call the first of some values that was set; None if none was."""
        values = ((name, getattr(self, name)) for name in names)
        given = (name for name, value in values if value is not None and value is not False)
        return next(map(self.name_option, given), None)


def choose_recipe(
    root: Path,
    streams: tuple[str, ...],
    overrides: RecipeOverrides,
    base: StoreRecipe | None = None,
) -> StoreRecipe:
    """Choose the store recipe of a run.

    A value that the user did not set is that of the store; in a new store it is that of ``base``,
    or else the default. A command can thus be repeated without its options. Where ``size``,
    ``short_side`` or ``no_resize`` is set, ``upsize`` and ``square_pixels`` are false unless they
    are set too. Among the values that differ from the store, only method and weights of flow are
    refused here; `create_or_open` refuses the others later.

    Args:
        root: Folder of the store.
        streams: The streams to extract.
        overrides: Values that the user set.
        base: Recipe of the dataset.

    Raises:
        RecipeError: Flow is requested, but the store's flow was imported, or computed with another
            method or other weights.
        UsageError: The options contradict one another, or are about a stream that is neither
            extracted nor in the store.
        FlowError: The learned method cannot run here, or its weights cannot be used.
    """
    base = base or StoreRecipe()
    exists = (root / "store.json").exists()
    no_streams: dict[str, Any] = dict.fromkeys(STREAMS)
    common = read_header(root).recipe if exists else replace(base, **no_streams)
    defaults = common.extended_with(base)
    fps = overrides.fps if overrides.fps is not None else defaults.fps
    recipe = replace(common, resize=choose_resize(overrides, defaults.resize), fps=fps)
    check_stream_options(streams, common, overrides)
    if "rgb" in streams:
        recipe = replace(recipe, rgb=choose_rgb(overrides, defaults.rgb))
    if "flow" in streams:
        flow = choose_flow(root, overrides, defaults.flow, common.flow)
        check_stored_size(flow, recipe.resize)
        recipe = replace(recipe, flow=flow)
    if "audio" in streams:
        audio = defaults.audio or LogMelRecipe()
        if common.audio is None:
            audio.check()
        recipe = replace(recipe, audio=audio)
    return recipe


def check_stream_options(
    streams: tuple[str, ...], stored: StoreRecipe, overrides: RecipeOverrides
) -> None:
    """Check that no value was set that has no effect, since its stream is not extracted.

    The stream may be in the store: videos whose source has changed are then extracted again with
    all their streams.

    Args:
        streams: The streams to extract.
        stored: Recipe of the store.
        overrides: Values that the user set.

    Raises:
        UsageError: A value has no effect.
    """
    for stream, names in (("rgb", RGB_OPTIONS), ("flow", FLOW_OPTIONS)):
        option = overrides.find_given(names)
        if option is not None and stream not in streams and getattr(stored, stream) is None:
            raise UsageError(
                f"{option} is for {stream}, and {overrides.name_option('streams')} does not "
                f"name {stream}: leave out one of them"
            )


def choose_rgb(overrides: RecipeOverrides, default: RGBRecipe | None) -> RGBRecipe:
    """Choose how RGB is stored: the options, or else the store's or the dataset's values."""
    rgb_overrides = {
        "quality": overrides.rgb_quality,
        "subsampling": overrides.subsampling,
        "keep": overrides.keep_jpegs or None,
    }
    return replace(default or RGBRecipe(), **without_unset(rgb_overrides))


def choose_flow(
    root: Path,
    overrides: RecipeOverrides,
    default: FlowRecipe | None,
    stored: FlowRecipe | None,
) -> FlowRecipe:
    """Choose how flow is computed: the options, or else the store's or the dataset's values.

    Args:
        root: Folder of the store.
        overrides: Values that the user set.
        default: The values of the store, or of the dataset for a new store.
        stored: The values of the store; None if it has no flow.

    Raises:
        RecipeError: The store's flow was imported, or computed with another method.
        UsageError: The options contradict one another, or there is no such preset or method.
        FlowError: The learned method cannot run here, or its weights cannot be used.
    """
    flow = default or FlowRecipe()
    if flow.is_imported:
        raise RecipeError(
            f"the flow of {printable_path(root)} was imported ({flow.grey}), and its solver is "
            f"unknown: expected {overrides.name_option('streams')} without flow, or another store"
        )
    flow_overrides = {
        "tvl1": None if overrides.preset is None else resolve_params(overrides.preset),
        "bound": overrides.bound,
        "quality": overrides.flow_quality,
        **(STORED_RGB if overrides.from_store else {}),
        "step": overrides.step,
    }
    flow = replace(flow, **without_unset(flow_overrides))
    return choose_method(root, flow, stored, overrides)


def choose_method(
    root: Path, flow: FlowRecipe, stored: FlowRecipe | None, overrides: RecipeOverrides
) -> FlowRecipe:
    """Choose the method of optical flow of a run.

    Args:
        root: Folder of the store.
        flow: The part of the recipe for flow, with all other options of the user.
        stored: This part in the store; None if the store is new or has no flow.
        overrides: Values that the user set.

    Returns:
        The part with the method, and the digest of its weights if it is learned.

    Raises:
        UsageError: No method has that name, or an option does not belong to the method.
        FlowError: The method cannot run here, or its weights are missing or of another network.
        RecipeError: The store's flow was computed with another method or other weights.
    """
    name, name_option = overrides.method or flow.method, overrides.name_option
    if name != TVL1:
        find_method(name)
        if overrides.preset is not None:
            option = name_option("preset")
            raise UsageError(
                f"{option} {overrides.preset} sets parameters of TV-L1; expected no {option} with "
                f"{name}"
            )
    elif overrides.flow_weights is not None:
        raise UsageError(
            f"{name_option('flow_weights')} is for learned methods; expected "
            f"{name_option('method')} raft_large or raft_small with it"
        )
    if stored is not None and stored.method != name:
        raise RecipeError(
            f"the flow of {printable_path(root)} was computed with another method (flow.method: "
            f"{stored.method} ≠ {name}): leave out {name_option('method')}, or use another store"
        )
    if name == TVL1:
        if not flow.is_learned:
            return flow
        # The dataset's recipe has a learned method.
        params = flow.tvl1 or PRESETS["paper"]
        grey = STORED_RGB["grey"] if flow.source == STORED_RGB["source"] else FlowRecipe().grey
        return replace(flow, method=TVL1, weights="", tvl1=params, grey=grey)
    found = choose_weights(name, overrides.flow_weights)
    if stored is not None and stored.weights != found.digest:
        raise RecipeError(
            f"the flow of {printable_path(root)} was computed with other weights of {name} "
            f"(flow.weights: {stored.weights} ≠ {found.digest} of {printable_path(found.path)}): "
            f"name the former weight file with {name_option('flow_weights')} FILE, or use another "
            "store"
        )
    return replace(flow, tvl1=None, grey=NO_GREY, method=name, weights=found.digest)


def choose_resize(overrides: RecipeOverrides, default: Resize) -> Resize:
    """Choose the resize of a run: that of the options, or else the default.

    Args:
        overrides: Values that the user set.
        default: The resize of the store, or of the dataset for a new store.

    Raises:
        UsageError: The options contradict one another.
    """
    is_set = [overrides.size is not None, overrides.short_side is not None, overrides.no_resize]
    size, short_side, no_resize, upsize, square_pixels = map(
        overrides.name_option, ("size", "short_side", "no_resize", "upsize", "square_pixels")
    )
    if sum(is_set) > 1:
        raise UsageError(f"{size}, {short_side} and {no_resize} exclude one another; give one")
    if overrides.upsize and overrides.short_side is None:
        raise UsageError(f"{upsize} has an effect only with {short_side}; give both")
    square = overrides.square_pixels
    if square and (overrides.size is not None or (not any(is_set) and default.mode == "exact")):
        raise UsageError(
            f"{square_pixels} has an effect only with {short_side} or {no_resize}; give one of them"
        )
    if overrides.size is not None:
        width, height = parse_size(overrides.size)
        return Resize(mode="exact", width=width, height=height, filter=default.filter)
    if overrides.short_side is not None:
        return Resize(
            mode="short-side",
            side=overrides.short_side,
            upsize=overrides.upsize,
            filter=default.filter,
            square_pixels=square,
        )
    if overrides.no_resize:
        return Resize(mode="none", filter=default.filter, square_pixels=square)
    return replace(default, square_pixels=True) if square else default


def parse_size(text: str) -> tuple[int, int]:
    """Parse ``256x256`` or ``256×256`` to (width, height) in pixels."""
    try:
        width, height = (int(word) for word in text.lower().replace("×", "x").split("x"))
    except ValueError:
        message = f"expected a size such as 256x256 (width x height), got {text!r}"
        raise UsageError(message) from None
    return width, height


def without_unset(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are not None."""
    return {name: value for name, value in overrides.items() if value is not None}
