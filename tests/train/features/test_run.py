"""Feature extraction from a store to the store: what is computed, when, and what is said."""

import json
import os
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from flowkit.datasets.clips import ClipDataset
from flowkit.datasets.sampling import ClipSampling
from flowkit.datasets.snippets import SnippetDataset
from flowkit.datasets.transforms import CentreCrop, ThreeCrop
from flowkit.datasets.video_dataset import scale_bytes
from flowkit.errors import CorruptError, RecipeError, UsageError
from flowkit.recipe import LogMelRecipe
from flowkit.store import Fingerprint, ShardWriter, Store, VideoMeta, create_or_open, rebuild_index
from flowkit.store.format.records import read_record, record_paths
from flowkit.store.integrity.verify import verify
from models.backbones import vgg as vgg_module
from models.backbones.backbone import normalize
from models.backbones.vgg import VGG16
from train.commands.features import features
from train.features import NetworkOptions, Options, extract_features
from train.features.embedder import Embedder
from train.features.network_loading import load_feature_network
from train.features.setup import WorkerSetup

QUIET = Console(quiet=True)
HERE = Options(workers=0, device="cpu", batch=8)


@pytest.fixture
def wanted(finished):
    return NetworkOptions(model=str(finished.path), stream="flow", positions=4)


def run(store, wanted, name="flow", **changes):
    return extract_features(store.path, name, wanted, replace(HERE, **changes), QUIET)


def committed(root, name="flow"):
    """Ids of all commit records, one that counts twice too."""
    records = [read_record(p) for p in record_paths(root) if p.parent.name == name]
    return sorted(video.id for record in records for video in record.videos)


def compute(network, images, stream):
    """What a network makes of images as a dataset has them, plainly."""
    with torch.no_grad():
        return network.backbone.embed(
            normalize(scale_bytes(images, stream), network.convention)
        ).numpy()


