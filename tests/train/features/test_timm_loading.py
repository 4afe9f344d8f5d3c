"""Models of timm as networks of `flowkit features`: recipe, store, and every refusal."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from rich.console import Console

from flowkit.datasets.snippets import SnippetDataset
from flowkit.datasets.transforms import CentreCrop
from flowkit.datasets.video_dataset import scale_bytes
from flowkit.errors import FlowkitError, RecipeError, UsageError
from flowkit.flow.learned import torchvision_import
from flowkit.store import Store
from models.backbones import timm_model
from models.backbones.backbone import normalize
from models.backbones.timm_model import TimmModel
from train.features import NetworkOptions, Options, extract_features, timm_loading
from train.features.network import check_sizes
from train.features.network_loading import load_feature_network, make_worker_options

needs_timm = pytest.mark.skipif(
    find_spec("timm") is None or torchvision_import.find_obstacle() is not None,
    reason="timm or torchvision is not installed, or cannot be imported",
)
NAME = "timm/resnet10t"
QUIET = Console(quiet=True)


@pytest.fixture
def timm_file(tmp_path):
    """``timm_file(seed)``: a weight file of the model `NAME` with 7 classes."""

    def write(seed: int = 0, name: str = NAME):
        path = tmp_path / f"{name.removeprefix('timm/')}-{seed}.pth"
        model = timm_model.import_timm().create_model(name.removeprefix("timm/"), num_classes=7)
        torch.manual_seed(seed)
        for tensor in model.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim > 1:
                torch.nn.init.normal_(tensor, std=0.05)
        torch.save(model.state_dict(), path)
        return path

    return write


@pytest.fixture
def own_weights(timm_file, monkeypatch):
    """The file that stands in timm's cache as its own weights."""
    path = timm_file()
    monkeypatch.setattr(timm_loading, "find_cached_weights", lambda name: path)
    return path


@needs_timm
def test_a_weight_file_of_a_model_of_timm(timm_file):
    path = timm_file()
    network = load_feature_network(NetworkOptions(model=str(path), backbone=NAME))
    recipe = network.recipe
    assert (recipe.model, recipe.source, recipe.dimension, recipe.size) == (NAME, "rgb", 512, 176)
    assert (recipe.clip_length, recipe.clip_stride, recipe.positions) == (1, 1, 25)
    assert (network.path, network.is_3d, network.backbone.training) == (path, False, False)
    assert network.convention == network.backbone.rgb_input
    saved = torch.load(path, weights_only=True)
    assert torch.equal(network.backbone.model.conv1[0].weight, saved["conv1.0.weight"])
    other = load_feature_network(NetworkOptions(model=str(timm_file(1)), backbone=NAME))
    assert other.recipe.weights != recipe.weights
    check_sizes(network)


@needs_timm
def test_timms_own_weights_need_no_file(own_weights):
    network = load_feature_network(NetworkOptions(model=NAME, size=64, positions=3))
    recipe = network.recipe
    assert (recipe.model, recipe.size, recipe.positions) == (NAME, 64, 3)
    assert network.path == own_weights
    options = NetworkOptions(model=NAME, size=64, positions=3)
    named = make_worker_options(options, network)
    assert (named.model, named.backbone) == (str(own_weights), NAME)
    assert load_feature_network(named).recipe == recipe


@needs_timm
def test_features_of_a_store_are_those_of_the_model(store, own_weights):
    options = NetworkOptions(model=NAME, positions=3, size=16)
    here = Options(workers=0, device="cpu", batch=8, limit=9)
    summary = extract_features(store.path, "timm", options, here, QUIET)
    assert (summary.computed, summary.rows, summary.network) == (9, 27, NAME)
    opened = Store(store.path)
    assert opened.recipe.features["timm"].model == NAME
    backbone = TimmModel("resnet10t").eval()
    backbone.model.load_state_dict(torch.load(own_weights, weights_only=True), strict=False)
    dataset = SnippetDataset(
        opened, "test", 3, streams=("rgb",), crops=CentreCrop(16), as_bytes=True
    )
    sample = dataset[0]
    images = normalize(scale_bytes(sample["rgb"], "rgb"), backbone.rgb_input)
    with torch.no_grad():
        expected = backbone.embed(images).numpy()
    assert expected.std() > 0
    stored = opened[int(sample["row"])].features("timm")
    np.testing.assert_allclose(stored, expected, rtol=2**-9, atol=1e-3 * expected.max())
    assert extract_features(store.path, "timm", options, here, QUIET).done_before == 9


@needs_timm
@pytest.mark.slow
def test_workers_of_ray_load_the_same_model(store, own_weights):
    options = NetworkOptions(model=NAME, positions=2, size=16)
    summary = extract_features(store.path, "ray", options, Options(workers=1, device="cpu"), QUIET)
    assert (summary.computed, summary.left, summary.workers) == (12, 0, 1)


