"""Training on sound: from a store of log-mel patches to scores, features and predictions."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.cli import main
from flowkit.errors import StoreError, UsageError, VideoError
from flowkit.recipe import LogMelRecipe, Resize, StoreRecipe
from flowkit.store import (
    Fingerprint,
    ShardWriter,
    Store,
    VideoMeta,
    create_or_open,
    rebuild_index,
    write_annotations,
)
from models.backbones.vgg import VGG16
from models.weights.pretrained import read_weights
from train.evaluation.evaluate import evaluate
from train.evaluation.predict import draw_prediction, predict_video
from train.evaluation.testing import change_test_settings
from train.features.network import NetworkOptions
from train.features.network_loading import load_feature_network
from train.features.run import Options, extract_features
from train.loop.optimizers import make_progress
from train.loop.session import StopCondition, train
from train.recipe.draft import make_draft
from train.recipe.recipe import Recipe, change_recipe, read_recipe
from train.runs.phases import list_phases
from train.runs.run import RunError, Settings, create_run
from train.tasks.audio import AudioTask
from train.tasks.registry import find_task

SETTINGS = Settings(threads=1, workers=0)
TINY = {
    "dataset": "tiny",
    "classes": "2",
    "data.num_segments": "2",
    "network.width": "2",
    "network.dropout": "0",
    "network.weights": "{}",
    "training.optimizer": "adam",
    "training.schedule": "constant",
    "training.groups": "plain",
    "training.weight_decay": "0",
    "training.rate": "0.003",
    "training.batch": "5",
    "training.epochs": "12",
}
SILENT = ("video 03", "video 12")


def tiny(**changes: object) -> Recipe:
    own = {key.replace("__", "."): str(value) for key, value in changes.items()}
    return change_recipe(read_recipe("kinetics_audio_vgg16"), {**TINY, **own})


def invoke(arguments):
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def write_sounds(root, silent=SILENT, counts=(3, 1, 4)):
    """Sixteen videos: even ones sound low, odd ones high; twelve to train, four to test."""
    recipe = StoreRecipe(resize=Resize(mode="none"), audio=LogMelRecipe())
    create_or_open(root, recipe)
    writer, random, rows = (
        ShardWriter(root, "audio", recipe=recipe),
        np.random.default_rng(0),
        [],
    )
    for number in range(16):
        id = f"video {number:02}"
        count = 0 if id in silent else counts[number % len(counts)]
        writer.begin(id)
        for _ in range(count):
            patch = random.normal(-3, 0.5, (96, 64)).astype(np.float32)
            patch[:, 8:24] += 3 * (number % 2 == 0)
            patch[:, 40:56] += 3 * (number % 2 == 1)
            writer.append(patch=patch)
        writer.end(
            VideoMeta(
                id=id, source=id, fingerprint=Fingerprint(number, number, "0" * 32),
                streams=("audio",), frames=count, fps=1.0, width=0, height=0,
            )
        )  # fmt: skip
        label = Label("low" if number % 2 == 0 else "high")
        rows.append(Annotation(id, (label,), ("train" if number < 12 else "val",)))
    writer.close()
    write_annotations(root, AnnotationTable(("low", "high"), tuple(rows)))
    rebuild_index(root)
    return Store(root)


@pytest.fixture
def sounds(tmp_path):
    return write_sounds(tmp_path / "sounds")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, its store, and what its training said."""
    folder, said = tmp_path_factory.mktemp("audio"), []
    store = write_sounds(folder / "sounds")
    find_task(tiny()).check(store)
    run = create_run(folder / "run", tiny(), store)
    assert train(run, store, SETTINGS, said.append)
    return run, store, said


def test_it_learns_and_says_who_is_silent(trained):
    run, store, said = trained
    assert "audio: left out 1 videos without sound of subset 'train' (train)" in said
    results = evaluate(run, store, SETTINGS)
    assert list(results) == ["audio"]
    # Video 12 is silent, so of four three are left.
    assert results["audio"]["n"] == 3
    assert results["audio"]["top1"] == 1


