"""status, verify, index, export, import and preview as a user runs them."""

import csv
import json
import time
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from flowkit.commands.export import export
from flowkit.commands.import_ import import_
from flowkit.commands.index import index
from flowkit.commands.preview import preview
from flowkit.commands.status import status
from flowkit.commands.verify import verify
from flowkit.errors import FormatError, UsageError
from flowkit.recipe import FeatureRecipe
from flowkit.store import Fingerprint, VideoMeta, create_or_open, rebuild_index
from flowkit.store.failures import Failure, append_failure
from flowkit.store.format.header import read_header
from flowkit.store.reader import Store
from flowkit.store.status import describe_features
from flowkit.store.writer import ShardWriter

IDS = ("a", "b/ü #1", "c")


def run(command, *arguments, code=0):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_status_counts(make_store):
    root = make_store(IDS, per_shard=2)
    append_failure(root, Failure("bad", "videos/bad.mp4", "empty", "no frames", 2, 0.0))
    append_failure(root, Failure("a", "videos/0.mp4", "broken", "was repaired since", 1, 0.0))
    found = json.loads(run(status, root, "--json"))
    assert found["videos"] == 3
    assert found["frames"] == 5 + 6 + 7
    assert found["streams"] == {"rgb": 3, "flow": 3}
    assert found["shards"] == {"frames": 2}
    assert found["annotated"] == 3
    assert found["failures"] == {"empty": 1}
    text = run(status, root, "--failures")
    assert "no frames (attempt 2)" in text
    assert "TV-L1 paper, ±20 px" in text
    assert "was repaired since" not in text


def test_status_lists_failures_of_further_streams_and_of_updates(make_store):
    """The store has videos a, b and c; what failed for them is not what it has."""
    root, later = make_store(IDS), time.time() + 60
    for id, streams, when in (
        ("a", ("audio",), 0.0),  # not committed
        ("b/ü #1", ("rgb", "flow"), later),  # an update, after the commit
        ("c", ("rgb", "flow"), 0.0),  # committed since
    ):
        append_failure(root, Failure(id, f"{id}.mp4", "broken", "…", 1, when, streams=streams))
    found = json.loads(run(status, root, "--json", "--failures"))
    assert [failure["id"] for failure in found["failed"]] == ["a", "b/ü #1"]
    assert found["failed"][0]["streams"] == ["audio"]


def test_status_lists_failures_of_features_too(make_store):
    root = make_store(IDS)
    failure = Failure("a", "S", "broken", "no features of it", 1, 0.0, stream="features/rgb")
    append_failure(root, failure)
    found = json.loads(run(status, root, "--json", "--failures"))
    assert found["failures"] == {"broken": 1}
    assert [(failure["id"], failure["stream"]) for failure in found["failed"]] == [
        ("a", "features/rgb")
    ]
    assert "features/rgb: no features of it (attempt 1)" in run(status, root, "--failures")


def test_status_says_which_network_made_features(make_store):
    root = make_store(("a", "b"))
    net = FeatureRecipe(
        source="rgb", model="inception", weights="0123456789abcdef", dimension=4, positions=25
    )
    recipe = create_or_open(root, replace(read_header(root).recipe, features={"rgb": net})).recipe
    writer = ShardWriter(root, "features/rgb", recipe=recipe)
    mark = Fingerprint(1, 1, "0" * 32)
    writer.begin("a")
    writer.append_rows(np.ones((2, 4)), [0, 9], [0, 0])
    facts = {"source": "a", "fingerprint": mark, "streams": ("features/rgb",), "frames": 2}
    writer.end(VideoMeta(id="a", fps=0.0, width=0, height=0, **facts))
    writer.close()
    rebuild_index(root)
    text = " ".join(run(status, root).split())
    assert "features/rgb 1 4 values of rgb by inception (01234567), frames at 25 positions" in text
    assert describe_features(replace(net, source="audio", positions=0)).endswith(", all patches")
    assert " rgb 2 " in text
    assert "shards of features/rgb 1, 0.000 GB" in text


def test_status_of_a_store_at_work(make_store):
    root = make_store(IDS)
    (root / "frames" / "dead.arrow.part").write_bytes(b"")
    writer = ShardWriter(root, recipe=read_header(root).recipe)
    for n in range(1025):  # more than a batch, so that the shard is begun
        if n == 0:
            writer.begin("d")
        writer.append(rgb=b"x")
    found = json.loads(run(status, root, "--json"))
    writer.close()
    assert len(found["writing"]) == 1
    assert found["leftover"] == ["frames/dead.arrow.part"]


def test_status_without_an_index(make_store):
    root = make_store(IDS)
    (root / "index.arrow").unlink()
    found = json.loads(run(status, root, "--json"))
    assert (found["videos"], found["stale"], found["missing"]) == (0, 1, 3)


def test_no_store_is_said(tmp_path):
    for command in (status, verify):
        with pytest.raises(FormatError, match=r"store\.json"):
            run(command, tmp_path)


