"""The clips that `flowkit doctor` works on, and what is in them.

Each has a few frames of a texture that moves evenly, so that it is known what must come out.
``tests/flowkit/doctor/make_clips.py`` makes them.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
FRAMES = 8
FRAMES_PER_SECOND = 8
WIDTH, HEIGHT = 128, 96
SHIFT = 4
"""Pixels by which the texture moves from one frame to the next."""
MEAN_COLOUR = (100.0, 134.5, 150.5)
"""Of all frames, as RGB in 0–255: a light blue."""
TONE_HERTZ = 1000
"""The frequency of the sound, which lasts a second."""

RIGHT = FOLDER / "right.mp4"
LEFT = FOLDER / "left.mp4"
BY_CODEC = {
    "h264": RIGHT,
    "hevc": FOLDER / "hevc.mp4",
    "mpeg4": FOLDER / "mpeg4.avi",
    "vp9": FOLDER / "vp9.webm",
    "av1": FOLDER / "av1.mp4",
    "mp3": FOLDER / "mpeg4.avi",
    "aac": RIGHT,
}
"""For each codec that datasets use, a clip of it."""
AUDIO_CODECS = ("mp3", "aac")
