"""Draw videos of a store: strips, contact sheets and grids as PNG, side-by-side video as MP4.

RGB is drawn above (or left of) flow, which uses the colour wheel of Baker et al. (IJCV 2011): hue
is direction, saturation is length. All flow fields of a video share one scale, which is the 99th
percentile of displacement lengths over a sample of its fields, but at least 1 pixel, so that noise
in a still scene stays pale. The legend states the scale. Longer displacements are drawn darker.
"""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from flowkit.errors import UsageError
from flowkit.flow.color import flow_to_color
from flowkit.store.format.atomic import disk_errors
from flowkit.store.reader import Store
from flowkit.store.video import Video

MARGIN = 28
"""White margin around an image, in pixels."""
GAP = 6
"""Distance between two tiles, in pixels."""
TILE = 144
"""Height of a tile in a strip, in pixels."""
GRID_TILE = 104
"""Height and width of a tile in a grid, in pixels."""
FRAME_GREY = 228
"""Grey of the frame around flow tiles, without which still scenes would be white on white."""
DARK_GREY, LIGHT_GREY = (34, 34, 34), (128, 128, 128)
"""Colours of text, as RGB."""
SCALE_FIELDS = 16
"""Flow fields that are sampled to find the colour scale of a video."""


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
        with disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            return write_mp4(video, out)
    return write_png(stack_vertically([draw_strip(video, count)]), out)


