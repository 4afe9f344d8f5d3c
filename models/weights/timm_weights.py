"""Load weights into image models of timm, from a file or from timm's cache.

Nothing is downloaded. timm keeps downloaded weights in the cache of huggingface_hub, and those of a
few models in PyTorch's cache. Files have timm's names. The classifier is skipped: features are
computed before it.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.backbones.timm_model import PREFIX, TimmModel, check_name, import_timm
from models.weights.pretrained import WeightsError, load_weights

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of a model's weight file in the cache of huggingface_hub, the preferred one first."""
READABLE = (".safetensors", ".bin", ".pth", ".pt")
"""Suffixes of the weight files that can be read; some old files of timm are NumPy archives."""


class CachePlace(NamedTuple):
    """A place where timm keeps the weights of a model."""

    description: str
    """Which file is looked for, and in which folder."""
    path: Path | None
    """The file; None if it is not there."""


def find_cached_weights(name: str) -> Path:
    """Find the weights of a model that timm has downloaded before.

    Args:
        name: timm's name, without ``timm/``. Without a tag, the weights are timm's default.

    Returns:
        The weight file.

    Raises:
        WeightsError: The weights are not on this machine, or timm has none for this model.
        ValueError: timm has no model of this name.
        ImportError: timm cannot be imported.
    """
    check_name(name)
    places = list(list_places(name))
    found = next((place.path for place in places if place.path is not None), None)
    if found is not None:
        return found
    if not places:
        raise WeightsError(
            f"timm has no weights for {PREFIX}{name} that can be read: give a weight file"
        )
    command = f"python -c \"import timm; timm.create_model('{name}', pretrained=True)\""
    raise WeightsError(
        f"the weights of {PREFIX}{name} are not on this machine: looked for "
        f"{' and '.join(place.description for place in places)}. They are not downloaded here: "
        f"download them on a machine with a network ({command}) and copy that folder, or give a "
        "weight file"
    )


def list_places(name: str) -> Iterator[CachePlace]:
    """List the places where timm keeps the weights of a model, whether or not they are there."""
    config = import_module("timm.models").get_pretrained_cfg(name)
    if config is None:
        return
    if config.hf_hub_id and find_spec("huggingface_hub") is not None:
        yield find_in_hub_cache(config.hf_hub_id, config.hf_hub_filename)
    url = config.url if isinstance(config.url, str) else (config.url or ("", ""))[-1]
    file_name = url.rpartition("/")[2]
    if file_name.endswith(READABLE):
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        path = folder / file_name
        yield CachePlace(f"{file_name} in {folder}", path if path.is_file() else None)


def find_in_hub_cache(hub_id: str, file_name: str | None) -> CachePlace:
    """Look for a weight file in the cache of huggingface_hub, without a network.

    Args:
        hub_id: Identifier of the model, such as ``timm/resnet18.a1_in1k``, with ``@REVISION`` if it
            is not the newest one.
        file_name: File name of the weights; None for one of `HUB_FILES`.
    """
    hub = import_module("huggingface_hub")
    repository, _, revision = hub_id.partition("@")
    names: tuple[str, ...] = HUB_FILES
    if file_name:
        safe = f"{file_name.removesuffix('.bin')}.safetensors"
        names = (safe, file_name) if file_name.endswith(".bin") else (file_name,)
    folder = hub.constants.HF_HUB_CACHE
    description = f"{names[0]} of {repository} in {folder}"
    for name in names:
        path = hub.try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(path, str) and path.endswith(READABLE):
            return CachePlace(description, Path(path))
    return CachePlace(description, None)


def load_timm_weights(backbone: TimmModel, weights: dict[str, Tensor]) -> None:
    """Load weights with timm's names into a model, in place. Classifiers are skipped.

    If names or shapes differ, timm's own conversion of older and foreign files is tried.

    Args:
        backbone: The model.
        weights: Tensors by name, as `models.weights.pretrained.read_weights` returns them.

    Raises:
        WeightsError: They are the weights of another network. The model is then unchanged.
    """
    model = backbone.model
    check_channels(model, weights)
    try:
        load_weights(model, drop_classifier(model, weights))
    except WeightsError as mismatch:
        try:
            converted = convert_by_timm(model, weights)
        except WeightsError:
            raise mismatch from None
        load_weights(model, drop_classifier(model, converted))


def convert_by_timm(model: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights as timm does when it loads its own, which can be of an older version.

    Published files of Swin, for example, have tables of positions that today's model computes.

    Args:
        model: timm's model without classes.
        weights: Tensors by the file's names; not changed.

    Returns:
        Tensors by the model's names, with its classifier.

    Raises:
        WeightsError: They are not the weights of this model.
    """
    # Without a place to download from, and with the classes of the published file, timm either
    # loads every tensor or raises an error.
    nowhere = {"url": None, "file": None, "hf_hub_id": None, "hf_hub_filename": None}
    config = {**model.pretrained_cfg, **nowhere, "custom_load": False, "state_dict": weights}
    name = config["architecture"]
    try:
        with torch.random.fork_rng(devices=[]):
            complete = import_timm().create_model(name, pretrained=True, pretrained_cfg=config)
    except Exception as error:  # conversions raise almost anything for files that they do not know
        raise WeightsError(f"timm cannot convert the weights: {error}") from error
    converted: dict[str, Tensor] = complete.state_dict()
    return converted


def check_channels(model: Any, weights: dict[str, Tensor]) -> None:
    """Check that weights are of a network of RGB images.

    Raises:
        WeightsError: The first convolution has another number of input channels.
    """
    state = model.state_dict()
    first = next((name for name, tensor in state.items() if tensor.ndim == 4), None)
    if first is None or first not in weights or weights[first].ndim != 4:
        return
    channels = weights[first].shape[1]
    if channels != state[first].shape[1]:
        raise WeightsError(
            f"its first convolution has {channels} input channels, but models of timm read RGB "
            f"({state[first].shape[1]} channels)"
        )


def drop_classifier(model: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the classifiers of a weight file, whatever the number of their classes.

    A classifier is what timm's model has with classes, and lacks without.

    Args:
        model: timm's model without classes.
        weights: Tensors by name; not changed.

    Returns:
        The other tensors by name.
    """
    state, config = model.state_dict(), model.pretrained_cfg
    names = config.get("classifier") or ()
    prefixes = tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))
    kept = {n: t for n, t in weights.items() if n in state or not n.startswith(prefixes)}
    if kept.keys() <= state.keys():
        return kept
    # timm's list of classifiers is not complete: LeViT's also normalize their input.
    with torch.device("meta"):
        complete = import_timm().create_model(config["architecture"], pretrained=False)
    known = complete.state_dict()
    return {n: t for n, t in kept.items() if n in state or n not in known}
