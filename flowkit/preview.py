"""Pictures of a store: strips and sheets as PNG, side-by-side video as MP4.

RGB above (or left), flow below (or right) in the colour wheel of Baker et al. (IJCV 2011): hue
is direction, saturation is length. All fields of a video share one scale, the 99th percentile
of displacement lengths over the fields looked at (but at least 1 pixel, so that noise in a
still scene stays pale); the caption states it. Longer displacements are drawn darkened.
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

MARGIN, GAP, TILE = 28, 6, 144  # pixels; TILE is a tile's height
GRID_TILE = 104
FRAME_GREY = 228  # around flow tiles: still scenes are white
INK, PALE = (34, 34, 34), (128, 128, 128)
FIELDS = 16  # fields looked at for the scale of a video's colours


def preview(video: Video, out: Path | str, *, count: int = 8) -> Path:
    """Draw one video: ``count`` evenly spaced frames to a .png, or all of it to a .mp4."""
    out = Path(out)
    if out.suffix.lower() == ".mp4":
        with disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            return write_mp4(video, out)
    return write_png(stack([draw_strip(video, count)]), out)


def preview_sheet(
    store: Store,
    ids: Iterable[str],
    out: Path | str,
    *,
    count: int = 6,
    columns: int | None = None,
) -> Path:
    """Draw a contact sheet of several videos to a .png, one strip of ``count`` frames each.

    The strips lie in ``columns`` columns, row by row; None makes two of more than four strips.
    Raises UsageError where an id is unknown, where there are none, or where ``out`` is no .png.
    """
    if Path(out).suffix.lower() == ".mp4":
        raise UsageError(f"a film shows one video: name one id for {out}, or draw a .png")
    strips = [draw_strip(store[id], count) for id in ids]
    if not strips:
        raise UsageError("a contact sheet needs at least one video; none was given")
    columns = columns or (2 if len(strips) > 4 else 1)
    rows = [strips[at : at + columns] for at in range(0, len(strips), columns)]
    return write_png(stack([join(row) for row in rows]), Path(out))


def preview_grid(store: Store, ids: Iterable[str], out: Path | str) -> Path:
    """Draw the middle frame of several videos side by side, each above its flow, to a .png.

    Each video's flow is in its own scale. Raises UsageError where an id is unknown, or has no
    RGB or no flow.
    """
    videos = [store[id] for id in ids]
    if not videos or not all(all(shown_streams(video)) for video in videos):
        raise UsageError("a grid needs videos with RGB and flow; name some that have both")
    side, step = GRID_TILE, GRID_TILE + GAP
    canvas = blank(2 * step + 16, len(videos) * step - GAP)
    for n, video in enumerate(videos):
        t, left = video.num_flow // 2, n * step
        canvas[:side, left : left + side] = fit(square(video.rgb(t)), side, side)
        colours = flow_to_color(video.flow(t), measure_radius(video))
        canvas[step : step + side, left : left + side] = fit(square(colours), side, side)
        caption = video.labels[0].name if video.labels else video.id
        indent = max(0, side - measure_text(caption, 12)) // 2
        write_text(canvas, caption, (left + indent, 2 * step + 12), 12, INK)
    return write_png(canvas, Path(out))


def choose_varied(store: Store, limit: int = 8) -> list[str]:
    """The first video of each class, ``limit`` at most; without any labels the first videos."""
    first: dict[str, str] = {}
    wanted = min(limit, len(store.classes))
    for id in store:
        if len(first) == wanted:
            break
        for label in store[id].labels:
            first.setdefault(label.name, id)
    return list(dict.fromkeys(first.values()))[:limit] or list(store.ids[:limit])


def draw_strip(video: Video, count: int) -> np.ndarray:
    """One video as a picture, (height, width, 3) uint8 RGB, without outer margin."""
    has_rgb, has_flow = shown_streams(video)
    # the last frame has no flow field, so where flow is shown it is not chosen
    times = spread(video.num_flow if has_flow and video.num_flow else video.num_frames, count)
    height = TILE
    width = max(1, round(TILE * video.width / video.height))
    radius = measure_radius(video) if has_flow else 0.0
    wheel = TILE if has_flow else 0
    rows = has_rgb + has_flow
    top = 58
    canvas = blank(
        top + rows * (height + GAP) - GAP + 22,
        max(len(times) * (width + GAP) - GAP + (GAP * 3 + wheel if wheel else 0), 480),
    )
    labels = ", ".join(dict.fromkeys(label.name for label in video.labels))
    end = write_text(canvas, video.id, (0, 20), 20, INK, bold=True)
    if labels and labels != video.id:
        write_text(canvas, labels, (end + 14, 20), 20, PALE)
    write_text(canvas, describe(video), (0, 44), 14, PALE)
    for n, t in enumerate(times):
        left, y = n * (width + GAP), top
        if has_rgb:
            canvas[y : y + height, left : left + width] = fit(video.rgb(t), width, height)
            y += height + GAP
        if has_flow:
            tile = canvas[y : y + height, left : left + width]
            tile[:] = FRAME_GREY
            if t < video.num_flow:
                colours = fit(flow_to_color(video.flow(t), radius), width, height)
                tile[1:-1, 1:-1] = colours[1:-1, 1:-1]
            y += height + GAP
        note = f"{t}" if n else f"frame {t}"
        if video.fps > 0:
            note += f"   {t / video.fps:.2f} s"
        write_text(canvas, note, (left, y - GAP + 16), 12, PALE)
    if has_flow:
        left = len(times) * (width + GAP) + GAP * 2
        y = top + (rows - 1) * (height + GAP)
        draw_wheel(canvas, left, y, wheel, radius)
    return canvas


def shown_streams(video: Video) -> tuple[bool, bool]:
    """Whether there are (RGB frames, flow fields) to draw; UsageError if neither."""
    present = "rgb" in video.streams, "flow" in video.streams
    if not any(present):
        raise UsageError(f"{video.id} has neither frames nor flow to show")
    return present


def describe(video: Video) -> str:
    parts = [f"{video.num_frames} frames of {video.width}×{video.height}"]
    if video.fps > 0:
        parts.append(f"{video.fps:.4g} fps")
    if video.subsets:
        parts.append(", ".join(video.subsets))
    return " · ".join(parts)


def draw_wheel(canvas: np.ndarray, left: int, top: int, side: int, radius: float) -> None:
    """The legend: which colour is which displacement, and how long the rim's are."""
    size = side - 34
    pad = (side - size) // 2
    axis = (np.arange(size * 2, dtype=np.float32) + 0.5) / size - 1
    field = np.stack(np.meshgrid(axis, axis), axis=-1)
    inside = np.hypot(field[..., 0], field[..., 1]) <= 1
    colours = flow_to_color(np.where(inside[..., None], field, 0), 1.0)
    colours[~inside] = 255
    canvas[top : top + size, left + pad : left + pad + size] = fit(colours, size, size)
    text = f"rim: {radius:.2g} px per frame"
    width = measure_text(text, 12)
    write_text(canvas, text, (left + (side - width) // 2, top + size + 20), 12, PALE)


def spread(length: int, count: int) -> list[int]:
    """``count`` evenly spaced frames of ``length``: the middles of equal parts."""
    count = min(count, length)
    return [(2 * n + 1) * length // (2 * count) for n in range(count)]


def measure_radius(video: Video) -> float:
    """The length in pixels that gets full saturation: 99th percentile, at least 1."""
    lengths = [
        np.hypot(field[..., 0], field[..., 1]).ravel()
        for field in (video.flow(t) for t in spread(video.num_flow, FIELDS))
    ]
    return max(1.0, float(np.percentile(np.concatenate(lengths), 99))) if lengths else 1.0


def write_mp4(video: Video, out: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """RGB beside colour-coded flow at the video's rate; H.264 where PyAV has it."""
    shown = zip(("rgb", "flow"), shown_streams(video), strict=True)
    streams = [name for name, present in shown if present]
    radius = measure_radius(video) if "flow" in streams else 0.0
    # 4:2:0 chroma wants even sides
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
                    picture = video.rgb(t)
                elif t < video.num_flow:
                    picture = last = flow_to_color(video.flow(t), radius)
                else:
                    picture = last
                canvas[: video.height, n * width : n * width + video.width] = picture
            container.mux(stream.encode(av.VideoFrame.from_ndarray(canvas, format="rgb24")))
            if progress is not None:
                progress(t + 1, total)
        container.mux(stream.encode(None))
    return out


def write_png(canvas: np.ndarray, out: Path) -> Path:
    """Add the margin and write; cv2.imwrite would return False silently where it cannot."""
    if out.suffix.lower() != ".png":
        raise UsageError(f"a preview is written to a .png or .mp4, got {out.name!r}")
    framed = cv2.copyMakeBorder(
        canvas, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    smallest = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    png = cv2.imencode(".png", np.ascontiguousarray(framed[..., ::-1]), smallest)[1]
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(png.tobytes())
    return out


def blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def square(picture: np.ndarray) -> np.ndarray:
    """The middle of a picture, as a view."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]


def fit(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    shrinks = picture.shape[1] > width
    resized: np.ndarray = cv2.resize(
        picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    return resized


def stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures one below the other, left-aligned."""
    width = max(picture.shape[1] for picture in pictures)
    height = sum(picture.shape[0] for picture in pictures) + MARGIN * (len(pictures) - 1)
    canvas, y = blank(height, width), 0
    for picture in pictures:
        canvas[y : y + picture.shape[0], : picture.shape[1]] = picture
        y += picture.shape[0] + MARGIN
    return canvas


def join(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures side by side, top-aligned."""
    turned = stack([picture.transpose(1, 0, 2) for picture in pictures])
    return np.ascontiguousarray(turned.transpose(1, 0, 2))


def write_text(
    canvas: np.ndarray,
    text: str,
    origin: tuple[int, int],
    size: int,
    colour: tuple[int, int, int],
    bold: bool = False,
) -> int:
    """Write one line with its baseline at ``origin`` (x, y); returns the x where it ends."""
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
    """Width in pixels of one line."""
    if hasattr(cv2, "FontFace"):
        return write_text(blank(4, 4), text, (0, 0), size, INK)
    plain = text.encode("ascii", "replace").decode()
    return int(cv2.getTextSize(plain, cv2.FONT_HERSHEY_DUPLEX, size / 32, 1)[0][0])
