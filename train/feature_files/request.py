"""Make the request of a run from what the user asked for, on the command line or in Python.

`FileRequest` has a value for everything. `RequestOptions` has what was given; the rest is that of
the convention, of the network, or a default.
"""

from dataclasses import replace
from typing import Any

from flowkit.errors import UsageError
from flowkit.extraction import RecipeOverrides
from flowkit.extraction.recipe_overrides import FLOW_OPTIONS, choose_flow, choose_resize
from flowkit.path_text import printable_path
from flowkit.recipe import FlowRecipe, Resize, StoreRecipe
from flowkit.store import Store
from flowkit.streams import StreamName
from train.feature_files.convention import Convention
from train.feature_files.conventions import find_convention
from train.feature_files.networks import choose_networks
from train.feature_files.request_options import RequestOptions
from train.feature_files.run import FileRequest
from train.feature_files.windows import WindowSampling
from train.features.network_loading import load_feature_network

WINDOW = 16
"""Frames of a window of clips, unless an option says otherwise."""
SHORT_SIDE = 256
"""Shorter side of the frames in pixels, unless an option says otherwise."""
WINDOW_OPTIONS = {
    "length": "window", "stride": "stride", "step": "clip_stride", "placement": "placement",
    "last_frame": "last_frame",
}  # fmt: skip
"""Field of `WindowSampling` → field of `RequestOptions`."""


def make_request(options: RequestOptions) -> FileRequest:
    """Choose the networks, the windows and the frames.

    Args:
        options: What the user asked for, with the settings of a convention; see `apply_convention`.

    Raises:
        UsageError: An option is missing, or options contradict one another.
    """
    assert options.out is not None
    networks = choose_networks(options)
    are_3d = {name: load_feature_network(network).is_3d for name, network in networks.items()}
    windows = choose_windows(options, any(are_3d.values()))
    return FileRequest(
        out=options.out,
        networks={
            name: replace(network, clip_length=windows.length, clip_stride=windows.step)
            if are_3d[name]
            else network
            for name, network in networks.items()
        },
        windows=windows,
        frames=choose_frames(options, tuple(networks)),
        store=options.store,
        layout="separate" if options.separate else "concatenated",
        precision=options.precision,
        keep_extension=options.keep_extension,
    )


def apply_convention(options: RequestOptions) -> RequestOptions:
    """Return the options with the settings of the convention where none is given.

    Raises:
        UsageError: There is no such convention.
    """
    if options.convention is None:
        return options
    convention = find_convention(options.convention)
    resize_options: dict[str, Any] = {}
    settings: dict[str, Any] = {
        option: getattr(convention.windows, name) for name, option in WINDOW_OPTIONS.items()
    }
    settings |= {"crops": convention.crops, "size": convention.size}
    settings["separate"] = convention.layout == "separate"
    if options.store is None:
        settings["fps"] = convention.fps
        if options.resize is None and options.short_side is None and not options.no_resize:
            resize_options = make_resize_options(convention)
    missing = {name: value for name, value in settings.items() if getattr(options, name) is None}
    return replace(options, **missing, **resize_options)


def describe_unused_settings(options: RequestOptions) -> str | None:
    """Say which settings of a convention have no effect on the images of a store, if any."""
    if options.convention is None or options.store is None:
        return None
    convention, recipe = find_convention(options.convention), Store(options.store).recipe
    settings, resize = [], recipe.resize
    if convention.fps not in (None, recipe.fps):
        settings.append(f"{convention.fps:g} frames/s")
    if convention.frame_size not in (None, (resize.width, resize.height)):
        settings.append("frames of {}x{} pixels".format(*convention.frame_size))
    elif convention.short_side not in (None, resize.side):
        settings.append(f"a shorter side of {convention.short_side} pixels")
    if not settings:
        return None
    return (
        f"note: the images of {printable_path(options.store)} are used as they are stored, without "
        f"{' and '.join(settings)} of --convention {options.convention}"
    )


def make_resize_options(convention: Convention) -> dict[str, Any]:
    """Make the values of the options that resize frames as a convention does."""
    if convention.frame_size is not None:
        return {"resize": "{}x{}".format(*convention.frame_size)}
    if convention.short_side is not None:
        return {"short_side": convention.short_side, "upscale": True}
    return {"no_resize": True}


def choose_windows(options: RequestOptions, has_clips: bool) -> WindowSampling:
    """Choose the windows: the options, or else the defaults.

    Args:
        options: What the user asked for.
        has_clips: Whether a network sees clips, or else all see single images.

    Raises:
        UsageError: A number is too small, or a window of several frames is for images.
    """
    values = {name: getattr(options, option) for name, option in WINDOW_OPTIONS.items()}
    given = {name: value for name, value in values.items() if value is not None}
    if not has_clips and given.get("length", 1) > 1:
        name = options.convention
        origin = f", of --convention {name}" if name else ""
        advice = "a network of clips, or " if name else ""
        raise UsageError(
            f"--window {given['length']}{origin}: networks of images see one frame at a time, "
            f"expected {advice}--window 1"
        )
    given.setdefault("length", WINDOW if has_clips else 1)
    given.setdefault("stride", given["length"])
    return WindowSampling(**given)


def choose_frames(options: RequestOptions, streams: tuple[StreamName, ...]) -> StoreRecipe:
    """Choose how frames and flow are computed; of a store, its recipe.

    Raises:
        UsageError: Options contradict one another, or are about flow and no network reads it.
        FlowError: The learned method cannot run here, or its weights cannot be used.
        FormatError: There is no store.
    """
    if options.store is not None:
        return Store(options.store).recipe
    overrides = RecipeOverrides(
        size=options.resize,
        short_side=options.short_side,
        no_resize=options.no_resize,
        upsize=options.upscale,
        square_pixels=options.square_pixels,
        fps=options.fps,
        preset=options.preset,
        method=options.method,
        flow_weights=options.flow_weights,
        bound=options.bound,
        names=options.option_names,
    )
    default = Resize(mode="short-side", side=SHORT_SIDE)
    flow = None
    if "flow" in streams:
        assert options.out is not None
        flow = choose_flow(options.out, overrides, FlowRecipe(), None)
    elif (option := overrides.find_given(FLOW_OPTIONS)) is not None:
        raise UsageError(f"{option} is for flow, and no network reads flow; leave it out")
    return StoreRecipe(resize=choose_resize(overrides, default), fps=options.fps, flow=flow)
