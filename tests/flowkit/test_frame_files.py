"""Which files of a folder are the frames of a video, and in which order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.errors import VideoError
from flowkit.frame_files import holds_images, is_image, list_frames, order_frames


@pytest.mark.parametrize(
    "ordered",
    [
        [f"f{number}.jpg" for number in range(1, 12)],
        ["00007.png", "00008.png", "00009.png", "00010.png"],
        ["9.PNG", "10.png", "11.Png"],
        ["v2_img_0000.jpeg", "v2_img_0001.jpg"],
        ["001_cam3.tif", "002_cam3.tiff"],
        ["Bild é ٣ 1.webp", "Bild é ٣ 2.webp"],
        ["only.bmp"],
        ["99999999999999999999.jpg", "100000000000000000000.jpg"],
        ["f008.jpg", "f9.jpg", "f10.jpg"],
    ],
)
def test_the_number_decides_the_order(ordered):
    """Not the order of the letters, in which frame10 comes before frame2."""
    assert order_frames(ordered[::-1], "v") == ordered


@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(0, 8), st.randoms())
def test_any_padding_and_first_number(first, count, width, random):
    names = [f"img_{number:0{width}}.png" for number in range(first, first + count)]
    shuffled = list(names)
    random.shuffle(shuffled)
    assert order_frames(shuffled, "v") == names


@given(st.integers(0, 300), st.integers(3, 60), st.data())
def test_one_missing_frame_is_found(first, count, data):
    missing = data.draw(st.integers(first + 1, first + count - 2))
    names = [f"f{number}.png" for number in range(first, first + count) if number != missing]
    with pytest.raises(VideoError) as raised:
        order_frames(names, "v")
    assert raised.value.kind == "gap"
    assert f"f{missing - 1}.png and f{missing + 1}.png (1 number is" in str(raised.value)


@pytest.mark.parametrize(
    ("names", "kind", "said"),
    [
        ("f1.jpg f2.png", "mixed-formats", "f1.jpg and f2.png are of different formats"),
        ("f1.jpg f3.jpg f9.jpg", "gap", r"f1.jpg and f3.jpg \(6 numbers"),
        ("f1.jpg f01.jpg f2.jpg", "numbering", "f01.jpg and f1.jpg have the same number"),
        ("f1.jpg f1.jpeg", "numbering", "have the same number"),
        ("a.jpg b.jpg", "numbering", "a.jpg and b.jpg are not of one series"),
        (
            "img_1.jpg flow_x_1.jpg",
            "numbering",
            "`flowkit import` reads folders of frames and flow",
        ),
        ("cam1_f1.jpg cam1_f2.jpg cam2_f1.jpg", "numbering", "differ in 2 numbers"),
        ("f1.jpg f1.x.jpg", "numbering", "not of one series"),
        ("1.jpg x1.jpg", "numbering", "not of one series"),
    ],
)
def test_what_is_no_series_is_refused_by_name(names, kind, said):
    with pytest.raises(VideoError, match=said) as raised:
        order_frames(names.split(), "my video")
    assert raised.value.kind == kind
    assert str(raised.value).startswith("my video: ")


def test_files_that_are_no_frames_are_ignored(tmp_path):
    for name in (
        "Thumbs.db", "desktop.ini", ".DS_Store", "._f1.jpg", ".f3.jpg", "labels.txt", "f2.jpg",
        "f1.jpg",
    ):  # fmt: skip
        (tmp_path / name).touch()
    (tmp_path / "f3.jpg").mkdir()
    assert list_frames(tmp_path) == ["f1.jpg", "f2.jpg"]
    assert holds_images(tmp_path)
    assert not holds_images(tmp_path / "f3.jpg")
    assert not holds_images(tmp_path / "f1.jpg")


def test_a_frame_that_is_a_broken_link_is_not_left_out(tmp_path):
    (tmp_path / "f1.jpg").touch()
    (tmp_path / "f2.jpg").symlink_to("nowhere")
    assert list_frames(tmp_path) == ["f1.jpg", "f2.jpg"]


def test_folders_without_frames(tmp_path):
    for path, kind in ((tmp_path, "empty"), (tmp_path / "none", "missing")):
        with pytest.raises(VideoError) as raised:
            list_frames(path)
        assert raised.value.kind == kind
    (tmp_path / "file").touch()
    with pytest.raises(VideoError, match="cannot be listed"):
        list_frames(tmp_path / "file")


def test_extensions():
    names = ["a.jpg", "a.JPEG", "a.png", "a.webp", "a.bmp", "a.tif", "a.TIFF"]
    assert all(map(is_image, names))
    assert not any(map(is_image, ["jpg", "a.gif", "a.jpg.txt", ".a.jpg", "a.mp4", ""]))
