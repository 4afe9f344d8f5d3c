"""Feature files of the videos of a store: the images of the videos, up to their JPEGs.

The networks of these tests return their input, so the files hold the input itself.
"""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from flowkit.annotations import AnnotationTable, explicit_files
from flowkit.annotations.table import Annotation
from flowkit.commands.sources import SourceArguments, choose_sources
from flowkit.errors import RecipeError
from flowkit.extraction import Options, extract, extract_stored_flow, locate_stored_videos
from flowkit.flow import tvl1_video_quantized
from flowkit.interchange.imports import import_folders
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store import Store, rebuild_index, write_annotations
from flowkit.store.format.records import record_paths
from tests.train.feature_files.conftest import (
    QUIET,
    TVL1,
    compute,
    load_rows,
    read_files,
    read_info,
)
from train.feature_files.windows import WindowSampling

pytestmark = pytest.mark.usefixtures("mirrors")
SIZE = 24
FRAMES = StoreRecipe(
    resize=Resize(mode="short-side", side=32), rgb=RGBRecipe(), flow=FlowRecipe(tvl1=TVL1)
)
BEST = replace(
    FRAMES, rgb=RGBRecipe(quality=100, subsampling="4:4:4"), flow=FlowRecipe(tvl1=TVL1, quality=100)
)
TIMES = ("frames", "frame_rate", "duration", "start_seconds", "end_seconds", "padding", "rows")


@pytest.fixture
def clips(tmp_path, make_clip):
    """Videos of a constant and of a variable frame rate, and one that is shorter than a window."""
    folder = tmp_path / "videos"
    return [
        make_clip(folder / "constant.mp4", 11),
        make_clip(folder / "variable.mp4", times=[0, 40, 90, 200, 210, 300, 420], seed=1),
        make_clip(folder / "short.mp4", 3, seed=2),
    ]


@pytest.fixture
def make_stored_request(make_request):
    """``make_stored_request(root, …)``: features of the videos of a store."""

    def make(root, **options):
        options = {"size": SIZE, "frames": Store(root).recipe, "store": root, **options}
        return make_request(**options)

    return make


def store_videos(root, paths, recipe=FRAMES, streams=("rgb", "flow")):
    options = Options(workers=0, streams=streams, roll_bytes=1)  # a shard for each video
    extract(explicit_files(paths), root, recipe, options, console=QUIET)
    return root


def compute_stored(request):
    return compute(locate_stored_videos(request.store), request)


@pytest.mark.parametrize("fps", [None, 12.5])
@pytest.mark.parametrize(
    ("recipe", "rgb_limits", "flow_limits"),
    # Mean and largest difference, of RGB in [0, 1] and flow in [-1, 1]. In the best quality, RGB
    # differs by the rounding of YCbCr, and flow by that of the cosine transform. The default
    # quality halves the resolution of colours, which these videos have much of.
    [
        (BEST, (0.6 / 255, 4.1 / 255), (0.1 / 127, 1.1 / 127)),
        (FRAMES, (0.06, 0.4), (0.5 / 127, 4.1 / 127)),
    ],
    ids=["best", "default"],
)
def test_rows_are_those_of_the_videos_up_to_their_jpegs(
    tmp_path, clips, make_request, make_stored_request, recipe, rgb_limits, flow_limits, fps
):
    recipe = replace(recipe, fps=fps)
    windows = WindowSampling(length=4, stride=2, placement="covering")
    stored = make_stored_request(
        store_videos(tmp_path / "S", clips, recipe), windows=windows, out=tmp_path / "stored"
    )
    direct = make_request(
        size=SIZE, windows=windows, out=tmp_path / "direct", frames=replace(recipe, rgb=None)
    )
    assert compute_stored(stored).computed == 3
    assert compute(explicit_files(clips), direct).computed == 3
    for clip in clips:
        info, expected = (read_info(r.out, clip.stem) for r in (stored, direct))
        assert {key: info[key] for key in TIMES} == {key: expected[key] for key in TIMES}
        assert info["fingerprint"] == expected["fingerprint"]
        rows, expected_rows = (
            load_rows(request.out / f"{clip.stem}.npy", SIZE) for request in (stored, direct)
        )
        for stream, (mean, largest) in {"rgb": rgb_limits, "flow": flow_limits}.items():
            difference = np.abs(rows[stream] - expected_rows[stream])
            assert difference.mean() <= mean, (clip.stem, stream)
            assert difference.max() <= largest, (clip.stem, stream)
        # A network of flow that were shifted by a frame, or of the other sign, would differ more.
        still = np.abs(expected_rows["flow"]).mean()
        assert np.abs(rows["flow"] - expected_rows["flow"]).mean() < still / 2


