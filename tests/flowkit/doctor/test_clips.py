"""The clips: what the generator makes is what is shipped."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from flowkit.decode import read_video
from flowkit.doctor import clips

GENERATOR = Path(__file__).with_name("make_clips.py")
ENCODERS = ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "libmp3lame", "aac", "mpeg4")


def test_the_generator_makes_what_is_shipped(tmp_path: Path) -> None:
    absent = set(ENCODERS) - av.codecs_available
    if absent:
        pytest.skip(f"this build of PyAV cannot encode with {', '.join(sorted(absent))}")
    command = [sys.executable, str(GENERATOR), str(tmp_path)]
    environment = {"PYTHONPATH": str(GENERATOR.parents[3]), "PATH": ""}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    made = sorted(path.name for path in tmp_path.iterdir())
    shipped = sorted(
        p.name for p in clips.FOLDER.iterdir() if p.suffix[1:] in ("mp4", "avi", "webm")
    )
    assert made == shipped
    for name in made:
        here, there = read_video(tmp_path / name), read_video(clips.FOLDER / name)
        assert here.shape == (clips.FRAMES, clips.HEIGHT, clips.WIDTH, 3)
        difference = np.abs(here.astype(float) - there.astype(float)).mean()
        assert difference < 2, name  # another version of an encoder


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in clips.FOLDER.glob("*.*")) < 64_000