def preview_sheet(
    store: Store,
    ids: Iterable[str],
    out: Path | str,
    *,
    count: int = 6,
    columns: int | None = None,
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
    rows = [strips[first : first + columns] for first in range(0, len(strips), columns)]
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
        UsageError: If an id is unknown, or a video lacks RGB or flow.
        StoreError: If the file cannot be written.
    """
    videos = [store[id] for id in ids]
    if not videos or not all(all(find_drawable_streams(video)) for video in videos):
        raise UsageError("a grid needs videos with RGB and flow; name some that have both")
    side, step = GRID_TILE, GRID_TILE + GAP
    canvas = make_canvas(2 * step + 16, len(videos) * step - GAP)
    for n, video in enumerate(videos):
        t, left = video.num_flow // 2, n * step
        canvas[:side, left : left + side] = resize(crop_square(video.rgb(t)), side, side)
        colours = flow_to_color(video.flow(t), measure_radius(video))
        canvas[step : step + side, left : left + side] = resize(crop_square(colours), side, side)
        caption = video.labels[0].name if video.labels else video.id
        indent = max(0, side - measure_text(caption, 12)) // 2
        write_text(canvas, caption, (left + indent, 2 * step + 12), 12, DARK_GREY)
    return write_png(canvas, Path(out))


def choose_video_per_class(store: Store, limit: int = 8) -> list[str]:
    """Choose the first video of each class.

    Args:
        store: Store that holds the videos.
        limit: Number of videos at most.

    Returns:
        Ids of the videos; without any labels, the first videos of the store.
    """
    first: dict[str, str] = {}
    wanted = min(limit, len(store.classes))
    for id in store:
        if len(first) == wanted:
            break
        for label in store[id].labels:
            first.setdefault(label.name, id)
    return list(dict.fromkeys(first.values()))[:limit] or list(store.ids[:limit])


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
    times = space_evenly(video.num_flow if has_flow and video.num_flow else video.num_frames, count)
    height = TILE
    width = max(1, round(TILE * video.width / video.height))
    radius = measure_radius(video) if has_flow else 0.0
    wheel = TILE if has_flow else 0
    rows = has_rgb + has_flow
    top = 58
    canvas = make_canvas(
        top + rows * (height + GAP) - GAP + 22,
        max(len(times) * (width + GAP) - GAP + (GAP * 3 + wheel if wheel else 0), 480),
    )
    labels = ", ".join(dict.fromkeys(label.name for label in video.labels))
    end = write_text(canvas, video.id, (0, 20), 20, DARK_GREY, bold=True)
    if labels and labels != video.id:
        write_text(canvas, labels, (end + 14, 20), 20, LIGHT_GREY)
    write_text(canvas, describe_video(video), (0, 44), 14, LIGHT_GREY)
    for n, t in enumerate(times):
        left, y = n * (width + GAP), top
        if has_rgb:
            canvas[y : y + height, left : left + width] = resize(video.rgb(t), width, height)
            y += height + GAP
        if has_flow:
            tile = canvas[y : y + height, left : left + width]
            tile[:] = FRAME_GREY
            if t < video.num_flow:
                colours = resize(flow_to_color(video.flow(t), radius), width, height)
                tile[1:-1, 1:-1] = colours[1:-1, 1:-1]
            y += height + GAP
        note = f"{t}" if n else f"frame {t}"
        if video.fps > 0:
            note += f"   {t / video.fps:.2f} s"
        write_text(canvas, note, (left, y - GAP + 16), 12, LIGHT_GREY)
    if has_flow:
        left = len(times) * (width + GAP) + GAP * 2
        y = top + (rows - 1) * (height + GAP)
        draw_wheel(canvas, left, y, wheel, radius)
    return canvas


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


def describe_video(video: Video) -> str:
    """Describe a video in one line: frames, size, frame rate and subsets."""
    parts = [f"{video.num_frames} frames of {video.width}×{video.height}"]
    if video.fps > 0:
        parts.append(f"{video.fps:.4g} fps")
    if video.subsets:
        parts.append(", ".join(video.subsets))
    return " · ".join(parts)


def draw_wheel(canvas: np.ndarray, left: int, top: int, side: int, radius: float) -> None:
    """Draw the colour wheel as a legend, with the length of the displacements at its rim.

    Args:
        canvas: (height, width, 3) uint8 image to draw into.
        left: First column of the legend.
        top: First row of the legend.
        side: Width of the legend in pixels.
        radius: Displacement at the rim of the wheel, in pixels.
    """
    size = side - 34
    pad = (side - size) // 2
    axis = (np.arange(size * 2, dtype=np.float32) + 0.5) / size - 1
    field = np.stack(np.meshgrid(axis, axis), axis=-1)
    inside = np.hypot(field[..., 0], field[..., 1]) <= 1
    colours = flow_to_color(np.where(inside[..., None], field, 0), 1.0)
    colours[~inside] = 255
    canvas[top : top + size, left + pad : left + pad + size] = resize(colours, size, size)
    text = f"rim: {radius:.2g} px per frame"
    width = measure_text(text, 12)
    write_text(canvas, text, (left + (side - width) // 2, top + size + 20), 12, LIGHT_GREY)


def space_evenly(length: int, count: int) -> list[int]:
    """Choose evenly spaced frames: the middles of equal parts of a video.

    Args:
        length: Number of frames of the video.
        count: Number of frames to choose.

    Returns:
        Times of ``count`` frames, or of all if there are fewer.
    """
    count = min(count, length)
    return [(2 * n + 1) * length // (2 * count) for n in range(count)]


def measure_radius(video: Video) -> float:
    """Measure the displacement that gets full saturation.

    Args:
        video: Video of a store.

    Returns:
        The 99th percentile of displacement lengths in pixels, at least 1; 1 without flow.
    """
    lengths = [
        np.hypot(field[..., 0], field[..., 1]).ravel()
        for field in (video.flow(t) for t in space_evenly(video.num_flow, SCALE_FIELDS))
    ]
    return max(1.0, float(np.percentile(np.concatenate(lengths), 99))) if lengths else 1.0


def write_mp4(video: Video, out: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Write a video of RGB beside colour-coded flow, at the frame rate of the stored video.

    The codec is H.264 if PyAV can encode it, else MPEG-4.

    Args:
        video: Video of a store.
        out: The .mp4 file to write.
        progress: Called after each frame with the number of finished frames and the total.

    Returns:
        The path of the file.

    Raises:
        UsageError: If the video has neither RGB nor flow.
    """
    drawable = zip(("rgb", "flow"), find_drawable_streams(video), strict=True)
    streams = [name for name, is_present in drawable if is_present]
    radius = measure_radius(video) if "flow" in streams else 0.0
    # 4:2:0 chroma needs even sides.
    width, height = video.width + video.width % 2, video.height + video.height % 2
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    total = video.num_frames if "rgb" in streams else video.num_flow
    with av.open(str(out), "w") as container:
        rate = Fraction(video.fps).limit_denominator(1001) if video.fps > 0 else Fraction(25)
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = width * len(streams), height
        stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "16", "preset": "veryfast"}
        else:
            stream.bit_rate = 8_000_000
        last = np.full((video.height, video.width, 3), 255, np.uint8)
        for t in range(total):
            canvas = np.full((height, width * len(streams), 3), 255, np.uint8)
            for n, name in enumerate(streams):
                if name == "rgb":
                    image = video.rgb(t)
                elif t < video.num_flow:
                    image = last = flow_to_color(video.flow(t), radius)
                else:
                    image = last
                canvas[: video.height, n * width : n * width + video.width] = image
            container.mux(stream.encode(av.VideoFrame.from_ndarray(canvas, format="rgb24")))
            if progress is not None:
                progress(t + 1, total)
        container.mux(stream.encode(None))
    return out