def test_a_store_of_rgb_only(tmp_path, clips, make_stored_request):
    root = store_videos(tmp_path / "S", clips[:1], replace(FRAMES, flow=None), ("rgb",))
    request = make_stored_request(root, streams=("rgb",))
    assert compute_stored(request).computed == 1
    before = read_files(request.out)
    # Other streams of the store change nothing for the networks of RGB.
    extract_stored_flow(
        locate_stored_videos(root),
        root,
        replace(Store(root).recipe, flow=FlowRecipe(tvl1=TVL1, source="stored rgb")),
        Options(workers=0, streams=("flow",)),
        console=QUIET,
    )
    summary = compute_stored(make_stored_request(root, streams=("rgb",)))
    assert (summary.done_before, summary.changed) == (1, [])
    again = make_stored_request(root, streams=("rgb",), out=tmp_path / "again")
    assert compute_stored(again).computed == 1
    assert read_files(again.out) == before


def test_flow_of_stored_rgb(tmp_path, clips, make_stored_request):
    root = store_videos(tmp_path / "S", clips[:1], replace(FRAMES, flow=None), ("rgb",))
    recipe = replace(Store(root).recipe, flow=FlowRecipe(tvl1=TVL1, source="stored rgb"))
    options = Options(workers=0, streams=("flow",))
    extract_stored_flow(locate_stored_videos(root), root, recipe, options, console=QUIET)
    request = make_stored_request(root)
    assert compute_stored(request).computed == 1
    video = Store(root)["constant.mp4"]
    grey = np.stack([cv2.cvtColor(video.rgb(t), cv2.COLOR_RGB2GRAY) for t in range(11)])
    expected = tvl1_video_quantized(grey, TVL1, 20.0, "numba")
    expected = (np.stack(list(expected)).astype(np.float32) - 128) / 127
    top, left = (video.height - SIZE) // 2, (video.width - SIZE) // 2
    expected = expected[:, top : top + SIZE, left : left + SIZE]
    rows = load_rows(request.out / "constant.npy", SIZE)["flow"]
    difference = np.abs(rows[0].transpose(1, 2, 3, 0) - expected[:4])
    assert difference.mean() < 0.02  # JPEG of quality 95
    assert read_info(request.out, "constant")["recipe"]["frames"]["flow"]["source"] == "stored rgb"


def test_an_imported_store(tmp_path, make_stored_request):
    rng = np.random.default_rng(0)
    folder = tmp_path / "rawframes" / "waving" / "a"
    folder.mkdir(parents=True)
    for number in range(6):
        smooth = cv2.resize(rng.integers(0, 255, (4, 5, 5), np.uint8), (40, 32))
        cv2.imwrite(str(folder / f"img_{number:05}.jpg"), smooth[..., :3])
        for channel, axis in ((3, "x"), (4, "y")) if number < 5 else ():
            cv2.imwrite(str(folder / f"flow_{axis}_{number:05}.jpg"), smooth[..., channel])
    import_folders(tmp_path / "rawframes", tmp_path / "S", "mmaction2", fps=25)
    request = make_stored_request(tmp_path / "S")
    assert compute_stored(request).computed == 1
    (id,) = Store(tmp_path / "S").ids
    video = Store(tmp_path / "S")[id]
    info = read_info(request.out, "waving%2Fa")
    assert info["start_seconds"] == [0.0]
    assert info["recipe"]["frames"]["flow"]["grey"] == "imported:mmaction2"
    rows = load_rows(request.out / "waving%2Fa.npy", SIZE)
    expected = np.stack([video.rgb(t) for t in range(4)])[:, 4:28, 8:32] / 255
    np.testing.assert_allclose(rows["rgb"][0], expected.transpose(3, 0, 1, 2), atol=1e-6)
    expected = np.stack([video.flow(t) for t in range(4)])[:, 4:28, 8:32] / 20
    np.testing.assert_allclose(rows["flow"][0], expected.transpose(3, 0, 1, 2), atol=1e-6)


def damage_image(shard):
    content, jpeg = shard.read_bytes(), Store(shard.parents[1])["b"].flow_bytes(3)[1]
    start = content.index(jpeg)
    shard.write_bytes(content[:start] + b"\0" * 64 + content[start + 64 :])


def cut_off(shard):
    os.truncate(shard, shard.stat().st_size // 2)


def remove(shard):
    shard.unlink()


@pytest.mark.parametrize("damage", [damage_image, cut_off, remove])
def test_a_damaged_shard_is_a_failure_of_its_videos(make_store, make_stored_request, damage):
    root = make_store(["a", "b", "c"], frames=6, width=40, height=32, per_shard=1)
    shard = next(
        record.with_suffix(".arrow")
        for record in record_paths(root)
        if b'"b"' in record.read_bytes()
    )
    damage(shard)
    request = make_stored_request(root)
    summary = compute_stored(request)
    assert [(failure.id, failure.kind) for failure in summary.failed] == [("b", "broken")]
    assert summary.computed == 2
    assert read_files(request.out).keys() == {"a.npy", "a.json", "c.npy", "c.json"}
    again = compute_stored(request)
    assert [failure.id for failure in again.quarantined] == ["b"]


def test_a_store_that_grows(tmp_path, clips, make_stored_request):
    root = store_videos(tmp_path / "S", clips[:2])
    request = make_stored_request(root)
    compute_stored(request)
    before = read_files(request.out)
    store_videos(root, clips)
    summary = compute_stored(make_stored_request(root))
    assert (summary.done_before, summary.computed) == (2, 1)
    after = read_files(request.out)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"short.npy", "short.json"}