@needs_timm
def test_other_weights_under_the_same_name_are_refused(store, timm_file):
    options = NetworkOptions(model=str(timm_file()), backbone=NAME, positions=2, size=16)
    here = Options(workers=0, device="cpu", limit=1)
    extract_features(store.path, "timm", options, here, QUIET)
    with pytest.raises(RecipeError, match="weights: "):
        extract_features(store.path, "timm", replace(options, model=str(timm_file(1))), here, QUIET)


@needs_timm
def test_files_that_do_not_fit(timm_file, weight_file, tmp_path, monkeypatch):
    file = str(timm_file())
    for options, message in (
        (NetworkOptions(model=file, backbone="timm/resnet18"),
         r"resnet10t-0\.pth: the weights do not fit .*or another --backbone than timm/resnet1"),
        (NetworkOptions(model=str(weight_file(10)), backbone="timm/resnet18"),
         r"its first convolution has 10 input channels, but models of timm read RGB"),
        (NetworkOptions(model=file, backbone="timm/resnet10"),
         r"has no model timm/resnet10; did you mean timm/resnet10t"),
        (NetworkOptions(model=NAME, backbone="timm/resnet10t"), "no weights 'timm/resnet10t'"),
        (NetworkOptions(model="timm/"), "has no model timm/; "),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            load_feature_network(options)
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(UsageError, match=r"text\.pth is not a weight file"):
        load_feature_network(NetworkOptions(model=str(tmp_path / "text.pth"), backbone=NAME))


@needs_timm
def test_weights_of_torchvision_and_timm_are_the_same_network(weight_file):
    """Where timm and this project have the same names, features agree."""
    file = str(weight_file())
    ours = load_feature_network(NetworkOptions(model=file, backbone="resnet18"))
    timms = load_feature_network(NetworkOptions(model=file, backbone="timm/resnet18"))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, features = ours.backbone.embed(images), timms.backbone.embed(images)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    assert ours.convention.mean == timms.convention.mean


@needs_timm
def test_weights_that_are_not_here_are_not_downloaded(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        UsageError,
        match=r"of timm/resnet10t are not on this machine: .* not downloaded here: .*"
        r"or give a weight file: --model FILE --backbone timm/resnet10t$",
    ):
        load_feature_network(NetworkOptions(model=NAME))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stream": "flow"}, r"timm/resnet10t reads RGB, not flow: .* photographs\. For flow, use"),
        ({"stream": "audio"}, "reads RGB, not audio"),
        ({"clip_length": 16}, "timm/resnet10t sees one frame at a time, .* such as i3d"),
        ({"clip_stride": 2}, "sees one frame at a time"),
        ({"split": 1}, "--split is for runs with several splits; timm/resnet10t has none"),
    ],
)
@pytest.mark.parametrize("files", [{"model": NAME}, {"model": "a.pth", "backbone": NAME}])
def test_only_single_rgb_frames(changes, message, files):
    with pytest.raises(UsageError, match=message):
        load_feature_network(NetworkOptions(**files, **changes))


def test_without_timm_or_torchvision_the_extra_is_named(monkeypatch):
    here = r"^timm/resnet10t cannot be used here: "
    extra = r"pip install 'flowkit-video\[learned\]'$"
    monkeypatch.setattr(torchvision_import, "find_spec", lambda name: None)
    with pytest.raises(FlowkitError, match=f"{here}torchvision is not installed: {extra}"):
        load_feature_network(NetworkOptions(model=NAME))
    monkeypatch.setattr(timm_loading, "import_torchvision", lambda: None)
    monkeypatch.setattr(timm_model, "find_spec", lambda name: None)
    with pytest.raises(FlowkitError, match=f"{here}timm is not installed: {extra}"):
        load_feature_network(NetworkOptions(model=NAME))


def test_a_run_or_a_file_in_a_folder_named_timm(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "timm").mkdir()
    finished.path.rename(tmp_path / "timm" / "run")
    network = load_feature_network(NetworkOptions(model="timm/run", stream="rgb"))
    assert network.recipe.dimension == 32
    with pytest.raises(UsageError, match=r"no weights 'timm/file\.pth'"):
        load_feature_network(NetworkOptions(model="timm/file.pth", backbone="resnet18"))


def test_other_names_still_need_a_backbone():
    with pytest.raises(UsageError, match=r"p3d or timm/NAME; got none"):
        load_feature_network(NetworkOptions(model="resnet10t"))
    with pytest.raises(UsageError, match=r"p3d or timm/NAME; got timmy"):
        load_feature_network(NetworkOptions(model="resnet10t", backbone="timmy"))
