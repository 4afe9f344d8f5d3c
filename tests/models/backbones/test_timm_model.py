"""Models of timm as backbones: the features of timm's own code, and what is said without timm."""

from importlib.util import find_spec

import pytest
import torch

from flowkit.flow.learned.torchvision_import import find_obstacle
from models.backbones import timm_model
from models.backbones.backbone import trace_shapes
from models.backbones.timm_model import TimmModel, check_name, import_timm

needs_timm = pytest.mark.skipif(
    find_spec("timm") is None or find_obstacle() is not None,
    reason="timm or torchvision is not installed, or cannot be imported",
)

# By name: features, and mean, standard deviation and side of the images that timm states.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODELS = {
    "resnet18": (512, *IMAGENET, 224),
    "vit_tiny_patch16_224": (192, (0.5,) * 3, (0.5,) * 3, 224),
    "convnext_atto": (320, *IMAGENET, 224),
    "mobilenetv3_small_050": (1024, *IMAGENET, 224),  # a layer between the pool and the classifier
}


@needs_timm
@pytest.mark.parametrize("name", MODELS)
def test_features_are_those_before_timms_classifier(name, randomize):
    timm, (dimension, mean, std, size) = import_timm(), MODELS[name]
    torch.manual_seed(0)
    complete = randomize(timm.create_model(name))  # with its 1,000 classes
    backbone = TimmModel(name).eval()
    backbone.model.load_state_dict(
        {n: t for n, t in complete.state_dict().items() if n in backbone.model.state_dict()}
    )
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        features = backbone.embed(images)
        logits = complete.get_classifier()(features)
        expected = complete.forward_head(complete.forward_features(images), pre_logits=True)
        expected_logits = complete(images)
    assert features.shape == (2, dimension) and features.std() > 0
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-4, atol=1e-5)
    assert torch.equal(backbone(images), features)  # there is no last layer
    assert backbone.last_layer is None and backbone.num_features == dimension
    convention = backbone.rgb_input
    assert (convention.mean, convention.std, convention.size) == (mean, std, size)
    assert (convention.order, convention.frames, backbone.dims) == ("RGB", 1, 2)


@needs_timm
def test_each_model_has_its_own_input_and_the_class_none():
    before = TimmModel.rgb_input
    tagged = TimmModel("vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert tagged.rgb_input.mean == (0.5, 0.5, 0.5)
    assert TimmModel("resnet10t").rgb_input.size == 176
    assert TimmModel.rgb_input is before


@needs_timm
def test_its_only_step_can_be_traced():
    assert trace_shapes(TimmModel("resnet10t"), (3, 64, 64)) == {"features": (512, 2, 2)}


@needs_timm
def test_a_size_that_the_model_cannot_process():
    with torch.device("meta"):
        backbone, images = TimmModel("vit_tiny_patch16_224").eval(), torch.empty(1, 3, 160, 160)
        with pytest.raises(ValueError, match=r"height \(160\) doesn't match model \(224\)"):
            backbone.embed(images)


@needs_timm
def test_building_leaves_the_random_numbers_of_the_caller_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    TimmModel("resnet10t")
    assert torch.equal(torch.rand(4), expected)


@needs_timm
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18x", r"has no model timm/resnet18x; did you mean .*timm/resnet18.*\? .*list_mode"),
        (
            "vit_tiny_patch16_224.nowhere",
            r"has timm/vit_tiny_\S+, but no weights timm/vit_\S+\.nowhere; .* mean timm/vit_",
        ),
        ("§", r"has no model timm/§; timm\.list_models"),
        ("timm/resnet18", "has no model timm/timm/resnet18; "),
        ("hf-hub:timm/resnet18", "has no model timm/hf-hub:timm/resnet18; "),
        ("", "has no model timm/; "),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        check_name(name)
    with pytest.raises(ValueError, match=message):
        TimmModel(name)


@needs_timm
def test_models_of_other_images_are_refused(monkeypatch):
    timm = import_timm()

    def create(name, **options):
        model = real(name, **options)
        model.pretrained_cfg = {**model.pretrained_cfg, "input_size": size}
        return model

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", create)
    for size in ((1, 224, 224), (3, 1024, 768)):
        with pytest.raises(ValueError, match=rf"{size[0]} channels and {size[1]}×{size[2]} pixels"):
            TimmModel("resnet10t")


@needs_timm
def test_a_model_that_classifies_nothing_is_refused():
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match="timm/mobilenetv5_300m_enc computes no features before a"),
    ):
        TimmModel("mobilenetv5_300m_enc")


@needs_timm
def test_a_model_without_one_vector_for_each_image_is_refused(monkeypatch):
    backbone = TimmModel("resnet10t").eval()
    x = torch.zeros(2, 512, 3, 3)
    monkeypatch.setattr(backbone.model, "forward_head", lambda x, pre_logits: x)
    with pytest.raises(ValueError, match=r"one vector of 512 values .* got \(2, 512, 3, 3\)"):
        backbone.pool_features(x)
    monkeypatch.setattr(backbone.model, "forward_head", lambda x, pre_logits: [x])
    with pytest.raises(ValueError, match="from ResNet, got list"):
        backbone.pool_features(x)


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(timm_model, "find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"^timm is not installed: pip install 'flowkit-video\[learned\]'$"
    ):
        TimmModel("resnet18")


@pytest.mark.parametrize(
    "error", [ImportError("no such symbol"), RuntimeError("operator torchvision::nms is missing")]
)
def test_a_timm_that_cannot_be_imported_is_explained(error, monkeypatch):
    def fail(name):
        raise error

    monkeypatch.setattr(timm_model, "find_spec", lambda name: object())
    monkeypatch.setattr(timm_model, "import_module", fail)
    with pytest.raises(ImportError, match=rf"^timm cannot be imported \({error}\): pip install"):
        import_timm()