def test_videos_that_a_store_has_extracted_again(tmp_path, clips, make_clip, make_stored_request):
    root = store_videos(tmp_path / "S", clips[:2])
    request = make_stored_request(root)
    compute_stored(request)
    make_clip(clips[0], 9, seed=7)
    options = Options(workers=0, update=True)
    extract(explicit_files(clips[:2]), root, FRAMES, options, console=QUIET)
    assert compute_stored(request).changed == ["constant.mp4"]
    assert read_info(request.out, "constant")["frames"] == 11
    summary = compute(locate_stored_videos(root), request, update=True)
    assert (summary.computed, summary.done_before) == (1, 1)
    assert read_info(request.out, "constant")["frames"] == 9


def test_videos_that_a_store_has_lost(make_store, make_stored_request):
    root = make_store(["a", "b"], frames=6, width=40, height=32, per_shard=1)
    request = make_stored_request(root)
    located = locate_stored_videos(root)
    compute(located, request)
    before = read_files(request.out)
    for record in record_paths(root):
        if b'"b"' in record.read_bytes():
            record.with_suffix(".arrow").unlink()
            record.unlink()
    rebuild_index(root)
    for sources in (located, locate_stored_videos(root)):
        summary = compute(sources, request)
        assert (summary.done_before, summary.computed, summary.without_features) == (1, 0, 0)
    assert read_files(request.out) == before


def test_a_video_that_is_removed_while_it_waits(
    tmp_path, make_store, make_stored_request, monkeypatch
):
    root = make_store(["a", "b"], frames=6, width=40, height=32)
    later = make_store(["b"], root=tmp_path / "later", frames=6, width=40, height=32)
    monkeypatch.setattr("train.feature_files.sources.Store", lambda path: Store(later))
    summary = compute_stored(make_stored_request(root))
    assert [(failure.id, failure.kind) for failure in summary.failed] == [("a", "gone")]
    assert summary.computed == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda recipe: replace(recipe, rgb=RGBRecipe(quality=80)), "frames.rgb.quality was 95"),
        (
            lambda recipe: replace(recipe, flow=FlowRecipe(tvl1=TVL1, quality=80)),
            "frames.flow.quality was 95 and is now 80",
        ),
        (lambda recipe: replace(recipe, fps=10.0), "--fps was not given and is now 10.0"),
    ],
)
def test_a_folder_of_another_store_is_refused(
    tmp_path, clips, make_stored_request, change, message
):
    request = make_stored_request(store_videos(tmp_path / "S", clips[2:]))
    compute_stored(request)
    other = store_videos(tmp_path / "T", clips[2:], change(FRAMES))
    with pytest.raises(RecipeError, match=message):
        compute_stored(make_stored_request(other))


@pytest.mark.parametrize("streams", [("rgb", "flow"), ("rgb",), ("flow",)])
def test_files_of_videos_and_of_a_store_are_not_mixed(
    tmp_path, clips, make_request, make_stored_request, streams
):
    root = store_videos(tmp_path / "S", clips[2:])
    compute_stored(make_stored_request(root, streams=streams))
    direct = make_request(size=SIZE, streams=streams, frames=replace(FRAMES, rgb=None))
    with pytest.raises(RecipeError) as caught:
        compute(explicit_files(clips[2:]), direct)
    message = "the source of the images was a store and is now video files. Use another folder"
    assert message in str(caught.value)


def test_images_of_a_store_that_has_the_same_recipe_are_accepted(
    tmp_path, clips, make_stored_request
):
    first = store_videos(tmp_path / "S", clips[2:])
    compute_stored(make_stored_request(first))
    second = store_videos(tmp_path / "T", clips[1:])
    summary = compute_stored(make_stored_request(second))
    assert (summary.done_before, summary.computed) == (1, 1)


def test_a_store_at_a_url_gives_the_same_files(tmp_path, clips, make_stored_request, upload):
    root = store_videos(tmp_path / "S", clips)
    subsets = {id: ("train",) if "short" in id else ("val",) for id in Store(root)}
    rows = tuple(Annotation(id, (), names) for id, names in subsets.items())
    write_annotations(root, AnnotationTable((), rows))
    rebuild_index(root)
    local = make_stored_request(root, out=tmp_path / "local")
    remote = make_stored_request(Path(upload(root)), out=tmp_path / "remote")
    for request in (local, remote):
        sources = choose_sources(SourceArguments(from_store=request.store, subset="val"))
        summary = compute(sources.videos, request)
        assert (summary.computed, summary.failed) == (2, [])
    assert read_files(local.out) == read_files(remote.out)
    assert compute_stored(remote).done_before == 2
