"""General recipes take from the store what depends on it: one real epoch of each on motion8."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import flowkit
import train
from flowkit.annotations.table import AnnotationTable, Label
from flowkit.cli import main
from flowkit.errors import UsageError
from flowkit.recipe import FeatureRecipe, LogMelRecipe
from flowkit.store import Store, read_annotations, rebuild_index, write_annotations
from flowkit.store.format.header import create_or_open
from flowkit.store.format.schema import Fingerprint, VideoMeta
from flowkit.store.writer import ShardWriter
from flowkit.synthetic.motion8 import Motion8, write_dataset
from train.recipe.recipe import list_recipes, read_draft, read_recipe
from train.runs.run import Run, RunError
from train.tasks.networks import check_networks

IMAGES = ("two_stream", "tsn_rgb", "tsn_flow", "cma", "cma_non_local", "i3d", "p3d_cma", "pyramid")
GENERAL = (*IMAGES, "audio", "clusters", "catnet")
EPOCH = {"quick": True, "training__epochs": 1, "phases": {}, "workers": 0, "threads": 1}
THIN = {"network__width": 8, "testing__segments": 1}


def write_motion8(root, subsets):
    """Extract 16 videos of motion8, and give them subsets by their number in their class."""
    data = root.parent / "data"
    write_dataset(data, Motion8(videos=16, test_videos=0, frames=6, width=64, height=64))
    options = {
        "size": (64, 64),
        "bound": 5,
        "workers": 0,
        "backend": "numba",
        "progress": False,
        "preset": "fast",
    }
    flowkit.extract(data / "videos", root, **options)
    set_annotations(root, subsets=subsets)


def set_annotations(root, subsets=None, labels=None):
    """Change the annotations of a store; subsets(n) and labels(n) are of the n-th video."""
    table = read_annotations(root)
    rows = [
        replace(
            row,
            subsets=row.subsets if subsets is None else subsets(n),
            labels=row.labels if labels is None else labels(n),
        )
        for n, row in enumerate(table.annotations)
    ]
    write_annotations(root, AnnotationTable(table.classes, tuple(rows)))
    rebuild_index(root)


def add_stream(root, stream, recipe, rows):
    """Add a stream of random rows to all videos of a store."""
    create_or_open(root, recipe, None)
    dimension = recipe.features[stream.partition("/")[2]].dimension if "/" in stream else None
    writer = ShardWriter(root, stream, recipe=recipe, dimension=dimension)
    random, store = np.random.default_rng(0), Store(root)
    for id in store:
        writer.begin(id)
        if dimension is None:
            for _ in range(rows):
                writer.append(patch=random.normal(-3, 1, (96, 64)).astype(np.float32))
        else:
            vectors = random.normal(0, 1, (rows, dimension)).astype(np.float32)
            writer.append_rows(vectors, np.arange(rows), np.zeros(rows, np.int16))
        writer.end(
            VideoMeta(
                id=id, source=id, fingerprint=Fingerprint(1, 1, "0" * 32), streams=(stream,),
                frames=rows, fps=1.0, width=0, height=0,
            )
        )  # fmt: skip
    writer.close()
    rebuild_index(root)


@pytest.fixture(scope="module")
def motion8(tmp_path_factory):
    """A small store of motion8 that has every stream, and official subsets train and test."""
    root = tmp_path_factory.mktemp("motion8") / "motion8"
    write_motion8(root, lambda n: ("test" if n % 3 == 2 else "train",))
    features = {
        name: FeatureRecipe(source="rgb", model="net", weights="aa", dimension=8, positions=3)
        for name in ("rgb", "flow.1")
    }
    recipe = replace(Store(root).recipe, audio=LogMelRecipe(), features=features)
    add_stream(root, "audio", recipe, 2)
    for name in features:
        add_stream(root, f"features/{name}", recipe, 3)
    return root


@pytest.fixture
def fresh(tmp_path, motion8):
    """``fresh(subsets=…, labels=…)``: a copy of the store whose annotations differ."""

    def make(subsets=None, labels=None):
        root = tmp_path / "motion8"
        shutil.copytree(motion8, root)
        set_annotations(root, subsets, labels)
        return root

    return make


def call(*arguments):
    result = CliRunner().invoke(main, [str(word) for word in arguments])
    return result.exit_code, result.output


def test_these_are_all_general_recipes():
    assert {name for name in list_recipes() if not read_draft(name).is_complete} == set(GENERAL)


@pytest.mark.parametrize("name", GENERAL)
def test_an_epoch_of_each(name, motion8, tmp_path):
    said = []
    thin = THIN if name in (*IMAGES, "audio") else {}
    run = train.fit(name, motion8, tmp_path / "run", log=said.append, **EPOCH, **thin)
    assert run.is_finished()
    recipe = read_recipe(run.path / "recipe.yaml")  # complete: nothing is left to the store
    assert (recipe.dataset, recipe.classes, recipe.labels, recipe.reported) == (
        "motion8", 8, "one", {},
    )  # fmt: skip
    assert recipe.subsets.train == "first 90% of train"
    assert "8 classes; 10 videos to train (first 90% of train), 1 to validate" in said[0]
    if name in IMAGES:
        assert (recipe.short_side, recipe.data.size, recipe.data.mirror) == (64, 56, False)
        assert any("not mirrored, because it would change the classes clockw" in s for s in said)
    if name in ("cma", "audio", "clusters"):  # one of each kind
        results = train.evaluate(run, motion8, workers=0, threads=1)
        assert {row["n"] for row in results.values()} == {5}


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERAL)
def test_the_full_network_fits_what_a_usual_store_has(name):
    draft = read_draft(name)
    if name not in IMAGES:
        assert draft.make_example().classes == 2
        return
    found = {"data.short_side": 256, "data.size": draft.store_keys["data.size"]}
    placeholders = {
        "dataset": "d", "classes": 5, "labels": "one", "streams": ("rgb", "flow"),
        "subsets": {"train": "train", "validate": "val", "test": "test"}, "data.mirror": True,
        "training.batch": 32, "training.rate": 0.01, **dict.fromkeys(draft.optional_weights),
    }  # fmt: skip
    known = {key: value for key, value in placeholders.items() if key in draft.store_keys}
    weights = dict.fromkeys(draft.optional_weights)
    check_networks(draft.complete({**found, **known, **weights}))


def test_a_store_without_subsets_is_divided_and_the_run_needs_nothing_else(
    fresh, motion8, tmp_path
):
    classes = ("left", *("right", "up") * 8)
    root = fresh(subsets=lambda n: (), labels=lambda n: (Label(classes[n]),))
    run = tmp_path / "run"
    command = ["train", "tsn_flow", "--store", root, "--run", run, "--quick", "--workers", "0",
               "--threads", "1", "--set", "training.epochs=1", "--set", "phases={}",
               "--set", "network.width=8"]  # fmt: skip
    code, said = call(*command, "--stop-after", "2")
    assert code == 0, said
    assert re.search(r"has no subsets: .*train .*val .*test", said)
    assert re.search(r"1 class\w* ha\w+ one video only, which is in train: left", said), said
    assert "5 classes have no video to train on (clockwise, contracting, " in said
    assert Store(root).subsets().keys() == {"train", "val", "test"}
    assert Run(run).recipe.subsets.validate == "val"
    code, said = call(*command)
    assert code == 0, said
    assert "resuming at step 2" in said
    assert "has no subsets" not in said
    with pytest.raises(RunError, match="another recipe"):
        train.fit("tsn_rgb", root, run, **EPOCH)
    with pytest.raises(RunError, match="another recipe"):
        train.fit("clusters", root, run, **EPOCH)
    code, said = call("evaluate", run, "--store", root, "--workers", "0")
    assert code == 0
    assert "paper" not in said
    code, said = call("report", run, "iterations")
    assert "top-1 / top-5 in percent." in said
    assert "In brackets" not in said
    clip = next(motion8.parent.rglob("*.mp4"))
    out = tmp_path / "p.png"
    code, said = call("predict", run, clip, "-o", out, "--backend", "numba", "--workers", "0")
    assert code == 0, said
    assert out.is_file()


@pytest.mark.parametrize(
    ("subsets", "expected"),
    [
        (("train", "val", "test"), ("train", "val", "test")),
        (("train", "validation", "test"), ("train", "validation", "test")),
        (("train", "val", "train"), ("train", "val", "val")),
        (("train", "train", "train"),
         ("first 90% of train", "last 10% of train", "last 10% of train")),
        (("train1", "train1", "test1"), ("first 90% of train1", "last 10% of train1", "test1")),
    ],
)  # fmt: skip
def test_subsets_are_those_of_the_store(fresh, tmp_path, subsets, expected):
    root = fresh(subsets=lambda n: (subsets[n % 3],))
    recipe = train.fit("clusters", root, tmp_path / "run", **EPOCH).recipe
    assert (recipe.subsets.train, recipe.subsets.validate, recipe.subsets.test) == expected
    assert recipe.sets.streams == {"flow_1": "flow.1", "rgb": "rgb"}
    assert recipe.sets.dimensions == {"flow_1": 8, "rgb": 8}


def test_several_labels_of_a_video_make_a_recipe_of_many_labels(fresh, tmp_path):
    root = fresh(labels=lambda n: tuple(Label(c) for c in ("left", "right")[: 1 + n % 2]))
    said = []
    run = train.fit("clusters", root, tmp_path / "run", log=said.append, **EPOCH)
    assert run.recipe.labels == "many"
    assert "some videos have several labels: the recipe is trained with labels: many" in said
    assert any("6 classes have no video to train on (clockwise" in line for line in said)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"labels": lambda n: (Label("left"),)}, (), "all videos are of one class, 'left', so"),
        ({"labels": lambda n: ()}, (), "no video has a label; give the labels"),
        ({"subsets": lambda n: ("a",)}, (), "expected a subset train, found a; name the subsets"),
        ({"subsets": lambda n: ("test" if n else "train",)}, (), "has 1 video, and training needs"),
        ({}, ("--set", "data.size=80"), "64 pixels, which is less than the network's input of 80"),
        ({}, ("--set", "data.short_side=80"), "shorter side is 80 pixels, .* has 64"),
        ({}, ("--set", "training.clip=from store"), "training.clip cannot come from the store"),
        ({}, ("--set", "classes=3"), "has class 3, the recipe 3 classes"),
    ],
)  # fmt: skip
def test_bad_input_is_said_before_training(fresh, tmp_path, change, arguments, message):
    root, run = fresh(**change), tmp_path / "run"
    code, said = call("train", "cma", "--store", root, "--run", run, "--quick", *arguments)
    assert code == 2
    last = said.splitlines()[-1]
    assert last.startswith("error: ")
    assert re.search(message, last), last
    assert not run.exists()


def test_a_store_is_divided_for_a_recipe_that_fits_it_alone(fresh, tmp_path):
    root = fresh(subsets=lambda n: ())
    options = {"workers": 0, "threads": 1, "network__weights": {}, "data__short_side": 64}
    with pytest.raises(UsageError, match=r"recipe is for 7 classes, .* has 8"):
        train.fit("kinetics_flow", root, tmp_path / "run", classes=7, **options)
    assert Store(root).subsets() == {}
    changes = {"classes": 8, "training__batch": 99, "data__size": 56, "network__width": 4}
    with pytest.raises(RunError, match="are fewer than a batch of 99"):
        train.fit("kinetics_flow", root, tmp_path / "run", **changes, **options)
    assert Store(root).subsets().keys() == {"train", "val", "test"}


def test_one_class_in_the_training_videos(fresh, tmp_path):
    root = fresh(
        subsets=lambda n: ("train" if n < 8 else "val",),
        labels=lambda n: (Label("left" if n < 8 else "right"),),
    )
    with pytest.raises(UsageError, match=r"the training videos .* are of one class, 'left'"):
        train.fit("tsn_rgb", root, tmp_path / "run", **EPOCH)


@pytest.mark.parametrize(
    ("name", "streams", "message"),
    [
        (
            "cma",
            ("rgb",),
            r"has no flow, which cma is.* flowkit extract --from-store .* --streams flow",
        ),
        ("tsn_rgb", ("flow",), r"has no rgb, .*flowkit extract --videos .*--streams rgb"),
        ("audio", ("rgb",), r"has no audio, .*flowkit extract .*--streams audio"),
        ("catnet", ("rgb",), r"has no features, which catnet combines; .*flowkit features"),
    ],
)
def test_a_stream_that_the_store_lacks_is_named_with_its_command(
    make_store, tmp_path, name, streams, message
):
    root = make_store([f"v{n}" for n in range(8)], streams=streams, frames=7)
    code, said = call("train", name, "--store", root, "--run", tmp_path / "run")
    assert code == 2
    assert re.search(message, said), said


def test_streams_from_the_store(make_store, tmp_path):
    root = make_store([f"v{n}" for n in range(12)], streams=("rgb",), frames=9)
    run = train.fit("pyramid", root, tmp_path / "run", **EPOCH, **THIN, data__size=16)
    assert run.recipe.streams == ("rgb",)


def test_starting_weights_are_used_where_they_exist(make_store, tmp_path, monkeypatch):
    import torch

    from models.backbones.resnet import ResNet

    root = make_store([f"v{n}" for n in range(12)], frames=9)
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    tiny = {**EPOCH, "network__depth": 18, "network__width": 4, "data__size": 16,
            "network__weights": {"rgb": "tiny18 or random"}}  # fmt: skip
    said = []
    run = train.fit("tsn_rgb", root, tmp_path / "scratch", log=said.append, **tiny)
    assert run.recipe.network.weights == {}
    assert any(
        line.startswith("rgb: training starts from scratch, because there is no weight file tiny18")
        for line in said
    )
    assert "rgb: the rgb branch starts from random weights" in said
    (tmp_path / "data" / "weights").mkdir(parents=True)
    torch.save(ResNet(18, width=4).state_dict(), tmp_path / "data" / "weights" / "tiny18.pth")
    said = []
    run = train.fit("tsn_rgb", root, tmp_path / "pretrained", log=said.append, **tiny)
    assert run.recipe.network.weights == {"rgb": "tiny18"}
    assert any("120 weights from tiny18" in line for line in said)
    again = train.fit("tsn_rgb", root, tmp_path / "scratch", log=said.append, **tiny)
    assert again.recipe.network.weights == {}  # the file that has come since changes no run


def test_results_of_a_paper_are_not_shown_beside_other_data(make_store, tmp_path):
    root = make_store([f"v{n}" for n in range(12)], frames=9)
    said = []
    changes = {
        "classes": 2, "subsets__validate": "test", "subsets__test": "test", "data__size": 16,
        "data__short_side": 24, "network__weights": {}, "network__depth": 18, "network__width": 4,
        "training__epochs": 1, "training__batch": 4, "workers": 0, "threads": 1,
    }  # fmt: skip
    run = train.fit("kinetics_flow", root, tmp_path / "run", log=said.append, **changes)
    assert run.recipe.reported == {}
    assert said[0].startswith("the recipe's results are of kinetics, and the store has tiny")
