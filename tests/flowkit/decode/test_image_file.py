"""One image file as an RGB frame: formats, depths, orientation, damage, and what may be kept."""

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.decode.image_file import decode_image, may_keep, read_image_file
from flowkit.decode.jpeg_file import estimate_quality, list_segments, read_orientation
from flowkit.decode.orientation import Orientation
from flowkit.errors import VideoError
from flowkit.recipe import RGBRecipe

LOSSLESS = [".png", ".bmp", ".tiff", ".webp"]


@pytest.fixture
def picture():
    """A smooth RGB picture, uint8 (48, 64, 3)."""
    coarse = np.random.default_rng(3).integers(0, 256, (4, 5, 3), np.uint8)
    return cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_CUBIC)


def encode(extension, rgb, *settings):
    is_color = rgb.ndim == 3
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if extension == ".webp" else list(settings)
    return cv2.imencode(extension, rgb[..., ::-1] if is_color else rgb, options)[1].tobytes()


def encode_jpeg(rgb, quality=90, subsampling="420"):
    return simplejpeg.encode_jpeg(rgb, quality, "RGB", subsampling)


def with_exif(data, orientation, order="<"):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    tiff = mark + struct.pack(f"{order}IH", 8, 2)
    tiff += struct.pack(f"{order}HHIH2x", 0x010E, 3, 1, 7)
    tiff += struct.pack(f"{order}HHIH2x", 0x0112, 3, 1, orientation)
    content = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]


@pytest.mark.parametrize("extension", LOSSLESS)
def test_lossless_formats_give_the_same_pixels(tmp_path, picture, extension):
    image = decode_image(encode(extension, picture), tmp_path / "x")
    assert np.array_equal(image.pixels, picture)
    assert (image.orientation, image.bits) == (Orientation(), 8)


def test_grey_images_become_rgb(tmp_path, picture):
    grey = picture[..., 0].copy()
    for data in (encode(".png", grey), simplejpeg.encode_jpeg(grey[..., None], 100, "GRAY")):
        pixels = decode_image(data, tmp_path / "x").pixels
        assert pixels.shape == (48, 64, 3)
        assert np.array_equal(pixels[..., 0], pixels[..., 2])
        assert abs(pixels[..., 0].astype(int) - grey).max() <= 2


def test_alpha_is_dropped_whatever_it_says(tmp_path, picture):
    alpha = np.random.default_rng(0).integers(0, 256, (48, 64, 1), np.uint8)
    rgba = np.concatenate([picture[..., ::-1], alpha], axis=2)
    data = cv2.imencode(".png", rgba)[1].tobytes()
    assert np.array_equal(decode_image(data, tmp_path / "x").pixels, picture)


def test_of_16_bits_the_upper_8_are_used(tmp_path):
    deep = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    image = decode_image(encode(".png", deep), tmp_path / "x")
    assert image.bits == 16
    assert np.array_equal(image.pixels[..., 1], deep >> 8)


def test_jpegs_are_decoded_as_those_of_a_store_are(tmp_path, picture):
    from flowkit.store.format.jpeg import decode_rgb

    data = encode_jpeg(picture)
    assert np.array_equal(decode_image(data, tmp_path / "x").pixels, decode_rgb(data))


def test_jpegs_of_cmyk(tmp_path):
    inks = np.zeros((40, 60, 4), np.uint8)
    inks[:20, :, 0], inks[..., 3] = 255, 255  # Adobe writes inks inverted: 255 is no ink
    data = simplejpeg.encode_jpeg(inks, 95, "CMYK", "444")
    pixels = decode_image(data, tmp_path / "x").pixels
    assert pixels.shape == (40, 60, 3)
    assert pixels[5, 5].tolist() == pytest.approx([255, 0, 0], abs=3)
    assert not kept(data)
    with pytest.raises(VideoError, match="damaged, or not an image"):
        decode_image(data[:-300], tmp_path / "x")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_as_opencv_does(tmp_path, picture, orientation, order):
    data = with_exif(encode_jpeg(picture), orientation, order)
    image = decode_image(data, tmp_path / "x")
    turned = image.orientation.apply(image.pixels)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert turned.shape == ((64, 48, 3) if orientation >= 5 else (48, 64, 3))
    assert np.array_equal(turned, expected)


def test_damaged_exif_is_none(picture):
    data = with_exif(encode_jpeg(picture), 6)
    for cut in (b"II*\0\xff\xff\xff\xff", b"II", b"what?", b""):
        content = b"Exif\0\0" + cut
        segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
        assert read_orientation(data[:2] + segment + encode_jpeg(picture)[2:]) == Orientation()
    assert read_orientation(data) != Orientation()


