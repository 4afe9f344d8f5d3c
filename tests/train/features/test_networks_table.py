"""Every network of `flowkit features`, as a weight file of RGB and of flow, and what it samples."""

import re
from pathlib import Path

import pytest
import torch

from models.backbones.registry import BACKBONES
from train.features.network import NetworkOptions, check_sizes
from train.features.network_loading import load_feature_network
from train.features.weight_checks import make_feature_backbone
from train.tasks.backbones import NETWORKS

# By name: features, side of the images, RGB frames at a time, channels of a file of flow, flow
# fields at a time, positions for each video, crops.
IMAGES, CLIPS = (25, "centre"), (10, "three")
TABLE = {
    "resnet18": (512, 224, 1, 10, 5, *IMAGES),
    "resnet34": (512, 224, 1, 20, 10, *IMAGES),
    "resnet50": (2048, 224, 1, 10, 5, *IMAGES),
    "resnet101": (2048, 224, 1, 2, 1, *IMAGES),
    "resnet152": (2048, 224, 1, 10, 5, *IMAGES),
    "vgg16": (4096, 224, 1, 20, 10, *IMAGES),
    "bn_inception": (1024, 224, 1, 10, 5, *IMAGES),
    "inception_resnet_v2": (1536, 299, 1, 10, 5, *IMAGES),
    "i3d": (2048, 224, 32, 2, 32, *CLIPS),
    "i3d_inception": (1024, 224, 64, 2, 64, *CLIPS),
    "p3d": (2048, 160, 16, 2, 16, *CLIPS),
}
QUICK = ("resnet18", "i3d")
DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_every_network_is_in_the_table():
    assert list(TABLE) == list(NETWORKS) == list(BACKBONES)


def test_the_documentation_has_the_table():
    """The table of ``--backbone`` in docs/training.md, a row of which may name several networks."""
    text = (DOCS / "training.md").read_text(encoding="utf-8")
    documented = {}
    for row in text.partition("| `--backbone` |")[2].partition("\n\n")[0].splitlines()[2:]:
        names, *cells = [cell.strip() for cell in row.strip("|").split("|")]
        for name in re.findall("`([^`]+)`", names):
            documented[name] = tuple(cell.split(" ")[0] for cell in cells)
    assert documented.pop("timm/NAME")
    assert documented == {name: tuple(map(str, row[:3])) for name, row in TABLE.items()}


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TABLE],
)
def test_weight_files_of_both_streams(name, stream, tmp_path):
    dimension, size, frames, channels, fields, positions, crops = TABLE[name]
    with torch.device("meta"):
        state = make_feature_backbone(name, 3 if stream == "rgb" else channels).state_dict()
    path = tmp_path / "weights.pth"
    # Of full size, and a small file, since all values of a tensor are one number.
    torch.save(
        {n: torch.full((), 2, dtype=t.dtype).expand(t.shape) for n, t in state.items()}, path
    )
    network = load_feature_network(NetworkOptions(model=str(path), backbone=name))
    recipe, sampling = network.recipe, network.sampling
    assert (recipe.source, recipe.model, recipe.dimension) == (stream, name, dimension)
    assert (sampling.length, sampling.stride) == (frames if stream == "rgb" else fields, 1)
    assert (recipe.size, recipe.positions, recipe.crops) == (size, positions, crops)
    assert network.is_3d == (frames > 1)
    assert network.convention == getattr(network.backbone, f"{stream}_input")
    assert all((tensor == 2).all() for tensor in network.backbone.state_dict().values())
    check_sizes(network)
