"""Draw attention maps over pictures: heat, arrows from the query, and shares over a clip.

The heat of all pictures of a query has one scale, from black (no weight) to yellow (the highest
weight of this query), so that the frames of a clip can be compared.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from train.report.figures.attention_maps import (
    F32,
    AttentionMap,
    choose_frame,
    list_arrows,
    split_frames,
)
from train.report.figures.drawing import (
    ACCENTS,
    draw_image,
    escape_dollars,
    make_figure,
    make_grid,
    shorten_id,
    write_beside,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAVIEST = 3
"""Steps of a clip that are shown for each query, those with the most weight."""
ARROW_COLOUR = "#56B4E9"  # also seen by the colour-blind; no colour of the heat is near it
NAMES = {"rgb": "RGB", "flow": "flow"}
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class VideoPictures:
    """What is drawn of one video."""

    id: str
    """Id of the video."""
    pictures: dict[str, torch.Tensor]
    """uint8 images by stream, what a network sees: (C, H, W) of a snippet, (C, T, H, W) of a
    clip."""
    times: npt.NDArray[np.int64]
    """(T,) frames of the video that they show; of a snippet, its first."""
    maps: dict[str, AttentionMap]
    """Attention maps by title."""
    bound: float
    """Bound of the store's flow in pixels."""

    def draw_picture(self, stream: str, frame: int = 0) -> npt.NDArray[np.uint8]:
        """Draw an image of a stream, for a clip that of a frame (counted from 0 in the clip)."""
        images = self.pictures[stream]
        return draw_image(images if images.ndim == 3 else images[:, frame], self.bound)


def draw_snippets(videos: list[VideoPictures], points: Points) -> tuple["Figure", str]:
    """Draw a row for each video: frame, flow, and for each point the maps beside each other.

    Args:
        videos: The videos, with maps over (h, w).
        points: Query points (x, y), as fractions of width and height.

    Returns:
        The figure, and the end of its caption.
    """
    streams = list(videos[0].pictures)
    figure, axes = make_grid(len(videos), len(streams) + len(points) * len(videos[0].maps))
    for row_axes, video in zip(axes, videos, strict=True):
        for cell_axes, stream in zip(row_axes, streams, strict=False):
            cell_axes.imshow(video.draw_picture(stream))
            cell_axes.set_title(f"{NAMES[stream]}, frame {video.times[0]}", fontsize=6)
        write_beside(row_axes[0], shorten_id(video.id, 28), -0.06, 0.5, "center")
        cells = [(title, point) for point in points for title in video.maps]
        picture = video.draw_picture(streams[0])
        for cell_axes, (title, point) in zip(row_axes[len(streams) :], cells, strict=True):
            attention = video.maps[title]
            query = attention.find_query(point)
            weights = attention.read_weights(query)
            start = place_cell(picture, query, attention.query)
            draw_map(cell_axes, picture, weights, start, float(weights.max()))
            cell_axes.plot(*start, "o", color="white", ms=3)
            cell_axes.set_title(escape_dollars(title), fontsize=6)
    shown = " and ".join(NAMES[stream] for stream in streams)
    return figure, (
        f"{shown} as the network sees them, and the attention map of each query point (white dot), "
        "with arrows to the positions of highest weight."
    )


def draw_clips(videos: list[VideoPictures], points: Points) -> tuple["Figure", str]:
    """Draw a row for each query of a clip: its frame, the heaviest frames, and the shares of all.

    Args:
        videos: The videos, with maps over (t, h, w).
        points: Query points (x, y), as fractions of width and height. The query is in the middle
            step of the clip.

    Returns:
        The figure, and the end of its caption.
    """
    streams = list(videos[0].pictures)
    queries = [
        (video, title, point) for video in videos for point in points for title in video.maps
    ]  # fmt: skip
    steps = max(attention.key[0] for video in videos for attention in video.maps.values())
    shown = min(HEAVIEST, steps)
    figure, axes = make_figure(
        1.8 * (len(streams) + shown) + 2.4, 1.75 * len(queries), squeeze=False,
        nrows=len(queries), ncols=len(streams) + shown + 1,
        gridspec_kw={"width_ratios": [1.0] * (len(streams) + shown) + [1.2]},
    )  # fmt: skip
    for row_axes, (video, title, point) in zip(axes, queries, strict=True):
        for cell_axes in row_axes[:-1]:
            cell_axes.set_axis_off()
        draw_query(row_axes, video, title, point, shown)
    words = (
        f"a point (white dot) of a frame, in {' and '.join(NAMES[s] for s in streams)}, and the "
        f"{shown} steps of the clip that have the most weight, each with its share, the frames "
        "that it stands for, and arrows to the positions of highest weight. Bars: the share of "
        "every step; the query's own is orange."
    )
    return figure, words


