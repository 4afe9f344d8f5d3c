"""Describe the clips that `flowkit doctor` decodes, and their content.

Each clip has a few frames of a texture that moves at constant speed, so that the right result of
each step is known. ``tests/flowkit/doctor/make_clips.py`` generates the clips.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
FRAMES = 8
"""Number of frames of each clip."""
FRAMES_PER_SECOND = 8
"""Frame rate of each clip."""
WIDTH, HEIGHT = 128, 96
"""Size of the frames in pixels."""
SHIFT = 4
"""Motion of the texture in pixels per frame."""
MEAN_COLOUR = (100.0, 134.5, 150.5)
"""Mean colour of all frames as RGB, 0–255: a light blue."""
TONE_HERTZ = 1000
"""Frequency of the tone, which lasts a second."""

RIGHT = FOLDER / "right.mp4"
"""Clip whose texture moves to the right."""
LEFT = FOLDER / "left.mp4"
"""Clip whose texture moves to the left."""
BY_CODEC = {
    "h264": RIGHT,
    "hevc": FOLDER / "hevc.mp4",
    "mpeg4": FOLDER / "mpeg4.avi",
    "vp9": FOLDER / "vp9.webm",
    "av1": FOLDER / "av1.mp4",
    "mp3": FOLDER / "mpeg4.avi",
    "aac": RIGHT,
}
"""A clip of each codec that datasets use."""
AUDIO_CODECS = ("mp3", "aac")
"""The audio codecs among them."""
