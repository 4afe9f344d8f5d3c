"""The recipe's samples."""

from dataclasses import replace

import pytest
import torch

from flowkit.datasets.transforms import (
    CentreCrop,
    JitteredCrop,
    MultiScaleCrop,
    RandomCrop,
    TenCrop,
)
from flowkit.errors import StoreError, UsageError
from flowkit.store import Store
from models.backbones.backbone import FLOW_INPUT, RGB_INPUT
from train.recipe.recipe import change_recipe, read_recipe
from train.runs.run import RunError, create_run
from train.tasks.backbones import describe_input
from train.tasks.samples import check_labels, make_crops, make_dataset, prepare_images


def test_crops_are_the_recipes():
    recipe = read_recipe("kinetics_cma")
    assert make_crops(recipe, ("rgb",)) == MultiScaleCrop((1.0, 0.875, 0.75, 0.66), 224, True)
    assert make_crops(recipe, ("rgb", "flow")) == MultiScaleCrop((1.0, 0.875, 0.75), 224, True)
    own = change_recipe(recipe, {"data.scales": "[1.0, 0.5]", "data.mirror": "false"})
    assert make_crops(own, ("rgb",)) == MultiScaleCrop((1.0, 0.5), 224, False)
    for name, kind in (("random", RandomCrop), ("jittered", JitteredCrop)):
        crops = make_crops(change_recipe(recipe, {"data.crops": name}), ("rgb",))
        assert isinstance(crops, kind)
        assert crops.size == 224


def test_what_each_use_sees(tiny, store):
    recipe = tiny(testing__crops="ten", testing__segments=7)
    train, validate, test = (
        make_dataset(recipe, store, ("rgb", "flow"), use) for use in ("train", "validate", "test")
    )
    assert (train.num_segments, validate.num_segments, test.num_segments) == (2, 2, 7)
    assert train.training and not validate.training and not test.training
    assert validate.crops == CentreCrop(16)
    assert test.crops == TenCrop(16)
    assert (len(train), len(test)) == (8, 4)
    assert test[0]["flow"].shape == (70, 10, 16, 16)
    assert test[0]["flow"].dtype == torch.uint8


def test_images_reach_the_network_as_its_weights_expect(tiny, store):
    dataset = make_dataset(tiny(), store, ("rgb", "flow"), "validate")
    batch = torch.utils.data.default_collate([dataset[0, i] for i in range(3)])
    inputs = describe_input(tiny(), 2)
    images = prepare_images(batch, ("rgb", "flow"), torch.device("cpu"), inputs)
    assert images["rgb"].shape == (6, 3, 16, 16)
    assert images["flow"].shape == (6, 10, 16, 16)
    raw = batch["rgb"][1, 0, 2, 3, 4].item()
    expected = (raw / 255 - RGB_INPUT.mean[2]) / RGB_INPUT.std[2]
    assert images["rgb"][2, 2, 3, 4].item() == pytest.approx(expected, rel=1e-5)
    raw = batch["flow"][2, 1, 7, 3, 4].item()
    expected = (raw - 128) / 127 / FLOW_INPUT.std[0]
    assert images["flow"][5, 7, 3, 4].item() == pytest.approx(expected, rel=1e-5)


def test_a_label_outside_the_classes(tiny, store):
    dataset = make_dataset(tiny(), store, ("rgb",), "train")
    with pytest.raises(UsageError, match=r"video 'video .*' has class 1, the recipe 1 classes"):
        check_labels(dataset.subset, 1)


def test_a_store_without_flow(make_store, tmp_path, tiny):
    ids = [f"video {number:02}" for number in range(6)]
    bare = Store(make_store(ids, tmp_path / "bare", streams=("rgb",)))
    with pytest.raises(StoreError, match=r"no flow: extract it with --streams flow"):
        make_dataset(tiny(), bare, ("flow",), "train")


def test_a_run_needs_its_subsets_and_classes(tmp_path, store, tiny):
    recipe = tiny()
    other = replace(recipe, subsets=replace(recipe.subsets, validate="val"))
    with pytest.raises(UsageError, match=r"expected a subset \(test, train\), got 'val'"):
        create_run(tmp_path / "a", other, store)
    with pytest.raises(UsageError, match=r"for 3 classes, .* has 2"):
        create_run(tmp_path / "b", replace(recipe, classes=3), store)
    large = replace(recipe, data=replace(recipe.data, short_side=256))
    with pytest.raises(UsageError, match=r"shorter side is 256 pixels, .* has 24"):
        create_run(tmp_path / "b", large, store)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_a_folder_is_not_made_into_a_run_twice(tmp_path, store, tiny, begin):
    run = begin()
    again = create_run(run.path, run.recipe, store)
    assert again.recipe == run.recipe
    with pytest.raises(RunError, match=r"another recipe \(seed: 0 → 5\)"):
        create_run(run.path, replace(run.recipe, seed=5), store)
    longer = replace(run.recipe, training=replace(run.recipe.training, epochs=9))
    with pytest.raises(RunError, match=r"another recipe \(training\.epochs: 2 → 9\); use"):
        create_run(run.path, longer, store)
    other = tmp_path / "notes"
    other.mkdir()
    (other / "a.txt").write_text("mine")
    with pytest.raises(UsageError, match="folder contains other files"):
        create_run(other, run.recipe, store)


def test_two_trainings_of_one_run_are_refused(begin):
    run = begin()
    with run.lock(), pytest.raises(RunError, match="trained by another process"), run.lock():
        pass
    with run.lock():
        pass
