"""Frame folders extracted: the same bytes as a video, rates, changes, kept JPEGs, bad folders."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
import simplejpeg

import flowkit
from flowkit.annotations import explicit_files, folder, list_videos
from flowkit.decode import read_video
from flowkit.errors import UsageError, VideoError
from flowkit.extraction import Options, extract, source
from flowkit.extraction.source import (
    check_unchanged,
    fingerprint_source,
    has_changed,
    measure_source,
)
from flowkit.recipe import LogMelRecipe, Resize, RGBRecipe
from flowkit.store import Store
from flowkit.store.failures import read_failures
from flowkit.store.integrity.verify import verify

HERE = Options(workers=0, frame_rate=25.0)


def write_frames(path, pictures, extension=".png", first=0):
    path.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures, first):
        assert cv2.imwrite(str(path / f"frame{number}{extension}"), picture[..., ::-1])
    return path


@pytest.fixture
def frames(tmp_path, make_clip):
    """A frame folder with the 12 decoded frames of a clip, and the clip."""
    clip = make_clip(tmp_path / "clip.mp4", frames=12)
    return write_frames(tmp_path / "v" / "run" / "a", read_video(clip)), clip


def test_the_same_bytes_as_the_video_they_were_decoded_from(tmp_path, frames, recipe, contents):
    path, clip = frames
    extract(explicit_files([path, clip]), tmp_path / "S", recipe, HERE)
    stored = contents(tmp_path / "S")
    assert len(stored["a"]) == 12
    assert stored["a"] == stored["clip.mp4"]
    assert Store(tmp_path / "S")["a"].source == str(path)


def test_the_same_bytes_as_a_real_video(shared_data, tmp_path, recipe, contents):
    clip = shared_data / "clips" / "demo.mp4"
    pictures = read_video(clip)[::28]
    path = write_frames(tmp_path / "png", pictures, first=95)  # 95 … 104
    lossless = write_frames(tmp_path / "bmp", pictures, ".bmp")
    recipe = replace(recipe, resize=Resize(mode="short-side", side=48))
    video = tmp_path / "every_28th.mkv"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "bgr0"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert np.array_equal(read_video(video), pictures)
    extract(explicit_files([path, lossless, video]), tmp_path / "S", recipe, HERE)
    stored = contents(tmp_path / "S")
    assert len(stored["png"]) == 10
    assert stored["png"] == stored["bmp"] == stored["every_28th.mkv"]


def test_a_folder_from_python(tmp_path, frames):
    root = tmp_path / "S"
    settings = {"size": (32, 32), "preset": "fast", "workers": 0, "progress": False}
    assert flowkit.extract(frames[0], root, frame_rate=12, **settings).frames == 12
    assert flowkit.extract(tmp_path / "v", root, frame_rate=12, **settings).extracted == 1
    assert {id: Store(root)[id].fps for id in Store(root)} == {"a": 12, "run/a": 12}


def test_labels_come_from_the_folders_above(tmp_path, frames, recipe):
    write_frames(tmp_path / "v" / "jump" / "b", np.zeros((3, 24, 32, 3), np.uint8))
    table, located = folder.scan_folder(tmp_path / "v")
    extract(located, tmp_path / "S", recipe, HERE, table=table)
    store = Store(tmp_path / "S")
    assert {id: store[id].labels[0].name for id in store} == {"jump/b": "jump", "run/a": "run"}


def test_an_assumed_rate_is_in_the_warnings_and_a_stated_one_is_kept(tmp_path, frames, recipe):
    located, root = explicit_files([frames[0]]), tmp_path / "S"
    summary = extract(located, root, recipe, Options(workers=0, streams=("rgb",)))
    assert "25 frames per second are assumed" in summary.warned[0]
    assert Store(root)["a"].fps == 25
    stated = Options(workers=0, streams=("rgb",), frame_rate=12.0)
    assert extract(located, root, recipe, stated).changed == ["a"]
    assert extract(located, root, recipe, replace(stated, update=True)).extracted == 1
    assert Store(root)["a"].fps == 12
    assert extract(located, root, recipe, replace(stated, update=True)).done_before == 1
    # The rate of the store need not be stated again.
    summary = extract(located, root, recipe, Options(workers=0))
    assert (summary.extracted, summary.warned) == (1, [])
    assert Store(root)["a"].fps == 12


def test_resampling_needs_a_rate(tmp_path, frames, recipe):
    located, root = explicit_files([frames[0]]), tmp_path / "S"
    recipe = replace(recipe, fps=10.0)
    with pytest.raises(UsageError, match=r"1 folders .* such as that of 'a'; give it with"):
        extract(located, root, recipe, Options(workers=0))
    assert len(Store(root)) == 0
    extract(located, root, recipe, HERE)
    assert (Store(root)["a"].num_frames, Store(root)["a"].fps) == (5, 10)
    # Adding nothing needs no rate.
    assert extract(located, root, recipe, Options(workers=0)).done_before == 1


def test_a_folder_has_no_sound(tmp_path, frames, recipe):
    recipe = replace(recipe, audio=LogMelRecipe())
    options = replace(HERE, streams=("rgb", "audio"))
    summary = extract(explicit_files([frames[0]]), tmp_path / "S", recipe, options)
    assert summary.warned == ["a: a folder of images has no audio stream"]
    assert Store(tmp_path / "S")["a"].audio().shape == (0, 96, 64)


def test_a_copied_or_touched_folder_has_not_changed(tmp_path, frames, recipe):
    path, root = frames[0], tmp_path / "S"
    extract(explicit_files([path]), root, recipe, HERE)
    shutil.copytree(path, tmp_path / "elsewhere" / "a")
    assert extract(explicit_files([tmp_path / "elsewhere" / "a"]), root, recipe, HERE).done_before
    (path / "Thumbs.db").touch()
    os.utime(path / "frame3.png")
    assert extract(explicit_files([path]), root, recipe, HERE).done_before == 1


@pytest.mark.parametrize("change", ["remove", "add", "swap", "edit", "gap"])
def test_a_changed_folder_is_redone_with_update(tmp_path, frames, recipe, change):
    path, root = frames[0], tmp_path / "S"
    extract(explicit_files([path]), root, recipe, HERE)
    first, last = path / "frame0.png", path / "frame11.png"
    if change == "remove":
        last.unlink()
    elif change == "add":
        shutil.copy(first, path / "frame12.png")
    elif change == "swap":
        first.rename(path / "x"), last.rename(first), (path / "x").rename(last)
    elif change == "gap":
        (path / "frame5.png").unlink()
    else:
        data = bytearray(first.read_bytes())
        data[-20] ^= 1
        first.write_bytes(data)
    assert extract(explicit_files([path]), root, recipe, HERE).changed == ["a"]
    summary = extract(explicit_files([path]), root, recipe, replace(HERE, update=True))
    if change in ("gap", "edit"):
        assert [failure.kind for failure in summary.failed] == [
            "gap" if change == "gap" else "broken"
        ]
    else:
        expected = {"remove": 11, "add": 13, "swap": 12}[change]
        assert (summary.extracted, Store(root)["a"].num_frames) == (1, expected)
        assert extract(explicit_files([path]), root, recipe, HERE).done_before == 1


def test_a_change_while_it_is_read_is_noticed(frames):
    path = frames[0]
    fingerprint = fingerprint_source(path)
    (path / "Thumbs.db").touch()  # as a file browser does
    check_unchanged(path, fingerprint)
    data = (path / "frame4.png").read_bytes()
    (path / "frame4.png").write_bytes(data)  # the same, but perhaps not at every moment
    os.utime(path / "frame4.png", ns=(fingerprint.mtime_ns + 10**9,) * 2)
    with pytest.raises(VideoError, match="changed while it was read"):
        check_unchanged(path, fingerprint)


def test_the_weight_is_the_size_of_all_images(frames):
    path = frames[0]
    assert measure_source(path)[0] == sum(file.stat().st_size for file in path.iterdir())
    assert measure_source(path)[0] == fingerprint_source(path).size


def test_jpegs_are_kept_and_flow_is_of_their_pixels(tmp_path, frames, recipe):
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48))
    path = tmp_path / "jpegs"
    path.mkdir()
    files = [
        simplejpeg.encode_jpeg(np.ascontiguousarray(np.roll(picture, t, 1)), quality=q)
        for t, q in enumerate([85, 95, 60, 90])
    ]
    for t, data in enumerate(files):
        (path / f"{t:03}.jpg").write_bytes(data)
    decoded = [simplejpeg.decode_jpeg(data) for data in files]
    pngs = write_frames(tmp_path / "pngs", decoded)
    keep = replace(recipe, resize=Resize(mode="none"), rgb=RGBRecipe(quality=90, keep=True))
    extract(explicit_files([path, pngs]), tmp_path / "S", keep, HERE)
    kept, encoded = (Store(tmp_path / "S")[id] for id in ("jpegs", "pngs"))
    assert [kept.rgb_bytes(t) == files[t] for t in range(4)] == [True, False, True, True]
    assert [kept.flow_bytes(t) == encoded.flow_bytes(t) for t in range(3)] == [True] * 3
    assert kept.rgb_bytes(1) == encoded.rgb_bytes(1)
    assert not verify(tmp_path / "S", deep=True).problems


def test_bad_folders_are_named_and_leave_the_others_untouched(tmp_path, frames, recipe):
    pictures = read_video(frames[1])
    bad = tmp_path / "bad"
    write_frames(bad / "gap", pictures[:3])
    write_frames(bad / "gap", pictures[:2], first=7)
    write_frames(bad / "single", pictures[:1])
    write_frames(bad / "corrupt", pictures[:9])
    (bad / "corrupt" / "frame7.png").write_bytes(b"no image")
    write_frames(bad / "sizes", pictures[:3])
    write_frames(bad / "sizes", pictures[:1, :20], first=3)
    write_frames(bad / "formats", pictures[:2])
    write_frames(bad / "formats", pictures[:2], ".jpg", first=2)
    write_frames(bad / "series", pictures[:2])
    write_frames(bad / "series", pictures[:2]).joinpath("frame1.png").rename(
        bad / "series" / "mask1.png"
    )
    write_frames(bad / "pipe", pictures[:2])
    os.mkfifo(bad / "pipe" / "frame2.png")
    write_frames(bad / "fine", pictures[:4])
    expected = {
        "gap": ("gap", "frame2.png and frame7.png"),
        "single": ("too-short", "1 frame, expected at least 2"),
        "corrupt": ("broken", "corrupt/frame7.png"),
        "sizes": ("size-change", "frame3.png is 64×20, frame0.png 64×48"),
        "formats": ("mixed-formats", "frame"),
        "series": ("numbering", "frame0.png and mask1.png"),
        "pipe": ("not-a-file", "frame2.png: expected an image, got a special file"),
    }
    (bad / "empty").mkdir()
    _, located = folder.scan_folder(bad, list_videos(bad, frames_only=True))
    root = tmp_path / "S"
    summary = extract(located, root, recipe, HERE)
    assert {f.id: f.kind for f in summary.failed} == {
        id: kind for id, (kind, _) in expected.items()
    }
    for failure in summary.failed:
        assert expected[failure.id][1] in failure.reason
        assert failure.id in failure.reason
    assert list(Store(root)) == ["fine"]
    again = extract(located, root, recipe, HERE)
    assert len(again.quarantined) == 7
    # A repaired folder is tried again.
    shutil.copy(bad / "gap" / "frame2.png", bad / "gap" / "frame3.png")
    for number in (4, 5, 6):
        shutil.copy(bad / "gap" / "frame2.png", bad / "gap" / f"frame{number}.png")
    cv2.imwrite(str(bad / "corrupt" / "frame7.png"), pictures[7])
    assert extract(located, root, recipe, HERE).extracted == 2
    assert read_failures(root).keys() == expected.keys()


def test_an_empty_folder_is_no_video(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no videos below"):
        explicit_files([tmp_path / "empty"])
    with pytest.raises(VideoError, match="empty: expected a video file, or a folder with the"):
        fingerprint_source(tmp_path / "empty")


def test_labels_state_the_frame_rate(tmp_path, frames, recipe, monkeypatch):
    from types import SimpleNamespace

    from flowkit.extraction import frame_rates

    def state(text, column="FPS"):
        annotation = SimpleNamespace(id="a", attributes={column: text, "person": "x"})
        table = SimpleNamespace(annotations=[annotation])
        monkeypatch.setattr(frame_rates, "read_annotations", lambda root: table)

    located, root = explicit_files([frames[0]]), tmp_path / "S"
    state("fast")
    with pytest.raises(UsageError, match="the labels of 'a' state the frame rate 'fast'"):
        extract(located, root, recipe, HERE)
    state("30000/1001")
    extract(located, root, recipe, HERE)  # the labels count before --frame-rate
    assert Store(root)["a"].fps == pytest.approx(29.97, abs=0.001)
    state("12", "frame_rate")
    assert extract(located, root, recipe, HERE).changed == ["a"]
    state("", "fps")
    assert extract(located, root, recipe, Options(workers=0)).done_before == 1


def test_a_rate_without_folders_is_refused(tmp_path, frames, recipe):
    with pytest.raises(UsageError, match="there is none among the videos"):
        extract(explicit_files([frames[1]]), tmp_path / "S", recipe, HERE)
    assert not (tmp_path / "S").exists()


@pytest.mark.parametrize("rate", [0, -1, 1001, float("nan")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(UsageError, match="frame-rate must be above 0 and at most 1000"):
        Options(frame_rate=rate)


MEASURE = """
import resource, sys
from pathlib import Path
from flowkit.annotations import explicit_files
from flowkit.extraction import Options, extract
from flowkit.recipe import StoreRecipe, Resize, RGBRecipe
folder, root, frame_rate = Path(sys.argv[1]), Path(sys.argv[2]), 25.0
options = Options(workers=0, streams=("rgb",), frame_rate=frame_rate)
recipe = StoreRecipe(resize=Resize(mode="none"), rgb=RGBRecipe())
summary = extract(explicit_files([folder]), root, recipe, options)
print(summary.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_hundred_thousand_frames_need_little_memory(tmp_path):
    image = cv2.imencode(".png", np.full((16, 16, 3), 90, np.uint8))[1].tobytes()
    memory = {}
    for count in (100, 100_000):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:06}.png").write_bytes(image)
        command = [sys.executable, "-c", MEASURE, str(folder), str(tmp_path / f"S{count}")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stderr
        frames, kilobytes = done.stdout.split()
        assert int(frames) == count
        memory[count] = int(kilobytes)
    assert memory[100_000] - memory[100] < 200_000


@pytest.mark.parametrize(("kind", "changed"), [("unreadable", False), ("gap", True)])
def test_a_folder_that_cannot_be_listed_has_not_changed(frames, monkeypatch, kind, changed):
    path, _ = frames
    fingerprint = fingerprint_source(path)

    def fail(folder):
        raise VideoError(kind, f"{folder}: no")

    monkeypatch.setattr(source, "list_frames", fail)
    assert has_changed(path, fingerprint) == changed
