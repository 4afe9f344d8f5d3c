"""Flow that is computed from the RGB of a store: its bytes, for which videos, and refusals."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from flowkit.annotations import explicit_files
from flowkit.errors import FormatError, LockedError, RecipeError, UsageError
from flowkit.extraction import (
    Options,
    RecipeOverrides,
    choose_recipe,
    extract,
    extract_stored_flow,
    locate_stored_videos,
)
from flowkit.flow import quantize, tvl1_video
from flowkit.interchange.imports import import_folders
from flowkit.recipe import Resize
from flowkit.store import Store, hold_store, read_header
from flowkit.store.failures import Failure, append_failure
from flowkit.store.format.jpeg import encode_grey
from flowkit.store.format.records import read_record, record_paths
from flowkit.store.integrity.verify import verify
from flowkit.store.status import describe_recipe, read_status

FLOW = Options(workers=0, streams=("flow",))
RGB = Options(workers=0, streams=("rgb",))


def add_flow(root, recipe, options=FLOW, ids=None):
    """Compute flow by the solver of ``recipe``, as ``flowkit extract --from-store`` does."""
    overrides = RecipeOverrides(from_store=True)
    chosen = choose_recipe(root, ("flow",), overrides)
    chosen = replace(chosen, flow=replace(chosen.flow, tvl1=recipe.flow.tvl1))
    located = locate_stored_videos(root)
    if ids is not None:
        located = replace(located, sources=tuple(s for s in located.sources if s.id in ids))
    return extract_stored_flow(located, root, chosen, options)


@pytest.fixture
def rgb_store(tmp_path, make_clip, recipe):
    """A store with the RGB of three videos, which are gone."""
    clips = [make_clip(tmp_path / f"{name}.mp4", 7 + n, seed=n) for n, name in enumerate("abc")]
    extract(explicit_files(clips), tmp_path / "S", replace(recipe, flow=None), RGB)
    for clip in clips:
        clip.unlink()
    return tmp_path / "S"


def test_flow_is_that_of_the_decoded_jpegs(rgb_store, recipe):
    summary = add_flow(rgb_store, recipe)
    assert (summary.extracted, summary.frames, summary.pairs) == (3, 24, 21)
    video = Store(rgb_store)["b.mp4"]
    greys = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video.frames()])
    flow = quantize(tvl1_video(greys, recipe.flow.tvl1, "numba"), 20.0)
    for t in range(7):
        assert video.flow_bytes(t) == tuple(encode_grey(flow[t, ..., k], 95) for k in (0, 1))
    assert not verify(rgb_store, deep=True).problems
    assert add_flow(rgb_store, recipe).done_before == 3


def test_the_store_says_where_its_flow_is_from(rgb_store, recipe):
    add_flow(rgb_store, recipe)
    flow = read_header(rgb_store).recipe.flow
    assert (flow.source, flow.grey) == ("stored rgb", "opencv-rgb2gray of the stored RGB JPEG")
    assert "from the stored RGB" in describe_recipe(read_header(rgb_store).recipe)
    videos = [video for path in record_paths(rgb_store) for video in read_record(path).videos]
    by_stream = {(video.id, video.streams): video for video in videos}
    for id in "abc":
        rgb, flow = (by_stream[f"{id}.mp4", (stream,)] for stream in ("rgb", "flow"))
        assert (rgb.source, rgb.fingerprint, rgb.fps) == (flow.source, flow.fingerprint, flow.fps)
        assert (rgb.frames, rgb.width, rgb.height) == (flow.frames, flow.width, flow.height)


def test_rgb_and_flow_in_one_pass_are_the_same_bytes(tmp_path, make_clip, recipe, contents):
    """A store with flow of stored RGB may get further videos, with the same meaning."""
    clips = [make_clip(tmp_path / f"{name}.mp4", seed=ord(name)) for name in "ab"]
    once, twice = tmp_path / "once", tmp_path / "twice"
    only_rgb = replace(recipe, flow=None)
    extract(explicit_files(clips[:1]), once, only_rgb, RGB)
    extract(explicit_files(clips), twice, only_rgb, RGB)
    add_flow(once, recipe)
    add_flow(twice, recipe)
    located = explicit_files(clips)
    streams = ("rgb", "flow")
    extract(located, once, choose_recipe(once, streams, RecipeOverrides()), Options(workers=0))
    assert contents(once) == contents(twice)
    # A changed video gets both again, also if only RGB is named.
    make_clip(clips[0], frames=5, seed=9)
    summary = extract(
        located, once, choose_recipe(once, ("rgb",), RecipeOverrides()), replace(RGB, update=True)
    )
    assert (summary.extracted, summary.pairs) == (1, 4)
    assert Store(once)["a.mp4"].num_flow == 4


def test_videos_without_rgb_are_reported(rgb_store, tmp_path, make_clip, recipe):
    from flowkit.recipe import LogMelRecipe

    sound = make_clip(tmp_path / "d.mp4", sound=True)
    with_audio = replace(recipe, flow=None, audio=LogMelRecipe())
    extract(explicit_files([sound]), rgb_store, with_audio, replace(RGB, streams=("audio",)))
    summary = add_flow(rgb_store, recipe)
    assert (summary.extracted, summary.without_rgb) == (3, ["d.mp4"])
    assert ("1", "without RGB in the store") in summary._rows()


def test_limit_parts_and_a_choice_of_videos(rgb_store, recipe):
    summary = add_flow(rgb_store, recipe, replace(FLOW, limit=1))
    assert (summary.extracted, summary.beyond) == (1, 2)
    summary = add_flow(rgb_store, recipe, ids={"a.mp4", "c.mp4"})
    assert (summary.extracted, summary.done_before) == (1, 1)
    rest = [add_flow(rgb_store, recipe, replace(FLOW, part=(i, 3))) for i in range(3)]
    assert sum(summary.extracted for summary in rest) == 1
    assert sum(summary.done_before for summary in rest) == 2


def test_an_import_gets_flow(tmp_path, recipe):
    rng = np.random.default_rng(0)
    for name in ("u", "v"):
        (tmp_path / "in" / name).mkdir(parents=True)
        picture = cv2.resize(rng.integers(0, 256, (5, 6, 3), np.uint8), (48, 40))
        for t in range(4):
            cv2.imwrite(str(tmp_path / "in" / name / f"img_{t:05}.jpg"), np.roll(picture, t, 1))
    root = tmp_path / "S"
    import_folders(tmp_path / "in", root, fps=25)
    assert add_flow(root, recipe).pairs == 6
    video = Store(root)["u"]
    assert video.flow(1).shape == (40, 48, 2)
    # Images have no times, and their flow does not invent some.
    assert video.read_stored_times() is None
    assert video.duration == 4 / 25
    assert not verify(root, deep=True).problems


def test_a_damaged_jpeg_fails_its_video_alone(tmp_path, make_store, recipe):
    root = make_store(streams=("rgb",))
    store = Store(root)
    jpeg = store["b/ü #1"].rgb_bytes(3)
    for shard in (root / "frames").glob("*.arrow"):
        data = bytearray(shard.read_bytes())
        start = data.find(jpeg)
        data[start : start + len(jpeg)] = b"\0" * len(jpeg)
        shard.write_bytes(data)
    summary = add_flow(root, recipe)
    assert [(f.id, f.kind) for f in summary.failed] == [("b/ü #1", "broken")]
    assert "stored RGB frame 3: expected a JPEG image" in summary.failed[0].reason
    assert summary.extracted == 2
    assert read_status(root).failures == {"broken": 1}
    again = add_flow(root, recipe)
    assert ([f.id for f in again.quarantined], again.done_before) == (["b/ü #1"], 2)
    assert len(add_flow(root, recipe, replace(FLOW, retry_failed=True)).failed) == 1


def test_a_failure_of_the_file_says_nothing_about_the_stored_frames(tmp_path, make_store, recipe):
    """It may have failed when the file had changed, with RGB of the earlier file in the store."""
    root = make_store(["a", "b"], streams=("rgb",))
    failure = Failure("a", str(tmp_path / "a.mp4"), "truncated", "a.mp4 is cut", 1, 0.0)
    append_failure(root, failure)
    summary = add_flow(root, recipe)
    assert (summary.extracted, summary.quarantined) == (2, [])
    assert read_status(root).failures == {}


def test_one_frame_is_too_short(tmp_path, make_store, recipe):
    summary = add_flow(make_store(["a"], streams=("rgb",), frames=1), recipe)
    assert [f.kind for f in summary.failed] == ["too-short"]


def test_what_is_refused(tmp_path, make_store, rgb_store, make_clip, recipe):
    with pytest.raises(FormatError):
        add_flow(tmp_path / "nowhere", recipe)
    of_video = tmp_path / "of video"
    clip = make_clip(tmp_path / "a.mp4")
    extract(explicit_files([clip]), of_video, recipe, Options(workers=0))
    with pytest.raises(RecipeError, match="was computed from the videos"):
        add_flow(of_video, recipe)
    flow_only = make_store(root=tmp_path / "flow only", streams=("flow",))
    with pytest.raises(UsageError, match="has no RGB to compute flow from"):
        add_flow(flow_only, recipe)
    with pytest.raises(UsageError, match="expected --streams flow, got rgb,flow"):
        add_flow(rgb_store, recipe, Options(workers=0))
    for option in ({"update": True}, {"frame_rate": 3.0}):
        with pytest.raises(UsageError, match="have no effect with --from-store"):
            add_flow(rgb_store, recipe, replace(FLOW, **option))
    # Another size than that of the stored frames is another recipe.
    chosen = choose_recipe(rgb_store, ("flow",), RecipeOverrides(from_store=True))
    other = replace(chosen, resize=Resize(width=16, height=16))
    with pytest.raises(RecipeError, match="resize"):
        extract_stored_flow(locate_stored_videos(rgb_store), rgb_store, other, FLOW)
    assert read_header(rgb_store).recipe.flow is None
    with hold_store(rgb_store), pytest.raises(LockedError):
        add_flow(rgb_store, recipe)


def test_such_flow_alone_needs_rgb(tmp_path, make_clip, recipe):
    """A recipe of the catalogue may ask for flow of the JPEGs from the first video on."""
    clip = make_clip(tmp_path / "a.mp4")
    flow = replace(recipe.flow, source="stored rgb")
    with pytest.raises(UsageError, match="expected --streams rgb,flow"):
        extract(explicit_files([clip]), tmp_path / "S", replace(recipe, rgb=None, flow=flow), FLOW)
    assert not (tmp_path / "S").exists()


RUN = """
import sys
from pathlib import Path
from flowkit.extraction import *
root = Path(sys.argv[1])
recipe = choose_recipe(root, ("flow",), RecipeOverrides(from_store=True, preset="fast"))
options = Options(workers=int(sys.argv[2]), streams=("flow",), roll_seconds=0.1)
extract_stored_flow(locate_stored_videos(root), root, recipe, options)
"""


def start(root, workers):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(root), str(workers)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def test_a_killed_run_is_continued(tmp_path, make_store):
    ids = [f"v{number:02}" for number in range(12)]
    root = make_store(ids, streams=("rgb",), frames=12, width=128, height=96)
    process = start(root, 0)
    deadline = time.monotonic() + 60
    while len(list(root.glob("frames/*.json"))) < 3 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    recipe = read_header(root).recipe
    summary = extract_stored_flow(locate_stored_videos(root), root, recipe, FLOW)
    assert summary.done_before > 0
    assert summary.done_before + summary.extracted == 12
    assert {Store(root)[id].num_flow - Store(root)[id].num_frames for id in ids} == {-1}
    assert not verify(root, deep=True).problems


@pytest.mark.slow
def test_workers_on_ray_compute_the_same(tmp_path, make_store, contents):
    roots = [make_store(root=tmp_path / name, streams=("rgb",)) for name in ("here", "ray")]
    for root, workers in zip(roots, (0, 2), strict=True):
        assert start(root, workers).wait(timeout=200) == 0
    here, ray = map(contents, roots)
    assert here == ray
    assert all(flow is not None for _, flow in here["a"][:-1])


def test_stored_times_and_steps(tmp_path, recipe):
    """Flow has the times of its RGB, and may lead backward."""
    import av

    path = tmp_path / "a.mkv"
    ticks = [0, 40, 90, 170, 180, 300]
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for pts in ticks:
            pixels = rng.integers(0, 256, (48, 64, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    root = tmp_path / "S"
    extract(explicit_files([path]), root, replace(recipe, flow=None), RGB)
    stored = Store(root)["a.mkv"].times()
    assert stored.tolist() == pytest.approx([tick / 1000 for tick in ticks])
    chosen = choose_recipe(root, ("flow",), RecipeOverrides(from_store=True, step=-1))
    chosen = replace(chosen, flow=replace(chosen.flow, tvl1=recipe.flow.tvl1))
    assert extract_stored_flow(locate_stored_videos(root), root, chosen, FLOW).pairs == 5
    video = Store(root)["a.mkv"]
    assert list(video.flow_frames) == [1, 2, 3, 4, 5]
    assert video.times().tolist() == stored.tolist()
    assert video.motion is not None
    assert not verify(root, deep=True).problems
