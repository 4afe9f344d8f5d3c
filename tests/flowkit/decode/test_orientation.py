"""Pictures come out upright: the eight ways, against a raster made from the matrix itself."""

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from flowkit.decode import VideoReader, probe_video, read_video
from flowkit.decode.container import read_side_data
from flowkit.decode.orientation import Orientation
from flowkit.recipe import Resize

# Four colours in the corners, so that all eight ways differ.
CORNERS = np.array([[(230, 20, 20), (20, 230, 20)], [(20, 20, 230), (240, 240, 240)]], np.uint8)
PICTURE = CORNERS.repeat(16, 0).repeat(24, 1)


def corners(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return picture[[height // 4, 3 * height // 4]][:, [width // 4, 3 * width // 4]]


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_of_a_muxed_file(quarter: int, mirrored: bool, mux: Any) -> None:
    """av_display_rotation_set turns counter-clockwise, and mirrors before it turns."""

    def prepare(stream: Any) -> None:
        stream.set_display_rotation(90 * quarter, hflip=mirrored)

    path = mux("r.mp4", [PICTURE] * 3, prepare=prepare, options={"qp": "4"})
    matrix = display_matrix(path)
    video = read_video(path)
    assert video.shape[1:3] == ((48, 32) if quarter % 2 else (32, 48))
    assert np.abs(corners(video[0]).astype(int) - raster(CORNERS, matrix)).max() < 25
    if not mirrored:
        assert probe_video(path).rotation == (360 - 90 * quarter) % 360
        np.testing.assert_array_equal(raster(CORNERS, matrix), np.rot90(CORNERS, quarter))


def display_matrix(path: Any) -> np.ndarray:
    """(a b; c d) of the file's first frame, or the identity."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        data = read_side_data(frame, "DISPLAYMATRIX")
    if data is None:
        return np.eye(2, dtype=int)
    return (np.frombuffer(data, np.int32).reshape(3, 3) // 65536)[:2, :2]


def raster(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Send each pixel (x, y) to (x, y) · matrix, then move the result to start at 0."""
    places = [(x, y) @ matrix for y in range(2) for x in range(2)]
    low = np.min(places, axis=0)
    out = np.empty_like(picture)
    for (x, y), (to_x, to_y) in zip(np.ndindex(2, 2), places - low, strict=True):
        out[to_y, to_x] = picture[x, y]  # ndindex gives (row, column)
    return out


def make_exif(orientation: int) -> bytes:
    """A JPEG APP1 segment with nothing but the orientation tag (TIFF 6.0, little-endian)."""
    entry = struct.pack("<HHII", 0x0112, 3, 1, orientation)
    tiff = struct.pack("<2sHIH", b"II", 42, 8, 1) + entry + bytes(4)
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, CORNERS),
        (2, CORNERS[:, ::-1]),
        (3, CORNERS[::-1, ::-1]),
        (5, CORNERS.transpose(1, 0, 2)),
        (6, np.rot90(CORNERS, -1)),
    ],
)
def test_exif_of_a_cameras_mjpeg(orientation: int, upright: np.ndarray, tmp_path: Path) -> None:
    """Beside the matrix there is side data of a type that PyAV 18 has no name for."""
    path = tmp_path / "camera.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(PICTURE, format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            data = bytes(packet)
            tagged = av.Packet(data[:2] + make_exif(orientation) + data[2:])
            tagged.stream, tagged.is_keyframe = stream, True
            tagged.pts, tagged.dts, tagged.time_base = packet.pts, packet.dts, packet.time_base
            container.mux(tagged)
    video = read_video(path)
    assert np.abs(corners(video[0]).astype(int) - upright).max() < 40


def test_sizes_of_a_turned_video_are_those_after_turning(mux: Any) -> None:
    path = mux("r.mp4", [PICTURE] * 2, prepare=lambda s: s.set_display_rotation(90))
    with VideoReader(path, Resize(mode="short-side", side=16)) as reader:
        assert (reader.info.width, reader.info.height) == (32, 48)
        assert (reader.width, reader.height) == (16, 24)
        assert next(iter(reader)).shape == (24, 16, 3)


def test_an_oblique_matrix_is_left_and_said(mux: Any) -> None:
    path = mux("r.mp4", [PICTURE] * 2, prepare=lambda s: s.set_display_rotation(37))
    with VideoReader(path, Resize(mode="none")) as reader:
        assert next(iter(reader)).shape == (32, 48, 3)
    assert reader.warnings == [
        "the display matrix is not a rotation by a multiple of 90°: frames are not rotated"
    ]


def test_a_frame_without_a_matrix_is_upright() -> None:
    assert Orientation.from_frame(SimpleNamespace(side_data={})) == Orientation()
