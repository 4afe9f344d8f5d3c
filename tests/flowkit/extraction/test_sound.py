"""Sound on the way into a store: absent, silent, too short, broken midway or from the start."""

from dataclasses import replace

import av
import numpy as np
import pytest

from flowkit.annotations import explicit_files
from flowkit.errors import UsageError
from flowkit.extraction import Options, extract
from flowkit.recipe import FeatureRecipe, LogMelRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store import (
    ShardWriter,
    Store,
    VideoMeta,
    create_or_open,
    find_stale,
    rebuild_index,
    recover,
)
from flowkit.store.format.records import read_record, record_paths
from flowkit.store.integrity.verify import verify

RECIPE = StoreRecipe(
    resize=Resize(mode="exact", width=32, height=32), rgb=RGBRecipe(), audio=LogMelRecipe()
)


def write_sound(path, samples):
    """A small video with these 16 kHz samples."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("aac", rate=16000)
        for t in range(5):
            picture = np.full((48, 64, 3), 20 * t, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(
            samples.astype(np.float32)[None], format="fltp", layout="mono"
        )
        frame.sample_rate = 16000
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def break_sound(path, share):
    """Overwrite the audio packets after ``share`` of them; the pictures stay as they are."""
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(audio=0) if p.size]
    data = bytearray(path.read_bytes())
    for pos, size in places[round(share * len(places)) :]:
        data[pos : pos + size] = b"\xff" * size
    path.write_bytes(data)
    return path


def run(root, *files, **options):
    chosen = Options(workers=0, streams=("rgb", "audio"), **options)
    return extract(explicit_files(files), root, RECIPE, chosen)


def warnings(root, id):
    records = [read_record(path) for path in record_paths(root)]
    return [
        warning for record in records if record.folder == "audio"
        for video in record.videos if video.id == id
        for warning in video.warnings
    ]  # fmt: skip


def test_no_sound_and_silence_are_not_the_same(tmp_path, make_clip):
    mute = make_clip(tmp_path / "mute.mp4")
    silent = write_sound(tmp_path / "silent.mp4", np.zeros(3 * 16000))
    short = write_sound(tmp_path / "short.mp4", np.zeros(8000))
    summary = run(tmp_path / "S", mute, silent, short)
    assert (summary.extracted, len(summary.failed)) == (3, 0)
    store = Store(tmp_path / "S")
    assert store["mute.mp4"].audio().shape == store["short.mp4"].audio().shape == (0, 96, 64)
    assert "no audio stream" in warnings(tmp_path / "S", "mute.mp4")[0]
    assert warnings(tmp_path / "S", "short.mp4") == []
    patches = store["silent.mp4"].audio()
    assert len(patches) == 3
    np.testing.assert_allclose(patches, np.log(0.01), atol=1e-3)
    assert all("audio" in store[id].streams for id in store)
    again = run(tmp_path / "S", mute, silent, short)
    assert (again.extracted, again.done_before) == (0, 3)
    assert verify(tmp_path / "S", deep=True).clean


def test_a_track_that_breaks_midway_keeps_what_came_before(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 6 * 16000)
    whole = write_sound(tmp_path / "whole.mp4", noise)
    broken = break_sound(write_sound(tmp_path / "broken.mp4", noise), 0.5)
    run(tmp_path / "S", whole, broken)
    store = Store(tmp_path / "S")
    found, wanted = store["broken.mp4"].audio(), store["whole.mp4"].audio()
    assert 1 <= len(found) < len(wanted) == 6
    np.testing.assert_allclose(found, wanted[: len(found)], rtol=0, atol=1e-5)
    assert "audio decoding broke" in warnings(tmp_path / "S", "broken.mp4")[0]


def test_a_track_of_which_nothing_decodes_has_no_patches_and_says_so(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 2 * 16000)
    good = write_sound(tmp_path / "good.mp4", noise)
    bad = break_sound(write_sound(tmp_path / "bad.mp4", noise), 0)
    root = tmp_path / "S"
    summary = run(root, good, bad)
    assert not summary.failed
    [warned] = summary.warned
    assert warned.startswith("bad.mp4: ")
    assert "no audio could be decoded" in warned
    assert warnings(root, "bad.mp4") == [warned]
    store = Store(root)
    assert store["bad.mp4"].audio().shape == (0, 96, 64)
    assert store["bad.mp4"].num_frames == 5
    assert len(store["good.mp4"].audio()) == 2
    again = run(root, good, bad)
    assert (again.extracted, again.done_before) == (0, 2)
    write_sound(bad, noise)  # another file: tried again
    fixed = run(root, good, bad, update=True)
    assert fixed.extracted == 1
    assert len(Store(root)["bad.mp4"].audio()) == 2
    recover(root)
    assert verify(root, deep=True).clean


def put_net(root, recipe, vectors, **more):
    """Features of the one video, as it is in the store now."""
    writer = ShardWriter(root, "features/net", recipe=recipe)
    video = Store(root)["a.mp4"]
    writer.begin("a.mp4")
    writer.append_rows(vectors, range(len(vectors)), [0] * len(vectors))
    writer.end(
        VideoMeta(
            id="a.mp4", source=video.source, fingerprint=video.fingerprint,
            streams=("features/net",), frames=len(vectors), fps=0, width=0, height=0, **more,
        )
    )  # fmt: skip
    writer.close()
    rebuild_index(root)


def test_a_store_with_features_is_extracted_on(tmp_path, make_clip):
    """Streams that are not an extraction's are left as they are, also by an update."""
    root, clip = tmp_path / "S", make_clip(tmp_path / "a.mp4", sound=True)
    rgb = replace(RECIPE, audio=None)
    extract(explicit_files([clip]), root, rgb, Options(workers=0, streams=("rgb",)))
    net = FeatureRecipe(source="rgb", model="net", weights="ab", dimension=2, positions=0)
    recipe = create_or_open(root, replace(rgb, features={"net": net})).recipe
    put_net(root, recipe, [[1, 2], [3, 4]])
    run(root, clip)
    assert find_stale(root, "net") == []
    assert Store(root)["a.mp4"].streams == ("rgb", "audio", "features/net")
    make_clip(clip, frames=12, seed=5)
    assert run(root, clip, update=True).extracted == 1
    report = verify(root, deep=True)
    assert report.clean
    assert find_stale(root, "net") == ["a.mp4"]
    assert any("features/net of 1 videos are of files" in note for note in report.notes)
    video = Store(root)["a.mp4"]
    assert (video.num_frames, video.streams) == (12, ("rgb", "audio", "features/net"))
    assert video.features("net").tolist() == [[1, 2], [3, 4]]
    put_net(root, recipe, [[5, 6]], supersedes=True)
    assert find_stale(root, "net") == []
    assert Store(root)["a.mp4"].features("net").tolist() == [[5, 6]]
    with pytest.raises(UsageError, match=r"it has \(net\), got 'other'"):
        find_stale(root, "other")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"sample_rate": 48000}, "at most fft = 512 samples in a window, got 1200"),
        ({"high_hz": 9000.0}, "high_hz ≤ sample_rate / 2"),
        ({"patch": 48, "mels": 128}, "96 windows of 64 mel bands"),
    ],
)
def test_audio_that_would_be_stored_wrongly_is_refused(values, reason):
    with pytest.raises(UsageError, match=reason):
        LogMelRecipe(**values).check()
