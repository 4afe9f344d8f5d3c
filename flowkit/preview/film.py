"""Write a video of RGB frames beside colour-coded flow."""

from fractions import Fraction
from pathlib import Path

import av

from flowkit.flow.color import flow_to_color
from flowkit.preview.canvas import make_canvas
from flowkit.store.format.atomic import convert_disk_errors
from flowkit.store.video import Video


def write_film(video: Video, out: Path, has_rgb: bool, has_flow: bool, radius: float) -> Path:
    """Write a video of RGB beside colour-coded flow, at the frame rate of the stored video.

    The codec is H.264 if PyAV can encode it, else MPEG-4.

    Args:
        video: Video of a store.
        out: The .mp4 file to write; its folder is created.
        has_rgb: Whether to show RGB frames.
        has_flow: Whether to show flow; at least one of the two must be true.
        radius: Displacement that is drawn with full saturation, in pixels.

    Returns:
        The path of the file.

    Raises:
        StoreError: If the file cannot be written.
    """
    # 4:2:0 chroma needs even sides.
    width, height = video.width + video.width % 2, video.height + video.height % 2
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    colours = make_canvas(video.height, video.width)
    with convert_disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(out), "w") as container:
            rate = Fraction(video.fps).limit_denominator(1001) if video.fps > 0 else Fraction(25)
            stream = container.add_stream(codec, rate=rate)
            stream.width, stream.height = width * (has_rgb + has_flow), height
            stream.pix_fmt = "yuv420p"
            if codec == "libx264":
                stream.options = {"crf": "16", "preset": "veryfast"}
            else:
                stream.bit_rate = 8_000_000
            for t in range(video.num_frames) if has_rgb else video.flow_frames:
                if t in video.flow_frames:  # a frame without flow repeats that of the last one
                    colours = flow_to_color(video.flow(t), radius)
                canvas = make_canvas(height, stream.width)
                if has_rgb:
                    canvas[: video.height, : video.width] = video.rgb(t)
                if has_flow:
                    canvas[: video.height, has_rgb * width :][:, : video.width] = colours
                container.mux(stream.encode(av.VideoFrame.from_ndarray(canvas, format="rgb24")))
            container.mux(stream.encode(None))
    return out