def close(stored, direct):
    assert stored.dtype == np.float16
    np.testing.assert_allclose(stored, direct, rtol=2**-10, atol=1e-4)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_features_are_those_of_a_plain_pass(store, finished, stream):
    wanted = NetworkOptions(model=str(finished.path), stream=stream, positions=4)
    summary = run(store, wanted, stream)
    assert (summary.computed, summary.rows, summary.left) == (12, 48, 0)
    network, opened = load_feature_network(wanted), Store(store.path)
    dataset = SnippetDataset(
        opened, "train", 4, streams=(stream,), crops=CentreCrop(16), as_bytes=True
    )
    for sample in (dataset[i] for i in range(len(dataset))):
        video = opened[int(sample["row"])]
        close(video.features(stream), compute(network, sample[stream], stream))
        positions = video.vectors(f"features/{stream}", "position").tolist()
        available = video.num_flow - 4 if stream == "flow" else video.num_frames
        assert positions == [(2 * k + 1) * available // 8 for k in range(4)]
    assert not verify(store.path, deep=True).problems


def test_features_of_backward_flow_are_at_the_frames_that_have_it(make_store, finished, tmp_path):
    root = make_store(("a", "b"), root=tmp_path / "back", frames=12, step=-2)
    wanted = NetworkOptions(model=str(finished.path), stream="flow", positions=3)
    assert run(Store(root), wanted, "back").rows == 6
    network, opened = load_feature_network(wanted), Store(root)
    dataset = SnippetDataset(
        opened, "test", 3, streams=("flow",), crops=CentreCrop(16), as_bytes=True
    )
    sample = dataset[0]
    video = opened[int(sample["row"])]
    close(video.features("back"), compute(network, sample["flow"], "flow"))
    positions = video.vectors("features/back", "position").tolist()
    starts = len(video.flow_frames) - 4
    assert positions == [2 + (2 * k + 1) * starts // 6 for k in range(3)]


def test_three_crops_of_clips_are_in_order(store, begin, finish):
    recipe = {"network__backbone": "p3d", "network__blocks": "[1, 1, 1, 1]", "network__width": 4,
              "data__clip": "{length: 4, stride: 2}", "streams": "[rgb]", "iterations": 0,
              "testing__controls": "[]"}  # fmt: skip
    wanted = NetworkOptions(model=str(finish(begin("clips", **recipe)).path), positions=3)
    summary = run(store, wanted, "clips", limit=4)
    assert summary.rows == 4 * 3 * 3
    network, opened = load_feature_network(wanted), Store(store.path)
    assert (network.recipe.crops, network.recipe.clip_stride) == ("three", 2)
    sampling = ClipSampling(length=4, stride=2, clips=3)
    dataset = ClipDataset(opened, "test", sampling, crops=ThreeCrop(16), as_bytes=True)
    for sample in (dataset[i] for i in range(2)):
        video = opened[int(sample["row"])]
        close(video.features("clips"), compute(network, sample["rgb"], "rgb"))
        starts = sampling.sample_middles(video.num_frames)[:, 0]
        position, view = (video.vectors("features/clips", c) for c in ("position", "view"))
        assert position.tolist() == np.repeat(starts, 3).tolist()
        assert view.tolist() == [0, 1, 2] * 3


def test_every_position_of_long_videos_goes_in_pieces(store, finished):
    wanted = NetworkOptions(model=str(finished.path), stream="flow", positions=0)
    run(store, wanted, "pieces", batch=3, limit=3)
    run(store, wanted, "whole", batch=64, limit=3)
    opened = Store(store.path)
    for id in opened.ids[:3]:
        pieces, whole = opened[id].features("pieces"), opened[id].features("whole")
        assert len(whole) == opened[id].num_flow - 4
        np.testing.assert_allclose(pieces, whole, rtol=2**-9, atol=1e-4)


def test_processes_that_read_ahead_live_from_share_to_share(store, wanted):
    run(store, wanted, "thread", batch=4, limit=6)
    run(store, wanted, "process", batch=4, limit=6, readers=1)
    opened = Store(store.path)
    for id in opened.ids[:6]:
        assert np.array_equal(opened[id].features("thread"), opened[id].features("process"))


def test_a_second_run_does_nothing_and_new_videos_are_added(store, wanted, make_store):
    run(store, wanted)
    before = {p: p.read_bytes() for p in record_paths(store.path)}
    again = run(store, wanted)
    assert (again.computed, again.done_before, again.complete) == (0, 12, True)
    assert {p: p.read_bytes() for p in record_paths(store.path)} == before
    make_store(["new a", "new b"], root=store.path, frames=12, annotated=False)
    more = run(store, wanted)
    assert (more.computed, more.done_before) == (2, 12)
    assert committed(store.path) == sorted(Store(store.path))


def test_videos_that_were_extracted_anew_are_computed_anew(store, wanted):
    run(store, wanted)
    opened = Store(store.path)
    old, other = opened[3], opened[4]
    before = [other.features("flow"), *(video.features("flow") for video in (opened[2], opened[5]))]
    writer = ShardWriter(store.path, recipe=opened.recipe)  # another file's frames, of the same id
    writer.begin(old.id)
    for t in range(other.num_frames):
        x, y = other.flow_bytes(t) if t < other.num_flow else (None, None)
        writer.append(rgb=other.rgb_bytes(t), flow_x=x, flow_y=y)
    writer.end(
        VideoMeta(
            id=old.id, source=old.source, fingerprint=Fingerprint(7, 8, "ab" * 16),
            streams=("rgb", "flow"), frames=other.num_frames, fps=other.fps,
            width=other.width, height=other.height, supersedes=True,
        )
    )  # fmt: skip
    writer.close()
    rebuild_index(store.path)
    again = run(Store(store.path), wanted)
    assert (again.computed, again.done_before, again.complete) == (1, 11, True)
    opened = Store(store.path)
    close(opened[3].features("flow"), before[0].astype(np.float32))
    for row, kept in zip((4, 2, 5), before, strict=True):
        assert np.array_equal(opened[row].features("flow"), kept)
    assert run(opened, wanted).computed == 0


def test_other_weights_or_sampling_under_the_same_name_are_refused(store, wanted, begin, finish):
    run(store, wanted)
    other = finish(begin("other", seed=1, iterations=0, testing__controls="[]"))
    own = Store(store.path).recipe.features["flow"].weights
    with pytest.raises(RecipeError) as caught:
        run(store, replace(wanted, model=str(other.path)))
    theirs = load_feature_network(replace(wanted, model=str(other.path))).recipe.weights
    assert own in str(caught.value) and theirs in str(caught.value)
    with pytest.raises(RecipeError, match=r"positions: 4 ≠ 5"):
        run(store, replace(wanted, positions=5))
    assert run(store, replace(wanted, positions=5), "flow5").computed == 12


def test_a_run_that_moved_is_the_same(store, wanted, finished):
    run(store, wanted, limit=3)
    moved = finished.path.rename(finished.path.with_name("moved"))
    assert run(store, replace(wanted, model=str(moved))).computed == 9


def test_weights_by_name_reach_the_workers(store, weight_file, tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "weights").mkdir(parents=True)
    weight_file(10).rename(tmp_path / "data" / "weights" / "mine.pth")
    wanted = NetworkOptions(model="mine", backbone="resnet18", size=16, positions=1)
    assert run(store, wanted, limit=1).rows == 1


def test_videos_that_lack_the_stream_are_named(make_store, tmp_path, wanted):
    root = make_store(["a", "b"], root=tmp_path / "mixed", frames=9)
    make_store(["only rgb"], root=root, frames=9, streams=("rgb",), annotated=False)
    make_store(["short"], root=root, frames=1, annotated=False)
    summary = run(Store(root), wanted)
    assert summary.computed == 2
    assert {f.id: f.kind for f in summary.lacking} == {"only rgb": "no-flow", "short": "too-short"}
    result = call(root, wanted, "--strict", "--json")
    assert result.exit_code == 4
    assert [f["id"] for f in json.loads(result.stdout)["lacking"]] == ["only rgb", "short"]
    assert "extract it with --streams flow" in call(root, wanted).output


def test_a_run_without_any_features_is_a_failure(make_store, tmp_path, wanted, monkeypatch):
    from flowkit.datasets import stream_readers

    def fail(*_):
        raise CorruptError("damaged")

    root = make_store(["a"], root=tmp_path / "broken", frames=9)
    monkeypatch.setitem(stream_readers.READERS, "flow", fail)
    result = call(root, wanted)
    assert result.exit_code == 1
    assert "no video has features" in result.stderr
    short = make_store(["short"], root=tmp_path / "short", frames=1)
    assert call(short, wanted).exit_code == 0  # as a part of a store may be


def call(root, wanted, *more):
    words = ["--store", root, "--model", wanted.model, "--stream", "flow", "--positions", "4",
             "--name", "flow", "--workers", "0", "--device", "cpu", *more]  # fmt: skip
    return CliRunner().invoke(features, [str(word) for word in words], catch_exceptions=False)


def test_clips_that_are_too_short_for_the_network_are_refused(store, begin, finish):
    recipe = {"network__backbone": "i3d", "network__width": 4, "data__clip": "{length: 8}",
              "streams": "[rgb]", "iterations": 0, "testing__controls": "[]"}  # fmt: skip
    wanted = NetworkOptions(model=str(finish(begin("clips", **recipe)).path), clip_length=2)
    with pytest.raises(
        UsageError,
        match=r"cannot process 2 images of 16×16 .* change --size or --clip-length \(--window",
    ):
        run(store, wanted)
    assert not Store(store.path).recipe.features


def test_a_store_without_the_stream_keeps_no_trace(make_store, tmp_path, wanted):
    root = make_store(root=tmp_path / "rgb", streams=("rgb",))
    with pytest.raises(UsageError, match="has no flow, only rgb: extract it with --streams flow"):
        run(Store(root), wanted)
    assert not Store(root).recipe.features


def test_frames_of_another_size_than_the_runs_are_refused(make_store, tmp_path, wanted):
    root = make_store(root=tmp_path / "large", width=80, height=48)
    with pytest.raises(UsageError, match=r"shorter side is 24 pixels, .* has 48"):
        run(Store(root), wanted)


def test_a_broken_video_is_quarantined_alone(store, wanted, monkeypatch):
    from flowkit.datasets import stream_readers

    def read(video, times, crops, out, real=stream_readers.read_flow):
        if video.id == "video 04":
            raise CorruptError("expected a JPEG image")
        real(video, times, crops, out)

    monkeypatch.setitem(stream_readers.READERS, "flow", read)
    summary = run(store, wanted)
    assert summary.computed == 11
    assert [(f.id, f.kind) for f in summary.failed] == [("video 04", "corrupt")]
    monkeypatch.undo()
    again = run(store, wanted)
    assert (again.computed, [f.id for f in again.quarantined]) == (0, ["video 04"])
    assert run(store, wanted, retry_failed=True).computed == 1
    assert len(committed(store.path)) == 12


def test_features_beyond_float16_are_no_features(store, begin, finish):
    run_folder = finish(begin(iterations=0, testing__controls="[]"))
    path = run_folder.folder("flow") / "weights.pt"
    weights = torch.load(path, weights_only=True)
    name = next(n for n in weights if n.endswith("layer4.1.bn2.bias"))
    weights[name] += 1e6
    torch.save(weights, path)
    summary = run(store, NetworkOptions(model=str(run_folder.path), stream="flow", positions=2))
    assert (summary.computed, len(summary.failed)) == (0, 12)
    assert "the range of float16" in summary.failed[0].reason


def test_weights_that_change_while_a_run_is_on_are_found(store, wanted, finished):
    network = load_feature_network(wanted)
    header = create_or_open(store.path, replace(store.recipe, features={"flow": network.recipe}))
    setup = WorkerSetup(
        root=store.path, name="flow", recipe=header.recipe, network_options=wanted
    )  # fmt: skip
    other = finished.folder("flow") / "weights.pt"
    weights = torch.load(other, weights_only=True)
    torch.save({name: tensor + 1 for name, tensor in weights.items()}, other)
    with pytest.raises(Exception, match=r"expected weights .*, with which the run was started"):
        setup.make_worker().warm_up()


def test_an_interrupt_keeps_what_is_complete(store, wanted, monkeypatch):
    real = Embedder.embed
    calls = []

    def embed(self, batch, images):
        calls.append(batch)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, batch, images)

    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(Embedder, "embed", embed)
    summary = run(store, wanted, batch=8)
    assert summary.interrupted
    assert 0 < summary.computed < 12
    assert summary.computed + summary.left == 12
    rest = run(store, wanted)
    assert (rest.done_before, rest.computed) == (summary.computed, summary.left)
    assert len(committed(store.path)) == 12


def test_audio_features_and_the_silent_set(tmp_path, store, monkeypatch):
    monkeypatch.setattr(vgg_module, "HIDDEN", 8)
    recipe = replace(store.recipe, audio=LogMelRecipe())
    create_or_open(store.path, recipe)
    writer, random = ShardWriter(store.path, "audio", recipe=recipe), np.random.default_rng(0)
    patches = {"video 00": random.normal(size=(3, 96, 64)).astype(np.float32), "video 01": []}
    for id, own in patches.items():
        writer.begin(id)
        for patch in own:
            writer.append(patch=patch)
        mark = Fingerprint(1, 1, "0" * 32)
        writer.end(VideoMeta(id=id, source=id, fingerprint=mark, streams=("audio",),
                             frames=len(own), fps=1.0, width=0, height=0))  # fmt: skip
    writer.close()
    rebuild_index(store.path)
    torch.manual_seed(0)
    vgg = VGG16(in_channels=1, num_classes=0).eval()
    torch.save(vgg.state_dict(), tmp_path / "audio.pth")
    summary = run(
        store, NetworkOptions(model=str(tmp_path / "audio.pth"), backbone="vgg16"), "audio"
    )
    assert (summary.computed, summary.rows) == (2, 3)
    assert {failure.kind for failure in summary.lacking} == {"no-audio"}
    opened = Store(store.path)
    with torch.no_grad():
        direct = vgg.embed(torch.from_numpy(patches["video 00"])[:, None]).numpy()
    close(opened["video 00"].features("audio"), direct)
    assert opened["video 00"].vectors("features/audio", "position").tolist() == [0, 1, 2]
    assert opened["video 01"].features("audio").shape == (0, 8)


def test_parts_of_a_store_are_computed_apart(store, wanted):
    one, two = (run(store, wanted, part=(i, 2)) for i in (0, 1))
    assert one.computed + two.computed == 12
    assert len(committed(store.path)) == 12
