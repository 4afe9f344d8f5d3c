"""MPEG transport streams that were joined, changed their size, or lost packets on the way."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from flowkit.decode import VideoReader
from flowkit.errors import VideoError
from flowkit.recipe import Resize

RAW = Resize(mode="none")


def count_frames(path: Path) -> tuple[int, list[str]]:
    with VideoReader(path, RAW) as reader:
        return sum(1 for _ in reader), reader.warnings


@pytest.fixture
def mux_parts(mux: Any, count_picture: Any, tmp_path: Path) -> Any:
    """``mux_parts(codec, size, appended_size)``: two transport streams in one file, as a recorder
    makes them that was started again; 30 frames and 20, which say 0..29 and 30..49.
    """

    def make(codec: str, size: tuple[int, int], appended_size: tuple[int, int]) -> Path:
        options = {"g": "10", "x265-params": "log-level=0"} if "265" in codec else {"g": "10"}
        parts = (
            mux(f"{n}.ts", [count_picture(k, *part_size) for k in range(n, m)], codec=codec,
                fps=25, options=options)
            for n, m, part_size in ((0, 30, size), (30, 50, appended_size))
        )  # fmt: skip
        path = tmp_path / "parts.ts"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        return path

    return make


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "libx265"])
def test_size_change_in_a_transport_stream(codec: str, mux_parts: Any) -> None:
    path = mux_parts(codec, (64, 48), (96, 80))
    with pytest.raises(VideoError, match=r"is 96×80, the frames before it 64×48") as caught:
        count_frames(path)
    assert caught.value.kind == "size-change"


def test_size_change_of_one_encoder_in_a_transport_stream(tmp_path: Path) -> None:
    """The continuity counter does not jump, as when a broadcaster changes the format."""
    path = tmp_path / "one.ts"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        second: Any = av.CodecContext.create("libx264", "w")
        second.width, second.height, second.pix_fmt = 96, 80, "yuv420p"
        second.time_base = Fraction(1, 25)
        time = 0
        for encoder, width, height in ((stream, 64, 48), (second, 96, 80)):
            packets = []
            for _ in range(10):
                frame = av.VideoFrame(width, height, "yuv420p")
                frame.pts, frame.time_base, time = time, Fraction(1, 25), time + 1
                packets += encoder.encode(frame)
            for packet in [*packets, *encoder.encode()]:
                packet.stream = stream
                container.mux(packet)
    with pytest.raises(VideoError, match="frame 11 is 96×80, the frames before it 64×48") as caught:
        count_frames(path)
    assert caught.value.kind == "size-change"


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "libx265"])
def test_recordings_of_one_size_in_a_transport_stream(
    codec: str, mux_parts: Any, read_count: Any
) -> None:
    with VideoReader(mux_parts(codec, (64, 48), (64, 48)), RAW) as reader:
        frames = list(reader.read_frames())
    assert [read_count(frame.pixels) for frame in frames] == list(range(50))
    assert [frame.time for frame in frames] == [40_000 * k for k in range(50)]
    interruption, jump = reader.warnings
    assert "is interrupted near frame 2" in interruption
    assert jump.startswith(
        "the clock jumps after frame 30 from 1.160 s to 0.000 s: the frames follow"
    )


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_packets_that_a_transport_stream_lost(codec: str, mux: Any) -> None:
    """One packet of 188 bytes is lost in the middle: the rest of the video is kept."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(30)]
    path = mux("l.ts", pictures, codec=codec, options={"g": "10", "bf": "0"})
    data = path.read_bytes()
    middle = len(data) // 376 * 188
    path.write_bytes(data[:middle] + data[middle + 188 :])
    count, warnings = count_frames(path)
    assert count == 30
    assert re.match(r"the stream is interrupted near frame \d+: packets are lost", warnings[0])