def test_a_resumed_training_ends_with_the_same_bits(trained, tmp_path):
    run, store, _ = trained
    again = create_run(tmp_path / "again", tiny(), store)
    assert not train(again, store, SETTINGS, lambda text: None, StopCondition(7))
    assert train(again, store, SETTINGS, lambda text: None)
    first, second = (read_weights(r.folder("audio") / "weights.pt") for r in (run, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_scores_are_the_mean_over_all_patches(trained):
    run, store, _ = trained
    evaluate(run, store, SETTINGS)
    [phase] = list_phases(run.recipe)
    network = AudioTask(run.recipe).load_finished_network(run, phase)
    with np.load(run.path / "scores" / "audio.npz") as scores:
        for id, logits in zip(scores["ids"], scores["logits"], strict=True):
            patches = torch.from_numpy(np.array(store[str(id)].audio()))[:, None]
            with torch.no_grad():
                np.testing.assert_allclose(logits, network(patches).mean(0), atol=1e-5)


def test_features_of_a_run_are_those_of_its_network(trained):
    run, store, _ = trained
    wanted = NetworkOptions(model=str(run.path))
    recipe = load_feature_network(wanted).recipe
    assert (recipe.source, recipe.positions, recipe.dimension) == ("audio", 0, 128)
    # The phase's weights are a plain file of the network's.
    file = run.folder("audio") / "weights.pt"
    weights = read_weights(file)
    assert set(weights) == set(VGG16(in_channels=1, num_classes=2, width=2).state_dict())
    extract_features(
        store.path, "audio", wanted, Options(workers=0, device="cpu"), Console(quiet=True)
    )
    made = Store(store.path)
    [phase] = list_phases(run.recipe)
    network = AudioTask(run.recipe).load_finished_network(run, phase)
    for id in ("video 00", "video 13", *SILENT):
        patches = torch.from_numpy(np.array(made[id].audio()))[:, None]
        with torch.no_grad():
            wanted_rows = network.embed(patches).numpy() if len(patches) else np.empty((0, 128))
        np.testing.assert_allclose(made[id].features("audio"), wanted_rows, rtol=2e-3, atol=2e-3)


def test_the_report_has_its_score_and_size(trained):
    run, store, _ = trained
    invoke(["evaluate", str(run.path), "--store", str(store.path), "--device", "cpu"])
    invoke(["report", str(run.path), "--store", str(store.path)])
    pages = {path.name: path for path in run.path.rglob("*.md")}
    assert "| audio " in pages["iterations.md"].read_text()
    assert "network" in pages["parameters.md"].read_text()


def test_a_video_file_is_predicted_by_its_sound(trained, make_clip, tmp_path):
    run, _, _ = trained
    loud = make_clip(tmp_path / "loud.mp4", frames=40, sound=True)
    prediction = predict_video(run, loud, SETTINGS)
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)
    draw_prediction(prediction, "loud")
    silent = make_clip(tmp_path / "silent.mp4")
    with pytest.raises(VideoError, match=r"silent.mp4 has no sound, but .* sound alone"):
        predict_video(run, silent, SETTINGS)


def test_it_starts_from_an_rgb_networks_first_convolution(tmp_path, sounds):
    torch.manual_seed(0)
    rgb = VGG16(width=2, num_classes=5)
    torch.save(rgb.state_dict(), tmp_path / "vgg16.pth")
    run = create_run(
        tmp_path / "run", tiny(network__weights=f"{{audio: {tmp_path}/vgg16.pth}}"), sounds
    )
    said: list[str] = []
    network = AudioTask(run.recipe).start_network(
        run, list_phases(run.recipe)[0], sounds, said.append
    )
    assert "skipped: classifier.6.bias, classifier.6.weight" in said[-1]
    first = network.features[0].weight
    torch.testing.assert_close(first, rgb.features[0].weight.mean(1, keepdim=True))
    assert torch.equal(network.classifier[3].weight, rgb.classifier[3].weight)


def test_what_is_trained(sounds):
    def look(**changes):
        recipe = tiny(**changes)
        [phase] = list_phases(recipe)
        network = find_task(recipe).build_network(phase)
        find_task(recipe).set_train_mode(network, phase)
        return network, {n for n, p in network.named_parameters() if p.requires_grad}, phase

    network, names, phase = look(training__groups="tsn")
    assert names == {name for name, _ in network.named_parameters()}
    groups = make_progress(network, network, phase, SETTINGS).optimizer.param_groups
    rates = {group["name"]: group["lr"] / 0.003 for group in groups}
    assert rates == pytest.approx(
        {"first weights": 5, "first biases": 10, "weights": 1, "biases": 2}
    )
    assert look(training__only_last="true")[1] == {"classifier.6.weight", "classifier.6.bias"}
    only = look(training__only="[classifier]")[1]
    assert only
    assert all(name.startswith("classifier.") for name in only)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"streams": "[rgb, audio]"}, "audio is trained alone"),
        ({"network__backbone": "resnet"}, "expected vgg16 for audio, got resnet"),
        ({"network__weights": "{rgb: vgg16}"}, "expected audio, got rgb"),
        ({"network__dropout": "{rgb: 0.5}"}, "expected a number, or one for each of audio"),
        ({"network__cma": "true"}, "is for images"),
        ({"data__clip": "{length: 4}"}, "is for images"),
        ({"iterations": 1}, "is for images"),
        ({"phases": "{rgb: {rate: 1}}"}, "no phase 'rgb'"),
    ],
)
def test_recipes_that_do_not_go_together(changes, message):
    with pytest.raises(UsageError, match=message):
        tiny(**changes)