def write_png(canvas: np.ndarray, out: Path) -> Path:
    """Add a margin to an image and write it to a .png.

    Args:
        canvas: (height, width, 3) uint8 RGB image.
        out: The .png file to write; its folder is created.

    Returns:
        The path of the file.

    Raises:
        UsageError: If the file has another extension.
        StoreError: If the file cannot be written.
    """
    if out.suffix.lower() != ".png":
        raise UsageError(f"a preview is written to a .png or .mp4, got {out.name!r}")
    framed = cv2.copyMakeBorder(
        canvas, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    best_compression = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    # cv2.imwrite would return False, without an error, if it cannot write.
    png = cv2.imencode(".png", np.ascontiguousarray(framed[..., ::-1]), best_compression)[1]
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(png.tobytes())
    return out


def make_canvas(height: int, width: int) -> np.ndarray:
    """Create a white image, (height, width, 3) uint8."""
    return np.full((height, width, 3), 255, np.uint8)


def crop_square(image: np.ndarray) -> np.ndarray:
    """Crop the largest square in the middle of an image, as a view."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize an image to a width and height in pixels, whatever its aspect ratio."""
    is_smaller = image.shape[1] > width
    resized: np.ndarray = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    )
    return resized


def stack_vertically(images: Sequence[np.ndarray]) -> np.ndarray:
    """Place images one below the other, left-aligned, with margins between them."""
    width = max(image.shape[1] for image in images)
    height = sum(image.shape[0] for image in images) + MARGIN * (len(images) - 1)
    canvas, y = make_canvas(height, width), 0
    for image in images:
        canvas[y : y + image.shape[0], : image.shape[1]] = image
        y += image.shape[0] + MARGIN
    return canvas


def stack_horizontally(images: Sequence[np.ndarray]) -> np.ndarray:
    """Place images side by side, top-aligned, with margins between them."""
    transposed = stack_vertically([image.transpose(1, 0, 2) for image in images])
    return np.ascontiguousarray(transposed.transpose(1, 0, 2))


def write_text(
    canvas: np.ndarray,
    text: str,
    origin: tuple[int, int],
    size: int,
    colour: tuple[int, int, int],
    bold: bool = False,
) -> int:
    """Write one line of text into an image.

    Args:
        canvas: (height, width, 3) uint8 image to write into.
        text: The line. OpenCV 4 writes characters other than ASCII as ``?``.
        origin: x and y of the start of the baseline, in pixels.
        size: Size of the font in pixels.
        colour: RGB colour.
        bold: Whether to write in bold.

    Returns:
        The x where the text ends.
    """
    if hasattr(cv2, "FontFace"):  # OpenCV 5: a real typeface, any script
        end, _ = cv2.putText(
            canvas, text, origin, colour, cv2.FontFace("sans"), size, 700 if bold else 400
        )
        return int(end[0])
    scale = size / 32
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(
        canvas, plain, origin, cv2.FONT_HERSHEY_DUPLEX, scale, colour, 1 + bold, cv2.LINE_AA
    )
    return origin[0] + measure_text(text, size)


def measure_text(text: str, size: int) -> int:
    """Measure the width of one line of text in pixels."""
    if hasattr(cv2, "FontFace"):
        return write_text(make_canvas(4, 4), text, (0, 0), size, DARK_GREY)
    plain = text.encode("ascii", "replace").decode()
    return int(cv2.getTextSize(plain, cv2.FONT_HERSHEY_DUPLEX, size / 32, 1)[0][0])
