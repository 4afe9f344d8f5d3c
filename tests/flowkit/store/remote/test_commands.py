"""Commands on URLs: those that read work, those that write say what to do."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.errors import StoreError
from flowkit.store import Store, write_annotations

IDS = [f"video {n:02}" for n in range(6)]


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def local(make_store) -> Path:
    root = make_store(IDS, frames=6, per_shard=3)
    (root / "failures.jsonl").write_text(
        '{"id": "z", "source": "z.mp4", "kind": "empty", "reason": "no frames", "attempts": 1, '
        '"time": 0}\n'
    )
    return root


@pytest.fixture
def url(local, upload) -> str:
    return upload(local)


def test_status_list_and_preview(local, url, tmp_path):
    expected, found = (json.loads(run("status", s, "--failures", "--json")) for s in (local, url))
    assert found.pop("path") == url and expected.pop("path") == str(local)
    assert found == expected
    assert run("list", url, "--json") == run("list", local, "--json")
    run("preview", local, "-o", tmp_path / "a.png")
    run("preview", url, "-o", tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_status_over_plain_http(local, upload, s3):
    upload(local)
    found = json.loads(run("status", f"{s3.address}/bucket/stores/one", "--json"))
    expected = json.loads(run("status", local, "--json"))
    assert {k: v for k, v in found.items() if k != "path"} == {
        k: v for k, v in expected.items() if k != "path"
    }


def test_verify_finds_damage(local, url, s3):
    assert "2 shards, 6 videos" in run("verify", url) and "all good" in run("verify", url, "--deep")
    name = next(name for name in s3.objects if name.endswith(".arrow") and "/frames/" in name)
    content = bytearray(s3.objects[name])
    content[len(content) // 2] ^= 1
    s3.objects[name] = bytes(content)
    uuid = Path(name).stem
    assert f"bad: shard frames/{uuid}" in run("verify", url, code=1)
    del s3.objects[name]
    assert "the file of this commit record is gone" in run("verify", url, code=1)
    s3.objects[name] = next((local / "frames").glob(f"{uuid}.arrow")).read_bytes()
    assert "all good" in run("verify", url)
    assert Store(url)[0].rgb_bytes(0) == Store(local)[0].rgb_bytes(0)


def test_an_object_that_was_rewritten_reads_again_after_verify(local, url, s3, monkeypatch):
    monkeypatch.setenv("FLOWKIT_CACHE_SIZE", "0")
    assert Store(url)[0].rgb_bytes(0)
    state = next((Store(url).path / "states").iterdir())
    state.write_text(state.read_text().replace('\\"', "'"))  # as if the ETag had been another
    s3.forget()
    with pytest.raises(StoreError, match="was replaced"):
        [video.rgb_bytes(0) for video in map(Store(url).__getitem__, IDS)]
    assert "all good" in run("verify", url)
    s3.forget()
    assert Store(url)[0].rgb_bytes(0) == Store(local)[0].rgb_bytes(0)


@pytest.mark.parametrize(
    "arguments",
    [
        ("index", "URL", "--scratch"), ("split", "URL"), ("verify", "URL", "--repair"),
        ("extract", "--from-store", "URL", "--workers", "0"),
        ("remove", "URL", "net"),
    ],
)  # fmt: skip
def test_what_writes_says_what_to_do(url, arguments):
    words = [url if word == "URL" else word for word in arguments]
    (line,) = run(*words, code=1).strip().splitlines()
    assert f"{url} is on object storage, where only `flowkit extract` and `flowkit copy`" in line
    assert f"`flowkit copy {url} FOLDER`" in line


def test_copy_and_what_a_half_copy_says(local, s3, tmp_path):
    target = tmp_path / "copy"
    assert "2 shards, 2 of them copied now" in run("copy", local, "s3://bucket/c")
    run("copy", "s3://bucket/c", target)
    assert json.loads(run("copy", "s3://bucket/c", target, "--json"))["copied"] == 0
    (target / "store.json").unlink()
    (target / "copying.json").write_text("{}")
    for command in ("status", "list", "verify", "preview"):
        line = run(command, target, code=1)
        assert f"run the same `flowkit copy SOURCE {target}` again" in line
    run("copy", "s3://bucket/c", target)
    assert "all good" in run("verify", target)


def test_the_web_view(local, url):
    from flowkit.web.open_store import OpenStore
    from flowkit.web.overview import describe_store

    overview = describe_store(OpenStore(Path(url)))
    assert (overview["path"], overview["videos"]) == (url, 6)
    assert overview["shards"]["frames"]["count"] == 2


def test_feature_sets_are_downloaded_whole(make_store, upload, s3):
    from dataclasses import replace

    from flowkit.datasets.feature_sets import FeatureSetDataset
    from flowkit.recipe import FeatureRecipe
    from flowkit.store import ShardWriter, VideoMeta, create_or_open, rebuild_index
    from flowkit.store.format.header import read_header

    root = make_store(IDS)
    net = FeatureRecipe(source="rgb", model="m", weights="0" * 16, dimension=8, positions=3)
    recipe = create_or_open(root, replace(read_header(root).recipe, features={"net": net})).recipe
    writer = ShardWriter(root, "features/net", recipe=recipe)
    random = np.random.default_rng(0)
    for id in IDS:
        writer.begin(id)
        writer.append_rows(random.normal(size=(3, 8)), np.arange(3), np.zeros(3, int))
        size = {"frames": 3, "fps": 0, "width": 0, "height": 0}
        fingerprint, streams = Store(root)[id].fingerprint, ("features/net",)
        writer.end(VideoMeta(id=id, source="s", fingerprint=fingerprint, streams=streams, **size))
    writer.close()
    rebuild_index(root)
    url = upload(root)
    remote, expected = (FeatureSetDataset(s, "train", {"rgb": "net"}) for s in (url, root))
    for a, b in zip(remote, expected, strict=True):
        assert all((a[key] == b[key]).all() for key in b)
    assert (Store(url)[0].features("net") == Store(root)[0].features("net")).all()


@pytest.mark.slow
def test_training_and_evaluation(local, upload, tmp_path):
    from flowkit.annotations.table import Annotation, AnnotationTable, Label
    from flowkit.store import rebuild_index

    rows = [
        Annotation(id, (Label("ab"[n % 2]),), ("train" if n < 4 else "test",))
        for n, id in enumerate(IDS)
    ]
    write_annotations(local, AnnotationTable(("a", "b"), tuple(rows)))
    rebuild_index(local)
    url = upload(local)
    changes = [
        "data.short_side=24", "data.size=16", "data.num_segments=1", "network.width=4",
        "training.epochs=1", "training.batch=2", "testing.segments=1", "classes=2", "phases={}",
        "dataset=tiny", "subsets={train: train, validate: test, test: test}",
    ]  # fmt: skip
    results = []
    for store in (local, url):
        out = tmp_path / f"run{len(results)}"
        sets = [word for change in changes for word in ("--set", change)]
        run("train", "motion8_cma", "--store", store, "--run", out, "--workers", 0, *sets)
        line = run("evaluate", out, "--store", store, "--workers", 0, "--json")
        results.append(json.loads(line.strip().splitlines()[-1]))
        facts = json.loads((out / "run.json").read_text())
        assert facts["store"]["path"] == str(store)
    assert results[0] == results[1]


def test_a_mirror_is_only_a_cache(url, s3):
    store = Store(url)
    assert store[0].rgb_bytes(0)
    shutil.rmtree(store.path.parents[2])
    s3.forget()
    assert Store(url)[0].rgb_bytes(0) == store[0].rgb_bytes(0)
