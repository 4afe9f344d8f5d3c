"""Videos of known content, muxed here."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

Mux = Callable[..., Path]


@pytest.fixture(name="count_picture")
def count_picture_fixture() -> Callable[..., np.ndarray]:
    return count_picture


@pytest.fixture(name="read_count")
def read_count_fixture() -> Callable[[np.ndarray], int]:
    return read_count


def count_picture(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A picture that says its number: eight columns, dark or light, of its bits."""
    bits = np.array([number >> b & 1 for b in range(8)])
    columns = np.repeat(np.where(bits, 210, 40), -(-width // 8))[:width]
    return np.broadcast_to(columns[None, :, None], (height, width, 3)).astype(np.uint8)


def read_count(picture: np.ndarray) -> int:
    """The number that a picture says."""
    width = picture.shape[1]
    centres = (np.arange(8) * -(-width // 8) + width // 16).clip(0, width - 1)
    light = picture[picture.shape[0] // 2, centres].mean(-1) > 125
    return int((light * 2 ** np.arange(8)).sum())


@pytest.fixture
def mux(tmp_path: Path) -> Mux:
    """mux(name, pictures, codec=, pix_fmt=, fps=, times=, prepare=, options=) → path.

    pictures: uint8 RGB (H, W, 3), or av.VideoFrames as they are. times: pts in milliseconds.
    prepare(stream): last settings of the stream.
    """

    def make(
        name: str,
        pictures: Iterable[Any],
        codec: str = "libx264",
        pix_fmt: str = "yuv420p",
        fps: int = 10,
        times: list[int] | None = None,
        prepare: Callable[[Any], object] = lambda stream: None,
        options: dict[str, str] | None = None,
        muxing: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", options=muxing or {}) as container:
            stream = container.add_stream(codec, rate=fps, options=options or {})
            if times:
                stream.codec_context.time_base = Fraction(1, 1000)
            for i, picture in enumerate(pictures):
                frame = (
                    picture
                    if isinstance(picture, av.VideoFrame)
                    else av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                        format=pix_fmt
                    )
                )
                if i == 0:
                    stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
                    prepare(stream)
                if times:
                    frame.pts, frame.time_base = times[i], Fraction(1, 1000)
                else:
                    frame.pts, frame.time_base = i, Fraction(1, fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return make
