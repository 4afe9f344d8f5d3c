"""Make the clips of `flowkit doctor`: ``python tests/flowkit/doctor/make_clips.py [FOLDER]``.

Every clip has 8 frames of 128×96 pixels at 8 frames per second: a smooth texture that moves by 4
pixels a frame, to the left in ``left.mp4`` and to the right in all others. The two MP4 files of
H.264 have a second of a 1 kHz tone. The clips are committed, so that `flowkit doctor` needs no
encoder; this script documents what is in them, and makes them again.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from flowkit.doctor.clips import FRAMES, FRAMES_PER_SECOND, HEIGHT, SHIFT, TONE_HERTZ, WIDTH
from flowkit.synthetic.textures import apply_palette, make_noise, make_palette

SAMPLE_RATE = 16000


@dataclass(frozen=True)
class Encoding:
    """How one clip is encoded; ``shift`` is its motion to the right in pixels a frame."""

    encoder: str
    options: dict[str, str]
    shift: int = SHIFT
    sound: str | None = None


H264 = {"crf": "24", "preset": "veryslow", "x264-params": "log-level=none"}
ENCODINGS = {
    "right.mp4": Encoding("libx264", H264, sound="aac"),
    "left.mp4": Encoding("libx264", H264, shift=-SHIFT, sound="aac"),
    "hevc.mp4": Encoding("libx265", {"crf": "26", "x265-params": "log-level=none:info=0"}),
    "mpeg4.avi": Encoding("mpeg4", {}, sound="libmp3lame"),
    "vp9.webm": Encoding("libvpx-vp9", {"crf": "30", "b": "0"}),
    "av1.mp4": Encoding("libsvtav1", {"crf": "30", "preset": "8"}),
}


def draw_frames(shift: int) -> list[np.ndarray]:
    """The frames of a clip, uint8 RGB (96, 128, 3), whose texture moves by ``shift`` pixels."""
    noise = make_noise(HEIGHT, WIDTH + FRAMES * SHIFT, (48, 24, 12), np.random.default_rng(8))
    texture = apply_palette(noise, make_palette(0.55, 0.5)).round().astype(np.uint8)
    return [np.roll(texture, t * shift, axis=1)[:, :WIDTH] for t in range(FRAMES)]


def write_clip(path: Path, encoding: Encoding) -> None:
    """Encode one clip."""
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream(
            encoding.encoder, rate=FRAMES_PER_SECOND, options=encoding.options
        )
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = None
        if encoding.sound:
            audio = container.add_stream(encoding.sound, rate=SAMPLE_RATE)
            audio.bit_rate = 16_000
        for picture in draw_frames(encoding.shift):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
            samples = (0.5 * np.sin(2 * np.pi * TONE_HERTZ * times)).astype(np.float32)[None]
            tone = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            tone.sample_rate = SAMPLE_RATE
            container.mux(audio.encode(tone))
            container.mux(audio.encode(None))


def main(folder: Path) -> None:
    """Make all clips in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, encoding in ENCODINGS.items():
        write_clip(folder / name, encoding)


if __name__ == "__main__":
    shipped = Path(__file__).resolve().parents[3] / "flowkit" / "doctor" / "clips"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else shipped)
