"""Frame folders read as videos: order, sizes, times, resampling, JPEGs that are kept, damage."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
import simplejpeg

from flowkit.decode import read_video
from flowkit.decode.frame_folder import FrameFolderReader
from flowkit.errors import UsageError, VideoError
from flowkit.recipe import Resize, RGBRecipe

AS_IT_IS = Resize(mode="none")


@pytest.fixture
def write_frames(tmp_path, count_picture):
    """``write_frames(numbers)``: a folder of images that say their numbers."""

    def write(numbers, name="v", extension=".png", **size):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for number in numbers:
            cv2.imwrite(str(folder / f"f{number}{extension}"), count_picture(number, **size))
        return folder

    return write


def read(folder, resize=AS_IT_IS, fps=None, **options):
    with FrameFolderReader(folder, resize, fps, **options) as reader:
        return list(reader.read_frames()), reader


@pytest.mark.parametrize("extension", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_frames_come_in_the_order_of_their_numbers(write_frames, read_count, extension):
    frames, reader = read(write_frames(range(8, 13), extension=extension), frame_rate=12.5)
    assert [read_count(frame.pixels) for frame in frames] == [8, 9, 10, 11, 12]
    assert [frame.time for frame in frames] == [0, 80_000, 160_000, 240_000, 320_000]
    assert (reader.width, reader.height, reader.frame_rate) == (64, 48, 12.5)
    assert reader.warnings == []
    assert all(frame.pixels.flags.c_contiguous and frame.jpeg is None for frame in frames)


def test_an_unknown_rate_is_assumed_and_said(write_frames):
    frames, reader = read(write_frames(range(3)))
    assert reader.frame_rate == 25
    assert frames[1].time == 40_000
    assert "25 frames per second are assumed; state it with --frame-rate" in reader.warnings[0]
    with pytest.raises(VideoError, match="which resampling needs") as raised:
        read(write_frames(range(3)), fps=10)
    assert raised.value.kind == "no-frame-rate"


@pytest.mark.parametrize(
    "resize",
    [
        Resize(width=40, height=40),
        Resize(width=100, height=30),
        Resize(mode="short-side", side=32),
        Resize(width=40, height=40, filter="bilinear"),
    ],
)
def test_frames_are_resized_as_those_of_a_video_are(tmp_path, make_clip, resize):
    clip = make_clip(tmp_path / "a.mp4", width=66, height=50)
    folder = tmp_path / "v"
    folder.mkdir()
    for t, frame in enumerate(read_video(clip)):
        cv2.imwrite(str(folder / f"{t}.png"), frame[..., ::-1])
    frames, _ = read(folder, resize, frame_rate=25)
    assert np.array_equal(np.stack([frame.pixels for frame in frames]), read_video(clip, resize))


@pytest.mark.parametrize("rate", [10, 24, 30000 / 1001, 50])
@pytest.mark.parametrize("fps", [5, 12, 25, 60])
def test_resampling_shows_the_frame_of_each_time(write_frames, read_count, rate, fps):
    frames, reader = read(write_frames(range(20)), fps=fps, frame_rate=rate)
    exact = Fraction(rate).limit_denominator(1_000_000)
    times = [Fraction(k, fps) for k in range(200) if Fraction(k, fps) < 20 / exact]
    assert [read_count(frame.pixels) for frame in frames] == [int(t * exact) for t in times]
    assert [frame.time for frame in frames] == [round(t * 10**6) for t in times]
    assert reader.frame_rate == fps


def test_images_may_be_far_apart(write_frames, read_count):
    frames, reader = read(write_frames(range(3)), fps=0.002, frame_rate=0.001)
    assert [read_count(frame.pixels) for frame in frames] == [0, 0, 1, 1, 2, 2]
    assert reader.warnings == []


def test_a_reader_is_iterated_once(write_frames):
    reader = FrameFolderReader(write_frames(range(2)), AS_IT_IS, frame_rate=25)
    reader.read_frames()
    with pytest.raises(UsageError, match="iterated only once"):
        reader.read_frames()


@pytest.mark.parametrize(
    "rates", [{"fps": 0.0}, {"frame_rate": -1.0}, {"frame_rate": np.inf}, {"frame_rate": 4e-7}]
)
def test_rates_are_positive(write_frames, rates):
    with pytest.raises(UsageError, match="must be a positive number"):
        read(write_frames(range(2)), **rates)


def test_another_size_is_named(write_frames):
    folder = write_frames(range(3))
    write_frames([3], width=80)
    with pytest.raises(VideoError, match=r"v: f3\.png is 80×48, f0\.png 64×48") as raised:
        read(folder, frame_rate=25)
    assert raised.value.kind == "size-change"


def test_a_corrupt_image_is_named(write_frames):
    folder = write_frames(range(3))
    (folder / "f1.png").write_bytes((folder / "f1.png").read_bytes()[:60])
    with pytest.raises(VideoError, match=r"v/f1\.png: damaged") as raised:
        read(folder, frame_rate=25)
    assert raised.value.kind == "broken"
    (folder / "f0.png").write_bytes(b"")
    with pytest.raises(VideoError, match=r"v/f0\.png: the file is empty"):
        read(folder, frame_rate=25)


def test_16_bits_are_said_once(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((20, 30), 300, np.uint16))
    frames, reader = read(tmp_path, frame_rate=25)
    assert [int(frame.pixels.max()) for frame in frames] == [1, 1, 1]
    assert reader.warnings == ["0.png has 16 bits per value, of which the upper 8 are used"]


def write_jpegs(folder, qualities, side=40):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 5, 3), np.uint8)
    picture = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    files = [simplejpeg.encode_jpeg(np.roll(picture, t, 1), q) for t, q in enumerate(qualities)]
    for t, data in enumerate(files):
        (folder / f"{t}.jpg").write_bytes(data)
    return files


def test_jpegs_keep_their_bytes_where_the_recipe_allows_it(tmp_path):
    files = write_jpegs(tmp_path, [80, 90, 96, 75])
    keep = RGBRecipe(quality=90, keep=True)
    for resize in (AS_IT_IS, Resize(width=40, height=40), Resize(mode="short-side", side=64)):
        frames, _ = read(tmp_path, resize, frame_rate=25, rgb=keep)
        assert [frame.jpeg for frame in frames] == [files[0], files[1], None, files[3]]
    for resize, rgb in (
        (Resize(width=40, height=38), keep), (AS_IT_IS, RGBRecipe(quality=90)), (AS_IT_IS, None),
    ):  # fmt: skip
        frames, _ = read(tmp_path, resize, frame_rate=25, rgb=rgb)
        assert not any(frame.jpeg for frame in frames)


def test_a_truncated_jpeg_is_not_kept(tmp_path):
    files = write_jpegs(tmp_path, [80, 80, 80])
    (tmp_path / "2.jpg").write_bytes(files[2][:-40])
    with pytest.raises(VideoError, match=r"2\.jpg: damaged, or not an image"):
        read(tmp_path, frame_rate=25, rgb=RGBRecipe(keep=True))
