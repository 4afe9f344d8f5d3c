"""The weights of units over feature sets are those of the report, and kinds are told apart."""

from types import SimpleNamespace

import numpy as np
import pytest

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.recipe import FeatureRecipe, Resize, StoreRecipe
from flowkit.store import Store, rebuild_index, write_annotations
from flowkit.store.format.header import create_or_open
from flowkit.store.format.schema import Fingerprint, VideoMeta
from flowkit.store.writer import ShardWriter
from flowkit.web.keys import make_key
from train.loop.checkpoint import write_tensors
from train.recipe.recipe import change_recipe, read_recipe
from train.report.figures.drawing import Source
from train.report.figures.weights import compute_weights
from train.runs.phases import list_phases
from train.runs.run import create_run
from train.tasks.registry import find_task
from train.web.attention_kind import find_kind

STREAM = "features/look"
CHANGES = {
    "dataset": "tiny", "classes": "2", "sets.streams": "{look: look}", "sets.dimensions": "6",
    "training.batch": "4",
}  # fmt: skip


@pytest.fixture
def feature_store(tmp_path):
    """Six videos of five features each; the last one is in no subset."""
    root, rng = tmp_path / "features", np.random.default_rng(0)
    made = FeatureRecipe(source="synthetic", model="net", weights="aa", dimension=6, positions=5)
    recipe = StoreRecipe(resize=Resize(mode="none"), features={"look": made})
    create_or_open(root, recipe, "tiny")
    writer = ShardWriter(root, STREAM, recipe=recipe, dimension=6)
    for n in range(6):
        writer.begin(f"v{n}")
        vectors = rng.normal(0, 1, (5, 6)).astype(np.float32)
        writer.append_rows(vectors, np.arange(5), np.zeros(5, np.int16))
        mark = Fingerprint(size=n, mtime_ns=n, digest=f"{n:032x}")
        writer.end(VideoMeta(
            id=f"v{n}", source=f"{n}.mp4", fingerprint=mark, streams=(STREAM,), frames=5,
            fps=0, width=0, height=0,
        ))  # fmt: skip
    writer.close()
    rows = tuple(
        Annotation(f"v{n}", (Label("ab"[n % 2]),), (("train", "test")[n % 2],) if n < 5 else ())
        for n in range(6)
    )
    write_annotations(root, AnnotationTable(("a", "b"), rows))
    rebuild_index(root)
    return Store(root)


@pytest.mark.parametrize("method", ["clusters", "catnet"])
def test_units_weigh_features_as_in_the_report(feature_store, tmp_path, open_page, method):
    name, number = {
        "clusters": ("flash_mnist_clusters", "sets.units"),
        "catnet": ("kinetics_catnet", "sets.heads"),
    }[method]
    changes = {
        **CHANGES,
        number: "4",
        "sets.sample": "5",
        "subsets": "{train: train, validate: test, test: test}",
    }
    recipe = change_recipe(read_recipe(name), changes)
    run = create_run(tmp_path / "run", recipe, feature_store)
    (phase,) = list_phases(recipe)
    run.folder(phase.name).mkdir(parents=True)
    network = find_task(recipe).build_network(phase)
    write_tensors(run.folder(phase.name) / "weights.pt", network.state_dict())

    client, path = open_page(run, shown=feature_store), "/api/runs/run/attention"
    answer = client.get(f"{path}/{make_key('v1')}/sets")
    assert answer.status_code == 200, answer.text
    (shown,) = answer.json()["modalities"]
    source = Source(run=run, store=feature_store, videos=("v1",))
    ((_, _, expected),) = compute_weights(source)["look"]
    assert expected.shape == (4, 5)
    np.testing.assert_allclose(shown["weights"], expected, rtol=1e-4)
    assert shown["name"] == "look" and shown["frames"] == []  # the store has no pictures
    assert (shown["relations"] is None) == (method == "clusters")
    other = client.get(f"{path}/{make_key('v0')}/sets").json()  # a video of another subset
    assert other["modalities"][0]["weights"] != shown["weights"]
    assert client.get(f"{path}/{make_key('v5')}/sets").status_code == 200  # one in no subset


@pytest.mark.parametrize(
    ("recipe", "kind", "reason"),
    [
        ("kinetics_cma", "cross-modality", ""),
        ("kinetics_non_local", "cross-modality", ""),
        ("ucf101_pyramid_vgg16", "pyramid", ""),
        ("kinetics_clusters_rgb", "sets", ""),
        ("kinetics_catnet", "sets", ""),
        ("kinetics_p3d_cma_16", "cross-modality", ""),
        ("kinetics_p3d_16", None, "has no attention"),
        ("kinetics_audio_vgg16", None, "on audio, has no attention"),
        ("kinetics_tsn_two_stream", None, "has no attention"),
    ],
)
def test_kinds_of_attention(recipe, kind, reason):
    finished = SimpleNamespace(recipe=read_recipe(recipe), is_finished=lambda name: True)
    found = find_kind(finished)
    assert found.name == kind and reason in found.reason
    assert bool(found.phases) == (kind is not None) != bool(found.reason)
    if kind:
        unfinished = SimpleNamespace(recipe=finished.recipe, is_finished=lambda name: False)
        assert find_kind(unfinished).reason == "No phase with attention is finished yet."