def test_verify_exits_with_1_and_repairs(make_store):
    root = make_store(IDS)
    assert "all good" in run(verify, root, "--deep")
    (shard,) = (root / "frames").glob("*.arrow")
    data = bytearray(shard.read_bytes())
    data[data.index(Store(root)["c"].flow_bytes(0)[0]) + 9] ^= 4
    shard.write_bytes(data)
    assert f"bad: shard frames/{shard.stem}, video 'c': column flow_x" in run(verify, root, code=1)
    assert json.loads(run(verify, root, "--json", code=1))["problems"][0]["video"] == "c"
    text = run(verify, root, "--repair", code=1)
    assert "1 videos are lost; extract them again: c" in text
    assert "all good" in run(verify, root)


def test_index_joins_annotations(make_store, tmp_path):
    root = make_store(("dance/one.mp4", "sing/two.mp4"), annotated=False)
    for name in ("dance/one.mp4", "sing/two.mp4", "sing/three.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(b"")
    text = run(index, root, "--annotations", tmp_path / "videos", "--format", "folder")
    assert "2 videos, 2 classes" in text
    assert "the annotations list 3 videos: 2 are in the store, 1 are not" in text
    assert Store(root)["sing/two.mp4"].labels[0].name == "sing"
    assert "2 videos" in run(index, root, "--scratch")


def test_index_refuses_what_makes_no_sense(make_store, tmp_path):
    root = make_store()
    with pytest.raises(UsageError, match="go together"):
        run(index, root, "--format", "ucf101")
    with pytest.raises(UsageError, match="did you mean ucf101"):
        run(index, root, "--annotations", tmp_path, "--format", "ucf-101")
    with pytest.raises(UsageError, match="not several of them"):
        run(index, root, "--dataset", "ucf101", "--annotations", tmp_path, "--format", "ucf101")
    with pytest.raises(UsageError, match="--variant has an effect only with --dataset NAME or"):
        run(index, root, "--variant", "600")
    with pytest.raises(UsageError, match="--catalog has an effect only with --dataset NAME"):
        run(index, root, "--catalog", tmp_path / "datasets.yaml")


def test_export_then_import(make_store, tmp_path):
    root = make_store(IDS)
    text = run(export, root, tmp_path / "out", "--format", "denseflow")
    assert "3 videos (18 frames) written, 0 already there" in text
    assert "largest added error" in text
    assert "0 videos (0 frames) written, 3 already" in run(
        export, root, tmp_path / "out", "--format", "denseflow"
    )
    text = run(import_, tmp_path / "out", "--store", tmp_path / "s", "--format", "denseflow")
    assert "3 videos (18 frames) imported" in text
    assert "imported from denseflow, solver unknown" in run(status, tmp_path / "s")
    assert "all good" in run(verify, tmp_path / "s", "--deep")


def test_export_as_shards(make_store, tmp_path):
    root = make_store(IDS)
    text = run(
        export, root, tmp_path / "w", "--format", "webdataset", "--subset", "train",
        "--shard-size", 1,
    )  # fmt: skip
    assert "2 videos (13 frames) written, 0 already there" in text
    assert [path.name for path in (tmp_path / "w").glob("*.tar")] == ["train-000000.tar"]
    text = run(export, root, tmp_path / "h", "--format", "huggingface", "--workers", 2)
    assert "3 videos (18 frames) written" in text and "re-encoded" not in text
    assert len(list((tmp_path / "h/data").iterdir())) == 2
    assert "0 videos (0 frames) written, 3 already there" in run(
        export, root, tmp_path / "h", "--format", "huggingface"
    )
    with pytest.raises(UsageError, match="--quality means nothing to huggingface"):
        run(export, root, tmp_path / "x", "--format", "huggingface", "--quality", 90)


def test_export_of_a_subset(make_store, tmp_path):
    run(export, make_store(IDS), tmp_path / "o", "--format", "mmaction2", "--subset", "train")
    with (tmp_path / "o/videos.csv").open(newline="") as file:
        assert {row["id"] for row in csv.DictReader(file)} == {"b/ü #1", "c"}


def test_a_failed_import_exits_with_1(make_store, tmp_path):
    run(export, make_store(IDS), tmp_path / "out", "--format", "denseflow")
    (tmp_path / "out/c/flow_x_00001.jpg").unlink()
    text = run(
        import_, tmp_path / "out", "--store", tmp_path / "s", "--format", "denseflow", code=1
    )
    assert "failed: c:" in text


def test_preview_writes_pictures(make_store, tmp_path):
    root = make_store(IDS)
    for arguments in ((), ("c",), ("a", "c"), ("--sheet",)):
        out = tmp_path / f"{len(arguments)}{''.join(arguments)}.png"
        assert str(out) in run(preview, root, *arguments, "-o", out)
        assert out.read_bytes()[:4] == b"\x89PNG"
    run(preview, root, "c", "-o", tmp_path / "c.mp4")
    assert (tmp_path / "c.mp4").stat().st_size > 0


def test_index_replaces_broken_annotations(make_store, tmp_path):
    root = make_store(("left/a.mp4",))
    (root / "annotations.arrow").write_bytes(b"broken")
    folder = tmp_path / "annotations"
    folder.mkdir()
    (folder / "train.csv").write_text("id,label\nleft/a.mp4,left\n")
    assert "replaced" in run(index, root, "--annotations", folder, "--format", "motion8")
    assert [label.name for label in Store(root)["left/a.mp4"].labels] == ["left"]
