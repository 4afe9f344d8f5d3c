"""Fixtures shared by all tests."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips, Middlebury flow and official split files beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED} (it lies beside the checkout where there is any)")
    return SHARED


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Path]:
    """``make_clip(path, frames, width, height, seed, sound)``: a small H.264 video."""
    return write_clip


def write_clip(
    path: Path,
    frames: int = 9,
    width: int = 64,
    height: int = 48,
    seed: int = 0,
    sound: bool = False,
) -> Path:
    rng = np.random.default_rng(seed)
    wide = rng.integers(0, 255, (height // 8 + 2, (width + frames) // 8 + 2, 3), np.uint8)
    texture = wide.repeat(8, 0).repeat(8, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "18"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream("aac", rate=16000) if sound else None
        for t in range(frames):
            picture = np.ascontiguousarray(texture[:height, t : t + width])
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None:
            samples = (0.3 * np.sin(np.arange(16000 * 2) * 0.3)).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path