def test_the_network_is_a_vgg16_if_the_recipe_names_none():
    content = {"title": "sound", "dataset": "x", "classes": 2, "streams": ["audio"]}
    assert make_draft(content, "x").complete().network.backbone == "vgg16"


def test_stores_that_will_not_do(sounds, make_store, tmp_path):
    pictures = Store(make_store([f"v{n}" for n in range(4)]))
    with pytest.raises(StoreError, match="have no audio: extract it with --streams audio"):
        find_task(tiny()).check(pictures)
    mute = write_sounds(tmp_path / "mute", silent=[f"video {n:02}" for n in range(12, 16)])
    with pytest.raises(
        UsageError, match=r"expected videos with sound, but none of the 4 videos of .*'val'"
    ):
        find_task(tiny()).check(mute)
    with pytest.raises(UsageError, match="VGG16 has no part 'conv1'"):
        find_task(tiny(training__only="[conv1]")).check(sounds)


def test_weights_of_another_network_are_refused(sounds, tmp_path):
    torch.save(VGG16(width=4, num_classes=5).state_dict(), tmp_path / "wide.pth")
    recipe = tiny(network__weights=f"{{audio: {tmp_path}/wide.pth}}")
    with pytest.raises(UsageError, match=r"network\.weights\.audio: .*wrong shape"):
        find_task(recipe).check(sounds)


def test_an_unfinished_or_damaged_phase(trained, sounds, tmp_path):
    run = create_run(tmp_path / "run", tiny(), sounds)
    [phase] = list_phases(run.recipe)
    with pytest.raises(RunError, match="phase audio is not finished"):
        AudioTask(run.recipe).load_finished_network(run, phase)
    run.folder("audio").mkdir(parents=True)
    (run.folder("audio") / "weights.pt").write_bytes(b"PK no weights")
    with pytest.raises(RunError, match="train phase audio again"):
        AudioTask(run.recipe).load_finished_network(run, phase)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("testing.segments", "has no effect on a run on audio"),
        ("testing.fusion.odd", "has no effect on a run on audio"),
        ("seed", "cannot change after training"),
        ("data.size", "cannot change after training"),
        ("testing", "is a section, whose keys are set one by one"),
    ],
)
def test_settings_that_audio_does_not_have(key, reason):
    with pytest.raises(UsageError) as error:
        change_test_settings(SimpleNamespace(recipe=tiny()), {key: "1"})
    keys = "testing.over, testing.views"
    assert str(error.value) == f"--set {key}: {reason}. Keys that can: {keys}"


def test_a_misspelt_test_setting_names_the_nearest():
    with pytest.raises(UsageError, match=r"no such setting; did you mean 'testing.views'\?"):
        change_test_settings(SimpleNamespace(recipe=tiny()), {"testing.vews": "1"})
    with pytest.raises(UsageError, match=r"no such setting; did you mean 'testing.views'\?"):
        change_test_settings(SimpleNamespace(recipe=tiny()), {"tseting.views": "1"})