def draw_query(
    row_axes: Any, video: VideoPictures, title: str, point: tuple[float, float], shown: int
) -> None:
    """Draw the row of one query of a clip.

    Args:
        row_axes: Axes of the row: one for each stream, those of the heaviest steps, and the bars.
        video: The video.
        title: Title of the map.
        point: Query point (x, y), as fractions of width and height.
        shown: Number of the heaviest steps to show.
    """
    attention, streams = video.maps[title], list(video.pictures)
    query = attention.find_query(point)
    query_frames = split_frames(len(video.times), attention.query[0])
    key_frames = split_frames(len(video.times), attention.key[0])
    weights = attention.read_weights(query)
    shares = weights.sum(axis=(1, 2))
    frame = choose_frame(query_frames[query[0]])
    for cell_axes, stream in zip(row_axes, streams, strict=False):
        picture = video.draw_picture(stream, frame)
        start = place_cell(picture, query, attention.query)
        cell_axes.imshow(picture)
        cell_axes.plot(*start, "o", color="white", mec="black", ms=5)
        cell_axes.set_title(f"query: {NAMES[stream]}, frame {video.times[frame]}", fontsize=7)
    name = f"{shorten_id(video.id, 24)}\n{escape_dollars(title)}"
    write_beside(row_axes[0], name, -0.06, 0.5, "center")
    own_step = query[0] if attention.query[0] == attention.key[0] else None
    heaviest = np.argsort(-shares, kind="stable")[:shown].tolist()
    for cell_axes, step in zip(row_axes[len(streams) : -1], heaviest, strict=False):
        picture = video.draw_picture(streams[0], choose_frame(key_frames[step]))
        start = place_cell(picture, query, attention.query)
        draw_map(cell_axes, picture, weights[step], start, float(weights.max()))
        is_own = step == own_step
        face = "white" if is_own else "none"
        cell_axes.plot(*start, "o", color=face, mec="white", ms=4)
        named = name_frames(video.times, key_frames[step])
        own = " (query's)" if is_own else ""
        cell_axes.set_title(f"{100 * shares[step]:.0f} %: {named}{own}", fontsize=7)
    names = [name_frames(video.times, frames, "") for frames in key_frames]
    draw_shares(row_axes[-1], shares, names, own_step)


def draw_shares(axes: Any, shares: F32, names: list[str], own_step: int | None) -> None:
    """Draw a bar for the share of each step; that of the query, if any, has another colour."""
    colours = [ACCENTS[1] if step == own_step else ACCENTS[0] for step in range(len(shares))]
    axes.bar(np.arange(len(shares)), 100 * shares, 0.8, color=colours)
    every = -(-len(names) // 8)
    ticks = list(range(0, len(names), every))
    axes.set_xticks(ticks, [names[tick] for tick in ticks], fontsize=6)
    if max(map(len, names)) * len(ticks) > 24:
        axes.tick_params(axis="x", labelrotation=45)
    axes.tick_params(axis="y", labelsize=6)
    axes.set_title("share of the weight by frames, %", fontsize=7)
    axes.set_ylim(bottom=0)


def name_frames(times: npt.NDArray[np.int64], frames: range, word: str = "frame") -> str:
    """Name the frames of the video that a step stands for, such as ``frames 8–15``."""
    first, last = int(times[frames[0]]), int(times[frames[-1]])
    numbers = f"{first}" if first == last else f"{first}–{last}"
    return f"{word}{'' if first == last else 's'} {numbers}" if word else numbers


def place_cell(
    picture: npt.NDArray[np.uint8], cell: tuple[int, ...], grid: tuple[int, ...]
) -> tuple[float, float]:
    """Return the middle (x, y) of a cell of a grid in pixels of a picture; its step is ignored."""
    height, width = picture.shape[:2]
    return (cell[-1] + 0.5) * width / grid[-1], (cell[-2] + 0.5) * height / grid[-2]


def draw_map(
    axes: Any,
    picture: npt.NDArray[np.uint8],
    weights: F32,
    start: tuple[float, float],
    largest: float,
) -> None:
    """Draw the weights of a query over a picture: heat, and arrows to the highest weights.

    Args:
        axes: The axes.
        picture: The picture.
        weights: (h, w) weights.
        start: The query (x, y) in pixels of the picture.
        largest: The weight whose heat is the lightest, and whose arrow is opaque.
    """
    from matplotlib.patheffects import Normal, Stroke

    height, width = picture.shape[:2]
    heat = cv2.resize(weights, (width, height), interpolation=cv2.INTER_LINEAR)
    axes.imshow(picture)
    axes.imshow(heat, cmap="inferno", alpha=0.55, vmin=0, vmax=largest)
    for y, x, opacity in list_arrows(weights, largest):
        end = place_cell(picture, (y, x), weights.shape)
        outline = [Stroke(linewidth=2.4, foreground="black", alpha=opacity), Normal()]
        arrow = {
            "arrowstyle": "->", "color": ARROW_COLOUR, "lw": 1.2, "alpha": opacity,
            "path_effects": outline,
        }  # fmt: skip
        axes.annotate("", end, start, arrowprops=arrow)
