"""Load an image model of timm as the network that computes features."""

from flowkit.errors import FlowkitError, UsageError
from flowkit.flow.learned.torchvision_import import TorchvisionError, import_torchvision
from models.backbones.timm_model import PREFIX, TimmModel, import_timm
from models.weights.pretrained import WeightsError, read_weights
from models.weights.timm_weights import find_cached_weights, load_timm_weights
from train.features.network import FeatureNetwork, NetworkOptions, build_feature_network
from train.tasks.weight_search import find_weight_file


def find_timm_name(options: NetworkOptions) -> str | None:
    """Return the name of a model of timm, with ``timm/``, if the options name one.

    It is the backbone of a weight file, or, without a file, the model itself.
    """
    name = options.model if options.backbone is None else options.backbone
    return name if name.startswith(PREFIX) else None


def load_from_timm(options: NetworkOptions, name: str) -> FeatureNetwork:
    """Load a model of timm with the weights of a file, or with timm's own from its cache.

    Args:
        options: The options of the user. Without `backbone`, the weights are timm's own.
        name: Name of the model, with ``timm/``.

    Returns:
        The network. It sees one RGB frame at a time.

    Raises:
        UsageError: timm has no such model, its weights are not here or do not fit, or the options
            ask for something other than single RGB frames.
        FlowkitError: timm cannot be imported.
    """
    check_options(options, name)
    timm_name = name.removeprefix(PREFIX)
    try:
        import_torchvision()  # timm would import it as it is, which fails in some environments
        import_timm()
    except (TorchvisionError, ImportError) as error:
        raise FlowkitError(f"{name} cannot be used here: {error}") from error
    own = options.backbone is None
    try:
        path = find_cached_weights(timm_name) if own else find_weight_file(options.model)
        backbone = TimmModel(timm_name)
    except WeightsError as error:
        raise UsageError(f"{error}: --model FILE --backbone {name}") from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        load_timm_weights(backbone, read_weights(path))
    except WeightsError as error:
        raise UsageError(
            f"{path}: {error}: use another file, or another --backbone than {name}"
        ) from error
    sampling = (backbone.rgb_input.size, 1, 1)
    return build_feature_network(options, backbone.eval(), path, name, "rgb", sampling, None)


def check_options(options: NetworkOptions, name: str) -> None:
    """Check that the options ask for single RGB frames.

    Raises:
        UsageError: They do not.
    """
    if options.split is not None:
        raise UsageError(f"--split is for runs with several splits; {name} has none")
    if options.stream not in (None, "rgb"):
        raise UsageError(
            f"{name} reads RGB, not {options.stream}: models of timm are trained on photographs. "
            f"For {options.stream}, use a run of flowkit train, or a weight file of another "
            "--backbone"
        )
    if (options.clip_length or 1) != 1 or (options.clip_stride or 1) != 1:
        raise UsageError(
            f"{name} sees one frame at a time, since models of timm are trained on single images: "
            "leave out --clip-length and --clip-stride, or use a network of clips, such as i3d"
        )
