import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.datasets.sampling import make_generator
from flowkit.datasets.transforms import (
    FLOW_SCALES,
    CentreCrop,
    Crop,
    JitteredCrop,
    MultiScaleCrop,
    RandomCrop,
    TenCrop,
    ThreeCrop,
    apply_crop,
    list_crop_positions,
)

SIDES = st.integers(1, 400)
CROPS = [MultiScaleCrop, JitteredCrop, RandomCrop, CentreCrop, TenCrop, ThreeCrop]


def noise(*shape, seed=0, low=1):
    return np.random.default_rng(seed).integers(low, 256, shape, dtype=np.uint8)


@given(crops=st.sampled_from(CROPS), height=SIDES, width=SIDES, seed=st.integers(0, 50))
def test_every_crop_lies_in_the_image(crops, height, width, seed):
    for crop in crops()(height, width, make_generator(seed, 0, 0)):
        assert crop.height >= 1 and crop.width >= 1
        assert 0 <= crop.top <= height - crop.height
        assert 0 <= crop.left <= width - crop.width


# --- flow ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [(0, 0, 20, 30), (3, 5, 14, 14), (2, 1, 9, 12)])
def test_mirroring_negates_x_alone(box):
    # Another toolbox inverts both channels of every other field; its ten crops invert none.
    images = [noise(20, 30, seed=s) for s in range(10)]
    plain, mirrored = (np.empty((10, 14, 14), np.uint8) for _ in range(2))
    apply_crop(images, Crop(*box), plain, flow=True)
    apply_crop(images, Crop(*box, mirrored=True), mirrored, flow=True)
    np.testing.assert_array_equal(
        mirrored[0::2].astype(int), 256 - plain[0::2, :, ::-1].astype(int)
    )
    np.testing.assert_array_equal(mirrored[1::2], plain[1::2, :, ::-1])


def test_no_motion_stays_no_motion_under_mirroring():
    out = np.empty((2, 8, 8), np.uint8)
    apply_crop([np.full((8, 8), 128, np.uint8)] * 2, Crop(0, 0, 8, 8, True), out, flow=True)
    assert (out == 128).all()


def test_byte_0_is_read_as_1():
    out = np.empty((2, 4, 4), np.uint8)
    apply_crop([np.zeros((4, 4), np.uint8)] * 2, Crop(0, 0, 4, 4), out, flow=True)
    assert (out == 1).all()
    apply_crop([np.zeros((4, 4), np.uint8)] * 2, Crop(0, 0, 4, 4, True), out, flow=True)
    assert (out[0] == 255).all() and (out[1] == 1).all()


def test_rgb_is_cropped_and_mirrored_unchanged():
    image, out = noise(10, 12, 3, low=0), np.empty((3, 6, 6), np.uint8)
    apply_crop([image], Crop(2, 3, 6, 6, True), out)
    np.testing.assert_array_equal(out, image[2:8, 3:9][:, ::-1].transpose(2, 0, 1))


def test_rgb_and_flow_are_cropped_alike():
    # The same picture as RGB and as flow gives the same crop.
    plane, crop = noise(40, 50), Crop(4, 6, 30, 25)
    rgb, flow = np.empty((3, 16, 16), np.uint8), np.empty((2, 16, 16), np.uint8)
    apply_crop([np.stack([plane] * 3, axis=-1)], crop, rgb)
    apply_crop([plane, plane], crop, flow, flow=True)
    for channel in range(3):
        np.testing.assert_array_equal(rgb[channel], flow[0])
    np.testing.assert_array_equal(flow[0], flow[1])


# --- which crops -------------------------------------------------------------------------------


def test_multi_scale_crops_are_tsns():
    crops = MultiScaleCrop(FLOW_SCALES)
    drawn = {crops(256, 340, make_generator(0, 0, i))[0] for i in range(4000)}
    sides = {(crop.height, crop.width) for crop in drawn}
    # 256, 224, 192; sides at most a step apart.
    assert sides == {
        (256, 256), (256, 224), (224, 256), (224, 224), (224, 192), (192, 224), (192, 192),
    }  # fmt: skip
    assert {crop.mirrored for crop in drawn} == {False, True}
    places = {(crop.top, crop.left) for crop in drawn if (crop.height, crop.width) == (224, 224)}
    assert places == set(list_crop_positions(32, 116)) and len(places) == 13


def test_a_side_near_the_input_size_is_the_input_size():
    crops = MultiScaleCrop((0.87,), size=224)
    assert {c.height for i in range(9) for c in crops(256, 256, make_generator(0, 0, i))} == {224}


def test_ten_crops():
    crops = TenCrop(224)(256, 340, make_generator(0, 0, 0))
    places = [(0, 0), (0, 116), (32, 0), (32, 116), (16, 58)]
    assert [(c.top, c.left) for c in crops] == places * 2
    assert [c.mirrored for c in crops] == [False] * 5 + [True] * 5
    assert {(c.height, c.width) for c in crops} == {(224, 224)}


def test_three_crops_cover_the_longer_side():
    assert [(c.top, c.left) for c in ThreeCrop()(256, 340, make_generator(0, 0, 0))] == [
        (0, 0), (0, 42), (0, 84),
    ]  # fmt: skip
    assert [(c.top, c.left) for c in ThreeCrop()(340, 256, make_generator(0, 0, 0))] == [
        (0, 0), (42, 0), (84, 0),
    ]  # fmt: skip


def test_jitter_scales_the_shorter_side():
    # 224 of an image scaled to 256–320 is 0.7–0.875 of its shorter side.
    drawn = [JitteredCrop()(128, 200, make_generator(0, 0, i))[0] for i in range(500)]
    sides = {crop.height for crop in drawn}
    assert min(sides) == round(0.7 * 128) and max(sides) == 112
    assert all(crop.height == crop.width for crop in drawn)


def test_random_and_centre_crops():
    drawn = {RandomCrop(20)(24, 30, make_generator(0, 0, i))[0] for i in range(3000)}
    assert {(c.top, c.left) for c in drawn} == {(y, x) for y in range(5) for x in range(11)}
    assert CentreCrop(20)(24, 30, make_generator(0, 0, 0)) == [Crop(2, 5, 20, 20)]
    assert RandomCrop(20, mirror=False)(24, 30, make_generator(0, 0, 5))[0].mirrored is False
