"""Weights of timm's models: from files, whatever their classes, and from timm's caches."""

import sys
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import save_file

from flowkit.flow.learned.torchvision_import import find_obstacle
from models.backbones.timm_model import TimmModel, import_timm
from models.weights.pretrained import WeightsError, read_weights
from models.weights.timm_weights import find_cached_weights, load_timm_weights

pytestmark = pytest.mark.skipif(
    find_spec("timm") is None or find_obstacle() is not None,
    reason="timm or torchvision is not installed, or cannot be imported",
)
NAME = "resnet10t.c3_in1k"  # the smallest ResNet of timm


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Empty caches of huggingface_hub and of PyTorch; nothing may open a connection."""
    import huggingface_hub

    def refuse(*arguments, **options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("socket.socket.connect", refuse)
    return tmp_path


def put_into_hub(folder, name, file="model.safetensors", text="x"):
    """Put a file where huggingface_hub keeps that of a model."""
    place = folder / "hub" / f"models--timm--{name}"
    (place / "refs").mkdir(parents=True, exist_ok=True)
    (place / "refs" / "main").write_text("c0ffee")
    path = place / "snapshots" / "c0ffee" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["resnet10t", "levit_128s", "deit_tiny_distilled_patch16_224"])
@pytest.mark.parametrize("classes", [1000, 7, 0])
def test_classifiers_are_skipped_whatever_their_classes(name, classes):
    torch.manual_seed(0)
    weights = import_timm().create_model(name, num_classes=classes).state_dict()
    backbone = TimmModel(name)
    load_timm_weights(backbone, weights)
    loaded = backbone.model.state_dict()
    assert len(loaded) > 20 and loaded.keys() <= weights.keys()
    for key, tensor in loaded.items():
        assert torch.equal(tensor, weights[key]), key
    # Nothing but classifiers was skipped.
    assert all(key.startswith(("fc.", "head")) for key in weights.keys() - loaded.keys())


def test_files_of_both_formats(tmp_path):
    weights = {n: t.clone() for n, t in TimmModel("resnet10t").model.state_dict().items()}
    save_file(weights, tmp_path / "a.safetensors")
    torch.save({"state_dict": {f"module.{n}": t for n, t in weights.items()}}, tmp_path / "a.pth")
    for file in ("a.safetensors", "a.pth"):
        backbone = TimmModel("resnet10t")
        load_timm_weights(backbone, read_weights(tmp_path / file))
        assert torch.equal(backbone.model.layer1[0].conv1.weight, weights["layer1.0.conv1.weight"])


def test_files_of_older_versions_are_converted_by_timm():
    """Older files of ViT have the kernels of the patches as a matrix."""
    torch.manual_seed(0)
    complete = import_timm().create_model("test_vit").state_dict()
    kernels = complete["patch_embed.proj.weight"]
    old = complete | {"patch_embed.proj.weight": kernels.flatten(1)}
    backbone = TimmModel("test_vit")
    load_timm_weights(backbone, old)
    loaded = backbone.model.state_dict()
    assert all(torch.equal(tensor, complete[name]) for name, tensor in loaded.items())
    assert old["patch_embed.proj.weight"].ndim == 2
    # What this conversion does not explain is still an error.
    del old["blocks.0.attn.qkv.weight"]
    with pytest.raises(WeightsError, match=r"missing: blocks\.0\.attn\.qkv\.weight"):
        load_timm_weights(TimmModel("test_vit"), old)


@pytest.mark.slow
def test_published_files_of_swin_with_tables_of_positions():
    name = "swin_tiny_patch4_window7_224"
    complete = import_timm().create_model(name).state_dict()
    table = "layers.0.blocks.0.attn.relative_position_index"
    backbone = TimmModel(name)
    load_timm_weights(backbone, complete | {table: torch.zeros(49, 49, dtype=torch.long)})
    kernel = "layers.3.blocks.1.mlp.fc1.weight"
    assert torch.equal(backbone.model.state_dict()[kernel], complete[kernel])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {n: t for n, t in w.items() if n != "layer1.0.conv1.weight"},
         r"missing: layer1\.0\.conv1\.weight"),
        (lambda w: w | {"layer9.weight": torch.zeros(2)}, r"unexpected: layer9\.weight"),
        (lambda w: w | {"bn1.weight": torch.zeros(2)}, r"wrong shape: bn1\.weight \(2,\)"),
        (lambda w: w | {"conv1.0.weight": torch.zeros(24, 10, 3, 3)},
         r"10 input channels, but models of timm read RGB \(3 channels\)"),
        (lambda w: {"features.0.weight": torch.zeros(64, 3, 3, 3)}, "do not fit this ResNet: miss"),
        (lambda w: {}, "do not fit this ResNet: missing"),
    ],
)  # fmt: skip
def test_weights_of_another_network_change_nothing(change, message):
    backbone = TimmModel("resnet10t")
    before = {n: t.clone() for n, t in backbone.model.state_dict().items()}
    weights = change({n: torch.zeros_like(t) for n, t in before.items()})
    with pytest.raises(WeightsError, match=message):
        load_timm_weights(backbone, weights)
    assert all(torch.equal(t, before[n]) for n, t in backbone.model.state_dict().items())


def test_weights_are_found_in_the_caches(caches):
    with pytest.raises(WeightsError) as refusal:
        find_cached_weights(NAME)
    for part in (
        f"the weights of timm/{NAME} are not on this machine: looked for model.safetensors of "
        f"timm/{NAME} in {caches / 'hub'} and ",
        f".pth in {caches / 'torch' / 'hub' / 'checkpoints'}. They are not downloaded here",
        f"python -c \"import timm; timm.create_model('{NAME}', pretrained=True)\"",
        "or give a weight file",
    ):
        assert part in str(refusal.value)
    old = import_timm().models.get_pretrained_cfg(NAME).url.rpartition("/")[2]
    (caches / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    (caches / "torch" / "hub" / "checkpoints" / old).write_text("x")
    assert find_cached_weights(NAME).name == old
    second = put_into_hub(caches, NAME, "pytorch_model.bin")
    assert find_cached_weights(NAME) == second
    first = put_into_hub(caches, NAME)
    assert find_cached_weights(NAME) == first
    assert find_cached_weights("resnet10t") == first  # timm's default


def test_a_model_without_weights_says_so(caches):
    with pytest.raises(WeightsError, match="timm has no weights for timm/nf_resnet26 that can be"):
        find_cached_weights("nf_resnet26")
    with pytest.raises(ValueError, match="has no model timm/resnet27"):
        find_cached_weights("resnet27")


def test_huggingface_hub_may_be_absent(caches, monkeypatch):
    from models.weights import timm_weights

    monkeypatch.setattr(timm_weights, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"looked for resnet10t\S*\.pth in .*checkpoints\. They"):
        find_cached_weights(NAME)
