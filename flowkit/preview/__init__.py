"""Draw videos of a store: strips, contact sheets and grids as PNG, side-by-side video as MP4.

RGB is drawn above (or left of) flow, which uses the colour wheel of Baker et al. (IJCV 2011): hue
is direction, saturation is length. All flow fields of a video share one scale, which is the 99th
percentile of displacement lengths over a sample of its fields, but at least 1 pixel, so that noise
in a still scene stays pale. The legend states the scale. Longer displacements are drawn darker.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from flowkit.errors import UsageError
from flowkit.flow.color import flow_to_color
from flowkit.preview.canvas import (
    DARK_GREY,
    GAP,
    LIGHT_GREY,
    crop_square,
    make_canvas,
    measure_text,
    resize,
    stack_horizontally,
    stack_vertically,
    write_png,
    write_text,
)
from flowkit.preview.film import write_film
from flowkit.store.reader import Store
from flowkit.store.video import Video

TILE = 144
"""Height of a tile in a strip, in pixels."""
FRAME_GREY = 228
"""Grey of the frame around flow tiles, without which still scenes would be white on white."""
HEADER = 58
"""Height of the captions above the tiles of a strip, in pixels."""
SCALE_FIELDS = 16
"""Flow fields that are sampled to find the colour scale of a video."""
GRID_TILE = 104
"""Height and width of a tile in a grid, in pixels."""


def preview(video: Video, out: Path | str, *, count: int = 8) -> Path:
    """Draw one video.

    Args:
        video: Video of a store.
        out: File to write: a .png shows evenly spaced frames, a .mp4 shows the whole video.
        count: Number of frames in a .png.

    Returns:
        The path of the file.

    Raises:
        UsageError: If the video has neither RGB nor flow, or the file has another extension.
        StoreError: If the file cannot be written.

    Example:
        >>> preview(Store("stores/ucf101")["v_Archery_g01_c01"], "archery.png")
        PosixPath('archery.png')
    """
    out = Path(out)
    if out.suffix.lower() == ".mp4":
        has_rgb, has_flow = find_drawable_streams(video)
        return write_film(video, out, has_rgb, has_flow, measure_radius(video))
    return write_png(draw_strip(video, count), out)


def preview_sheet(
    store: Store, ids: Iterable[str], out: Path | str, *, count: int = 6, columns: int | None = None
) -> Path:
    """Draw a contact sheet of several videos, one strip of frames for each video.

    Args:
        store: Store that holds the videos.
        ids: Ids of the videos; at least one.
        out: The .png file to write.
        count: Number of frames in a strip.
        columns: Number of columns of strips, which are filled row by row. Default: 2 for more than
            four strips, else 1.

    Returns:
        The path of the file.

    Raises:
        UsageError: If an id is unknown, there are no ids, or ``out`` is not a .png.
        StoreError: If the file cannot be written.
    """
    if Path(out).suffix.lower() == ".mp4":
        raise UsageError(f"an .mp4 shows one video: name one id for {out}, or write a .png")
    strips = [draw_strip(store[id], count) for id in ids]
    if not strips:
        raise UsageError("a contact sheet needs at least one video; none was given")
    columns = columns or (2 if len(strips) > 4 else 1)
    rows = [strips[start : start + columns] for start in range(0, len(strips), columns)]
    return write_png(stack_vertically([stack_horizontally(row) for row in rows]), Path(out))


def preview_grid(store: Store, ids: Iterable[str], out: Path | str) -> Path:
    """Draw the middle frame of several videos side by side, each above its flow.

    The flow of each video has its own colour scale.

    Args:
        store: Store that holds the videos.
        ids: Ids of the videos; at least one.
        out: The .png file to write.

    Returns:
        The path of the file.

    Raises:
        UsageError: If an id is unknown, a video lacks RGB or flow, or ``out`` is not a .png.
        StoreError: If the file cannot be written.
    """
    if Path(out).suffix.lower() == ".mp4":
        raise UsageError(f"a grid is one picture, not a film: write a .png instead of {out}")
    videos = [store[id] for id in ids]
    if not videos or not all(all(find_drawable_streams(video)) for video in videos):
        raise UsageError("a grid needs videos with RGB and flow; name some that have both")
    side, step = GRID_TILE, GRID_TILE + GAP
    canvas = make_canvas(2 * step + 16, len(videos) * step - GAP)
    for n, video in enumerate(videos):
        t, left = video.flow_frames[video.num_flow // 2], n * step
        colours = flow_to_color(video.flow(t), measure_radius(video))
        for top, image in ((0, video.rgb(t)), (step, colours)):
            canvas[top : top + side, left : left + side] = resize(crop_square(image), side, side)
        caption = video.labels[0].name if video.labels else video.id
        indent = max(0, side - measure_text(caption, 12)) // 2
        write_text(canvas, caption, (left + indent, 2 * step + 12), 12, DARK_GREY)
    return write_png(canvas, Path(out))


def choose_video_per_class(store: Store, limit: int = 8) -> list[str]:
    """Choose the first video of each class.

    Args:
        store: Store that holds the videos.
        limit: Maximum number of videos.

    Returns:
        Ids of the videos; without any labels, the first videos of the store.
    """
    id_by_class: dict[str, str] = {}
    for id in store:
        if len(id_by_class) >= min(limit, len(store.classes)):
            break
        for label in store[id].labels:
            id_by_class.setdefault(label.name, id)
    return list(dict.fromkeys(id_by_class.values()))[:limit] or list(store.ids[:limit])


def draw_strip(video: Video, count: int) -> np.ndarray:
    """Draw evenly spaced frames of one video, with its id, labels and sizes.

    Args:
        video: Video of a store.
        count: Number of frames.

    Returns:
        (height, width, 3) uint8 RGB image without margin.

    Raises:
        UsageError: If the video has neither RGB nor flow.
    """
    has_rgb, has_flow = find_drawable_streams(video)
    # The last frame has no flow field, so it is not chosen if flow is drawn.
    drawable = video.flow_frames or range(video.num_frames)
    frames = [drawable[k] for k in space_evenly(len(drawable), count)]
    radius = measure_radius(video)
    times = video.times() if video.fps > 0 else np.empty(0)
    width = max(1, round(TILE * video.width / video.height))
    bottom = HEADER + (has_rgb + has_flow) * (TILE + GAP) - GAP
    right = len(frames) * (width + GAP) - GAP
    canvas = make_canvas(bottom + 22, max(right + (GAP * 3 + TILE if has_flow else 0), 480))
    write_captions(canvas, video)
    for n, t in enumerate(frames):
        left, tiles = n * (width + GAP), []
        if has_rgb:
            tiles.append(resize(video.rgb(t), width, TILE))
        if has_flow:
            tiles.append(np.full((TILE, width, 3), FRAME_GREY, np.uint8))
            if t in video.flow_frames:
                colours = resize(flow_to_color(video.flow(t), radius), width, TILE)
                tiles[-1][1:-1, 1:-1] = colours[1:-1, 1:-1]
        for row, tile in enumerate(tiles):
            top = HEADER + row * (TILE + GAP)
            canvas[top : top + TILE, left : left + width] = tile
        seconds = f"   {times[t]:.2f} s" if len(times) else ""
        caption = f"{'' if n else 'frame '}{t}{seconds}"
        write_text(canvas, caption, (left, bottom + 16), 12, LIGHT_GREY)
    if has_flow:
        legend = describe_radius(radius, video.num_frames - video.num_flow)
        draw_wheel(canvas, right + GAP * 3, bottom - TILE, TILE, legend)
    return canvas


def write_captions(canvas: np.ndarray, video: Video) -> None:
    """Write id, labels, counts, size, frame rate and subsets of a video above its tiles.

    Args:
        canvas: (height, width, 3) uint8 image to write into.
        video: Video of a store.
    """
    labels = ", ".join(dict.fromkeys(label.name for label in video.labels))
    end = write_text(canvas, video.id, (0, 20), 20, DARK_GREY, bold=True)
    if labels and labels != video.id:
        write_text(canvas, labels, (end + 14, 20), 20, LIGHT_GREY)
    facts = [f"{video.num_frames} frames of {video.width}×{video.height}"]
    if video.fps > 0:
        facts.append(f"{video.fps:.4g} fps")
    if video.subsets:
        facts.append(", ".join(video.subsets))
    write_text(canvas, " · ".join(facts), (0, 44), 14, LIGHT_GREY)


def find_drawable_streams(video: Video) -> tuple[bool, bool]:
    """Find which streams of a video can be drawn.

    Args:
        video: Video of a store.

    Returns:
        Whether the video has RGB, and whether it has flow.

    Raises:
        UsageError: If it has neither.
    """
    present = "rgb" in video.streams, "flow" in video.streams
    if not any(present):
        raise UsageError(f"{video.id} has neither frames nor flow to show")
    return present


def describe_radius(radius: float, step: int) -> str:
    """Describe the displacement at the rim of the colour wheel.

    Args:
        radius: The displacement in pixels.
        step: Frames between a frame and the one that its flow leads to, at least 1.
    """
    return f"rim: {radius:.2g} px {'per frame' if step == 1 else f'in {step} frames'}"


def draw_wheel(canvas: np.ndarray, left: int, top: int, side: int, text: str) -> None:
    """Draw the colour wheel as a legend.

    Args:
        canvas: (height, width, 3) uint8 image to draw into.
        left: First column of the legend.
        top: First row of the legend.
        side: Width of the legend in pixels.
        text: What the rim of the wheel means.
    """
    size = side - 34
    pad = (side - size) // 2
    axis = (np.arange(size * 2, dtype=np.float32) + 0.5) / size - 1
    field = np.stack(np.meshgrid(axis, axis), axis=-1)
    inside = np.hypot(field[..., 0], field[..., 1]) <= 1
    colours = flow_to_color(np.where(inside[..., None], field, 0), 1.0)
    colours[~inside] = 255
    canvas[top : top + size, left + pad : left + pad + size] = resize(colours, size, size)
    width = measure_text(text, 12)
    write_text(canvas, text, (left + (side - width) // 2, top + size + 20), 12, LIGHT_GREY)


def space_evenly(length: int, count: int) -> list[int]:
    """Choose evenly spaced frames: the middle one of each of several equal parts of a video.

    Args:
        length: Number of frames of the video.
        count: Number of frames to choose.

    Returns:
        Indices of ``count`` frames, or of all if there are fewer.
    """
    count = min(count, length)
    return [(2 * n + 1) * length // (2 * count) for n in range(count)]


def measure_radius(video: Video) -> float:
    """Measure the displacement that is drawn with full saturation.

    Args:
        video: Video of a store.

    Returns:
        The 99th percentile of displacement lengths in pixels, at least 1; 1 without flow.
    """
    lengths = [
        np.hypot(field[..., 0], field[..., 1]).ravel()
        for field in (
            video.flow(video.flow_frames[k]) for k in space_evenly(video.num_flow, SCALE_FIELDS)
        )
    ]
    return max(1.0, float(np.percentile(np.concatenate(lengths), 99))) if lengths else 1.0
