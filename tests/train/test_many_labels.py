"""Videos with many labels, and clips: from a store to results."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from flowkit.errors import UsageError
from flowkit.store import Store, read_annotations, rebuild_index, write_annotations
from models.weights.pretrained import read_weights
from train.evaluation.evaluate import evaluate
from train.evaluation.scores import combine_views, load_scores
from train.loop.losses import find_correct
from train.loop.session import StopCondition, train
from train.report.figures import Source
from train.report.figures.curves import draw_curves
from train.report.report import write_report
from train.runs.phases import list_phases
from train.runs.run import Settings
from train.tasks.backbones import describe_input
from train.tasks.images import score_views
from train.tasks.networks import make_network, set_train_mode
from train.tasks.samples import make_dataset

SETTINGS = Settings(threads=1, workers=0)
MANY = {"labels": "many", "iterations": 0, "testing__controls": "[]", "streams": "[rgb]"}


@pytest.fixture
def store(store):
    """The twelve videos, with labels at times."""
    write_times(store, 0.08, 0.32)
    return Store(store.path)


def write_times(store, start, end):
    table = read_annotations(store.path)
    rows = tuple(
        replace(row, labels=tuple(replace(label, start=start, end=end) for label in row.labels))
        for row in table.annotations
    )
    write_annotations(store.path, replace(table, annotations=rows))
    rebuild_index(store.path)


def lines(run, phase, kind):
    text = (run.folder(phase) / f"{kind}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("views", ["mean", "max"])
def test_windows_train_and_whole_videos_are_tested(begin, store, views):
    run = begin(data__window=0.2, testing__views=views, testing__crops="three", **MANY)
    assert train(run, store, SETTINGS, lambda text: None)
    for line in lines(run, "rgb", "epochs"):
        assert 0 <= line["mAP"] <= 1
    results = evaluate(run, store, SETTINGS)
    assert set(results) == {"rgb"}
    scores = load_scores(run.path / "scores" / "rgb.npz")
    assert scores.labels.shape == scores.logits.shape == (4, 2)
    np.testing.assert_array_equal(scores.labels.sum(1), 1)
    expected = np.mean(
        [average_precision_score(scores.labels[:, c], scores.logits[:, c]) for c in range(2)]
    )
    assert results["rgb"]["mAP_sklearn"] == pytest.approx(expected)
    assert {"mAP", "wAP", "wAP_sklearn"} <= set(results["rgb"])
    (run.path / "results.json").write_text(json.dumps({"scores": results, "costs": {}}))
    written = {path.name for path in write_report(Source(run=run, store=store))}
    assert {"iterations.md", "curves.png", "report.html"} <= written
    assert "confusion.png" not in written
    table = (run.path / "figures" / "iterations.md").read_text()
    assert f"{100 * results['rgb']['mAP']:.2f} / {100 * results['rgb']['wAP']:.2f}" in table
    [curves] = draw_curves(Source(run=run, store=store))
    [line] = curves.figure.axes[1].lines
    assert line.get_ydata().tolist() == [100 * each["mAP"] for each in lines(run, "rgb", "epochs")]
    assert curves.figure.axes[1].get_ylabel() == "mAP, %"
    assert (scores.softmax > 0).all()
    assert (scores.softmax < 1).all()


def test_labels_of_a_window_are_those_of_its_time(begin, store):
    recipe = begin(data__window=0.2, **MANY).recipe
    windows = make_dataset(recipe, store, ("rgb",), "train")
    whole = make_dataset(recipe, store, ("rgb",), "test")
    assert windows[0, 0]["label"].shape == whole[0, 0]["label"].shape == (2,)
    first, stop = windows.window((0, 0))
    assert stop - first == 5  # 0.2 seconds at 25 frames a second


def assert_same_run(whole, broken):
    for phase in list_phases(whole.recipe):
        a, b = (read_weights(run.folder(phase.name) / "weights.pt") for run in (whole, broken))
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name]), name
        a, b = (lines(run, phase.name, "epochs") for run in (whole, broken))
        for one, other in zip(a, b, strict=True):
            different = {key for key in one if one[key] != other[key]}
            assert different <= {"seconds", "wait"}


def test_windows_go_on_with_the_same_bits(begin, store):
    changes = {**MANY, "data__window": 0.12, "network__dropout": 0.3}
    whole, broken = (begin(name, **changes) for name in ("whole", "broken"))
    assert train(whole, store, SETTINGS, lambda text: None)
    for _ in range(3):
        assert not train(broken, store, SETTINGS, lambda text: None, StopCondition(1))
    assert train(broken, store, SETTINGS, lambda text: None)
    assert_same_run(whole, broken)


def test_windows_need_labels_at_times(begin, store):
    write_times(store, None, None)
    untimed = Store(store.path)
    run = begin("untimed", data__window=0.2, **MANY)
    with pytest.raises(UsageError, match=r"none of the 8 labels of subset 'train' has one.*null"):
        make_dataset(run.recipe, untimed, ("rgb",), "train")
    make_dataset(run.recipe, untimed, ("rgb",), "test")
    write_times(store, 0.1, None)
    make_dataset(run.recipe, Store(store.path), ("rgb",), "train")


def test_each_class_is_asked_by_itself():
    scores, labels = torch.randn(3, 7), torch.zeros(3, 7)
    labels[0, [1, 4]] = 1
    right = find_correct(scores, labels)
    order = scores[0].argsort(descending=True)[:5].tolist()
    assert right[0].tolist() == [place in (1, 4) for place in order]
    assert not right[1:].any()


def test_the_highest_view_of_each_class():
    logits = torch.tensor([[0.0, 2.0], [1.0, -3.0]])
    highest, chances = combine_views(logits, "many", "max")
    assert highest.tolist() == [1.0, 2.0]
    np.testing.assert_allclose(chances, 1 / (1 + np.exp([-1.0, -2.0])), rtol=1e-6)
    mean, chances = combine_views(logits, "many")
    assert mean.tolist() == [0.5, -0.5]
    np.testing.assert_allclose(chances, logits.sigmoid().mean(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__window": 1.0}, "data.window is only for labels: many"),
        ({"labels": "many", "iterations": 0}, "testing.controls are only for labels: one"),
        ({"data__clip": "{length: 4}"}, "processes single images: leave out data.clip"),
        ({"network__backbone": "i3d"}, "processes clips: set data.clip.length"),
        (
            {"training__only": "[fc]", "training__partial_bn": "true"},
            "only and partial_bn each choose",
        ),
    ],
)
def test_what_does_not_go_together(tiny, changes, message):
    with pytest.raises(UsageError, match=message):
        tiny(**changes)


# --- clips ---------------------------------------------------------------------------------------


P3D = {
    "network__backbone": "p3d",
    "network__blocks": "[1, 1, 2, 1]",
    "network__positions": "[res4_1]",
    "network__rgb_from": "rgb",
    "data__clip": "{length: 4}",
    "data__size": 32,
    "testing__crops": "three",
}


def test_cross_modality_attention_between_clips(begin, store):
    only = {"iter_1": {"only": ["layer4", "fc"]}}
    run = begin(iterations=1, testing__controls="[]", phases=only, **P3D)
    assert train(run, store, SETTINGS, lambda text: None)
    results = evaluate(run, store, SETTINGS)
    assert set(results) == {f"iter_{n}/{s}" for n in (0, 1) for s in ("rgb", "flow", "fusion")}
    weights = {
        phase: torch.load(run.folder(phase) / "weights.pt", weights_only=True)
        for phase in ("rgb", "flow", "iter_1")
    }
    for name, tensor in weights["iter_1"].items():
        if name.startswith("flow."):
            assert torch.equal(tensor, weights["flow"][name]), name
        elif name.startswith("rgb.") and "num_batches" not in name:
            same = torch.equal(tensor, weights["rgb"][name])
            assert same != name.startswith(("rgb.layer4", "rgb.fc")), name
    assert weights["iter_1"]["to_rgb.res4_1.norm.weight"].any()


def test_attention_between_clips_goes_on_with_the_same_bits(begin, store):
    """The frozen parts of iter_1 rest in each session, their running statistics too."""
    only = {"iter_1": {"only": ["layer4", "fc"]}}
    changes = {"testing__controls": "[]", "training__epochs": 1, "network__dropout": 0.3, **P3D}
    whole, broken = (
        begin(name, iterations=1, phases=only, **changes) for name in ("whole", "broken")
    )
    assert train(whole, store, SETTINGS, lambda text: None)
    while not train(broken, store, SETTINGS, lambda text: None, StopCondition(1)):
        pass
    assert len(broken.facts["sessions"]) >= 6  # one for each step
    assert_same_run(whole, broken)
    before = read_weights(broken.folder("rgb") / "weights.pt")
    after = read_weights(broken.folder("iter_1") / "weights.pt")
    statistics = [name for name in before if "running" in name or "num_batches" in name]
    for name in statistics:
        same = torch.equal(before[name], after[name])
        assert same != name.startswith("rgb.layer4"), name


# Inputs of 24 pixels make maps of 2×2 before the last stage: on a map of 1×1, the gradient of a 3×3
# kernel of stride 2 reads memory that nothing was written to (torch 2.13's oneDNN, AVX512_BF16).
HALVES = {
    "frames together": {"network__pyramid": {"taps": ["res3_1", "res4_1"]}, "data__size": 24},
    "clips": {**P3D, "network__rgb_from": "initial", "network__positions": "[]"},
}


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("labels", ["one", "many"])
def test_training_in_bfloat16(begin, store, kind, labels):
    own = {"iterations": 0, "testing__controls": "[]", "training__epochs": 1, "labels": labels}
    run = begin(**own, **HALVES[kind])
    settings = replace(SETTINGS, precision="bfloat16")
    assert train(run, store, settings, lambda text: None)
    for phase in ("rgb", "flow"):
        for line in lines(run, phase, "steps"):
            numbers = [value for key, value in line.items() if key not in ("step", "epoch")]
            assert np.isfinite(numbers).all()
        [line] = lines(run, phase, "epochs")
        assert np.isfinite(line["val_loss"])
        for name, tensor in read_weights(run.folder(phase) / "weights.pt").items():
            assert tensor.dtype == (torch.int64 if "num_batches" in name else torch.float32)
    results = evaluate(run, store, settings)
    assert all(np.isfinite(list(metrics.values())).all() for metrics in results.values())


def test_clips_of_a_video_are_its_views(begin, store):
    run = begin(
        iterations=0,
        testing__controls="[]",
        streams="[rgb]",
        **{**P3D, "network__rgb_from": "initial"},
    )
    dataset = make_dataset(run.recipe, store, ("rgb",), "test")
    assert dataset[0, 0]["rgb"].shape == (2 * 3, 3, 4, 32, 32)  # clips × crops
    dataset = make_dataset(run.recipe, store, ("rgb",), "train")
    assert dataset[0, 0]["rgb"].shape == (1, 3, 4, 32, 32)


def test_so_many_images_of_clips_at_once(begin, store, monkeypatch):
    alone = {"iterations": 0, "testing__controls": "[]", "streams": "[rgb]"}
    run = begin(**alone, **HALVES["clips"])
    network = make_network(run.recipe, list_phases(run.recipe)[0], "rgb").eval()
    batch = {"rgb": make_dataset(run.recipe, store, ("rgb",), "test")[0, 0]["rgb"][None]}
    inputs, sizes = describe_input(run.recipe, 2), []
    arguments = (batch, ("rgb",), torch.device("cpu"), inputs)
    whole = score_views(network, *arguments)["rgb"]

    def count(rgb):
        sizes.append(rgb.shape[0] * rgb.shape[2])
        return network(rgb=rgb)

    monkeypatch.setattr("train.tasks.images.IMAGES_AT_ONCE", 9)
    parts = score_views(count, *arguments)["rgb"]
    assert sizes == [8, 8, 8]  # six clips of four frames
    torch.testing.assert_close(parts, whole)


def test_parts_that_are_not_there(begin):
    run = begin(training__only="[layer9]", iterations=0, testing__controls="[]")
    phase = list_phases(run.recipe)[0]
    network = make_network(run.recipe, phase, "flow")
    with pytest.raises(
        UsageError, match="ResNet has no part 'layer9'; its parts are dropout, conv1"
    ):
        set_train_mode(network, phase)
