"""Describe how the recipes of two runs into one folder differ, by the options that decide it."""

from collections.abc import Iterator, Mapping
from typing import Any

from flowkit.flow.params import PRESETS
from flowkit.recipe.recipe import compare_values
from flowkit.streams import STREAMS

Values = Mapping[str, Any]
"""JSON values by name, as `FileRecipe.to_dict` returns them."""
OPTIONS = {
    "windows.length": "--window",
    "windows.stride": "--stride",
    "windows.step": "--clip-stride",
    "windows.placement": "--placement",
    "windows.last_frame": "--last-frame",
    "frames.fps": "--fps",
    "frames.flow.bound": "--bound",
    "frames.flow.method": "--method",
    "frames.flow.weights": "--flow-weights",
    "precision": "--precision",
    "keep_extension": "--keep-extension",
}
"""Options by the value of the recipe that each decides alone."""
SOURCES = {"videos": "video files", "store": "a store"}
"""What a message calls each source of images."""


def describe_differences(own: Values, requested: Values) -> list[str]:
    """Describe what differs, in words of the command line.

    Args:
        own: The recipe of the folder.
        requested: The recipe of this run.

    Returns:
        One phrase for each difference, such as "--stride was 4 and is now 8".
    """
    return [
        f"{name} was {before} and is now {now}" for name, before, now in _compare(own, requested)
    ]


def _compare(own: Values, requested: Values) -> Iterator[tuple[str, str, str]]:
    """Yield a name and both values of each difference."""
    before, now = ({**values, "frames": {**values["frames"]}} for values in (own, requested))
    for name in ("format", "layout"):
        if before[name] != now[name]:
            yield f"the {name} of the files", str(before[name]), str(now[name])
        del before[name], now[name]
    yield from _compare_networks(before.pop("networks"), now.pop("networks"))
    images = [values.pop("images") for values in (before, now)]
    if images[0].keys() == images[1].keys() and before["windows"] == now["windows"]:
        for stream in images[0]:
            if images[0][stream] != images[1][stream]:
                name = f"the number of images that the network of {stream} sees"
                yield name, str(images[0][stream]), str(images[1][stream])
    old_source, new_source = (SOURCES[recipe.pop("source")] for recipe in (before, now))
    if old_source != new_source:
        yield "the source of the images", old_source, new_source
        for recipe in (before, now):  # what a store says about its JPEGs, videos do not
            del recipe["frames"]["rgb"], recipe["frames"]["flow"]
    yield from _compare_frames(before["frames"], now["frames"])
    for line in compare_values(before, now, ""):
        name, _, values = line.partition(": ")
        first, _, second = values.partition(" ≠ ")
        yield OPTIONS.get(name, name), _format(first), _format(second)


def _compare_networks(own: Values, requested: Values) -> Iterator[tuple[str, str, str]]:
    """Compare the networks: their streams, or else what the network of each stream is."""
    if own.keys() != requested.keys():
        yield "the set of streams", " and ".join(own), " and ".join(requested)
        return
    for stream, before in own.items():
        now = requested[stream]
        if before["model"] != now["model"]:
            yield f"the network of {stream}", before["model"], now["model"]
        elif before["weights"] != now["weights"]:
            old, new = (f"{values['weights'][:8]}…" for values in (before, now))
            yield f"the digest of the weights of {stream}", old, new
    for key in ("crops", "size"):
        values = [[network[key] for network in networks.values()] for networks in (own, requested)]
        if values[0] != values[1]:
            old, new = (" and ".join(map(str, dict.fromkeys(value))) for value in values)
            yield f"--{key}", old, new


def _compare_frames(own: dict[str, Any], requested: dict[str, Any]) -> Iterator[Any]:
    """Compare the size of the frames and their flow; remove what was compared."""
    sizes = [describe_resize(values.pop("resize")) for values in (own, requested)]
    if sizes[0] != sizes[1]:
        yield "the size of the frames (--short-side, --resize)", *sizes
    for stream in STREAMS:
        if own.get(stream) is None or requested.get(stream) is None:
            own.pop(stream, None)  # the streams or the sources were named
            requested.pop(stream, None)
    if "flow" not in own:
        return
    flows = [dict(values["flow"]) for values in (own, requested)]
    own["flow"], requested["flow"] = flows
    presets = [describe_parameters(flow.pop("tvl1")) for flow in flows]
    if presets[0] != presets[1] and None not in presets:
        yield "--preset", *presets


def describe_resize(resize: Values) -> str:
    """Describe how frames are resized, such as "256 on the shorter side"."""
    size = {
        "exact": f"{resize['width']}x{resize['height']}",
        "short-side": f"{resize['side']} on the shorter side",
        "none": "that of each video",
    }[resize["mode"]]
    size += " (--upscale)" if resize["upsize"] else ""
    size += " (--square-pixels)" if resize.get("square_pixels") else ""
    return size if resize["filter"] == "area" else f"{size} by a {resize['filter']} filter"


def describe_parameters(parameters: Values | None) -> str | None:
    """Describe the parameters of TV-L1 by their preset; None if another method is used."""
    if parameters is None:
        return None
    names = [name for name, preset in PRESETS.items() if preset.to_dict() == dict(parameters)]
    return names[0] if names else str(dict(parameters))


def _format(value: str) -> str:
    """Format a value of the recipe as an option would be given."""
    return {"None": "not given", "True": "given", "False": "not given"}.get(value, value)
