"""The names that ``import models`` offers, and the backbones that can be built by name."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import models
from models import BACKBONES, Backbone, build_backbone

ROOT = Path(__file__).resolve().parents[2]
NAMES = [
    "AttentionCluster",
    "AverageFusion",
    "BACKBONES",
    "Backbone",
    "BiLSTM",
    "CascadeAttention",
    "CrossModalityBlock",
    "DigitNetwork",
    "Flatten",
    "InputConvention",
    "NonLocalBlock",
    "PyramidAttention",
    "PyramidNetwork",
    "PyramidTwoStream",
    "SetNetwork",
    "TSLSTM",
    "TemporalInception",
    "TwoStream",
    "WeightsError",
    "average_segments",
    "build_backbone",
    "convert_weights",
    "freeze_batch_norms",
    "group_parameters",
    "load_weights",
    "normalize",
    "read_weights",
]
# Options that make a backbone tiny, and the shape of an input; no shape where even the tiny
# network takes seconds.
TINY: dict[str, tuple[dict[str, object], tuple[int, ...] | None]] = {
    **{f"resnet{depth}": ({"width": 2}, (1, 3, 32, 32)) for depth in (18, 34, 50, 101, 152)},
    "vgg16": ({"width": 4}, (1, 3, 32, 32)),
    "bn_inception": ({"width": 0.05}, (1, 3, 64, 64)),
    "inception_resnet_v2": ({}, None),
    "i3d": ({"width": 2, "frames": 8}, (1, 3, 8, 32, 32)),
    "i3d_inception": ({"width": 2}, (1, 3, 9, 193, 193)),
    "p3d": ({"width": 2, "blocks": (1, 1, 1, 1)}, (1, 3, 16, 32, 32)),
}


def test_exported_names() -> None:
    assert sorted(models.__all__) == NAMES
    for name in NAMES:
        assert getattr(models, name) is not None


def test_names_for_type_checkers_are_the_exported_ones() -> None:
    imported = [
        alias.asname
        for node in ast.walk(ast.parse(inspect.getsource(models)))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("models.")
        for alias in node.names
    ]
    assert sorted(map(str, imported)) == NAMES


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="module 'models' has no attribute 'ThreeStream'"):
        models.ThreeStream  # noqa: B018


def test_importing_models_does_not_import_torch() -> None:
    code = "import sys, models; print('torch' in sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert output == "False\n"


def test_all_backbones_are_covered() -> None:
    assert list(TINY) == list(BACKBONES)


@pytest.mark.parametrize("name", TINY)
def test_backbones_by_name(name: str) -> None:
    options, shape = TINY[name]
    with torch.device("meta" if shape is None else "cpu"):
        network = build_backbone(name, num_classes=3, **options).eval()
    assert isinstance(network, Backbone)
    assert network.last_layer is not None
    assert network.last_layer.out_features == 3
    if shape is not None:
        with torch.no_grad():
            assert network(torch.zeros(shape)).shape == (1, 3)


def test_unknown_backbones() -> None:
    with pytest.raises(
        ValueError, match="unknown backbone 'resnet51'; did you mean 'resnet50'"
    ) as e:
        build_backbone("resnet51", num_classes=3)
    assert all(name in str(e.value) for name in BACKBONES)


def test_unknown_options() -> None:
    with pytest.raises(TypeError, match="depth"):
        build_backbone("vgg16", num_classes=3, depth=19)