@pytest.mark.parametrize("extension", [*LOSSLESS, ".jpg"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.97])
def test_a_truncated_image_is_named(tmp_path, picture, extension, kept, capfd):
    data = encode(extension, picture)
    path = tmp_path / "video" / f"f7{extension}"
    with pytest.raises(VideoError, match=f"video/f7{extension}: damaged") as raised:
        decode_image(data[: int(len(data) * kept)], path)
    assert raised.value.kind == "broken"
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [b"<html>404</html>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"x"])
def test_what_is_no_image_is_named(tmp_path, data):
    with pytest.raises(VideoError, match=r"f1\.jpg: damaged, or not an image"):
        decode_image(data, tmp_path / "f1.jpg")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    for name, kind in (
        ("no.jpg", "missing"),
        ("empty.jpg", "empty"),
        ("folder.jpg", "not-a-file"),
        ("pipe.jpg", "not-a-file"),
        ("circle.jpg", "unreadable"),
    ):
        with pytest.raises(VideoError, match=name) as raised:
            read_image_file(tmp_path / name)
        assert raised.value.kind == kind
        assert ("got a directory" in str(raised.value)) == (name == "folder.jpg")


KEEP = RGBRecipe(quality=90, keep=True)


def kept(data, recipe=KEEP):
    return may_keep(data, decode_image(data, Path("v/f.jpg")), recipe)


@pytest.mark.parametrize("quality", [1, 30, 75, 89, 90])
@pytest.mark.parametrize("subsampling", ["420", "444"])
def test_jpegs_up_to_the_quality_of_the_recipe_are_kept(picture, quality, subsampling):
    data = encode_jpeg(picture, quality, subsampling)
    assert kept(data)
    assert not kept(data, RGBRecipe(quality=90))


def test_progressive_jpegs_are_kept(picture):
    progressive = encode(".jpg", picture, cv2.IMWRITE_JPEG_QUALITY, 80, 2, 1)
    assert b"\xff\xc2" in progressive
    assert kept(progressive)


def test_what_is_not_kept(picture):
    grey = simplejpeg.encode_jpeg(picture[..., :1].copy(), 80, "GRAY")
    rotated = with_exif(encode_jpeg(picture, 80), 6)
    for data in (encode_jpeg(picture, 91), encode(".png", picture), grey, rotated):
        assert not kept(data)
    assert kept(with_exif(encode_jpeg(picture, 80), 1))


def test_the_quality_of_a_thumbnail_is_not_that_of_the_image(picture):
    thumbnail = encode_jpeg(picture[:16, :16].copy(), 20)
    content = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    data = encode_jpeg(picture, 97)
    data = data[:2] + segment + data[2:]
    assert estimate_quality(data) == 97
    assert next(list_segments(data))[0] == 0xE1
    assert not kept(data)


def test_no_quality_without_tables():
    with pytest.raises(ValueError, match="no quantization table"):
        estimate_quality(b"\xff\xd8\xff\xd9")


@settings(max_examples=100)
@given(st.data())
def test_any_damage_is_an_image_or_a_failure_of_the_video(data):
    picture = np.zeros((8, 12, 3), np.uint8)
    extension = data.draw(st.sampled_from([*LOSSLESS, ".jpg"]))
    file = bytearray(with_exif(encode_jpeg(picture), 6))
    if extension != ".jpg":
        file = bytearray(encode(extension, picture))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, min(len(file) - 1, 80)))] = data.draw(st.integers(0, 255))
    file = file[: data.draw(st.integers(1, len(file)))]
    kind, image = "", None
    try:
        image = decode_image(bytes(file), Path("v/f.jpg"))
    except VideoError as error:
        kind = error.kind
    if image is None:
        assert kind == "broken"
    else:
        assert image.pixels.dtype == np.uint8
        assert image.pixels.shape[2] == 3
        may_keep(bytes(file), image, KEEP)


@pytest.mark.parametrize("side", [8200, 60000])
def test_a_jpeg_that_claims_more_pixels_than_its_bytes_can_hold(tmp_path, picture, side):
    data = bytearray(simplejpeg.encode_jpeg(picture))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", side, side)
    with pytest.raises(VideoError, match=f"cannot hold {side}×{side} pixels") as error:
        decode_image(bytes(data), tmp_path / "video" / "img_00001.jpg")
    assert error.value.kind == "broken"


def test_a_large_picture_of_one_colour_is_decoded(tmp_path):
    """Nothing takes fewer bytes for so many pixels."""
    grey = np.full((8200, 8200), 128, np.uint8)
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    data = cv2.imencode(".jpg", grey, options)[1].tobytes()
    assert decode_image(data, tmp_path / "img_00001.jpg").pixels.shape == (8200, 8200, 3)
