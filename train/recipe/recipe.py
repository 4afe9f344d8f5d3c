"""Recipes of trainings: YAML files as frozen dataclasses (sections.py has their sections).

A recipe says everything that decides the result; where it runs and how fast is in `Settings`
(runs/run.py).
"""

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from flowkit.catalog import UniqueKeys
from flowkit.errors import UsageError
from train.recipe.parsing import parse, suggest
from train.recipe.sections import (
    STRICT,
    Clip,
    Data,
    Dropout,
    Family,
    Network,
    Pyramid,
    Sets,
    Stream,
    Subsets,
    Testing,
    Training,
)  # fmt: skip

FOLDER = Path(__file__).parents[1] / "recipes"
# Words that a batch of sets has for itself (flowkit/datasets/feature_sets.py).
RESERVED = re.compile(r"label|row|.*_lengths|\W*|\d.*|.*\W.*")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Recipe:
    """A training, whole.

    ``iterations`` of the alternating schedule after the plain branches were trained; ``splits``
    of the dataset that are trained one after another and averaged; ``labels`` of a video: one, by
    softmax, or many, each by a sigmoid of its own; ``phases``: what differs in
    the training of a phase (``rgb``, ``flow``, ``iter_1``, …); ``reported``: the paper's [top-1,
    top-5] in percent by name of score; ``needs``: what a user must have beside the store.

    With ``sets`` the network is trained on features in one phase, ``sets``; `streams`, `data` and
    `network` say nothing then. With the stream ``audio``, which is trained alone, the network sees
    log-mel patches as it would frames, and of `data` only `num_segments` counts.
    """

    title: str
    paper: str
    dataset: str
    classes: int = Field(ge=2)
    streams: tuple[Stream, ...] = ("rgb", "flow")
    iterations: int = Field(default=0, ge=0)
    splits: tuple[int, ...] = ()
    labels: Literal["one", "many"] = "one"
    seed: int = Field(default=0, ge=0)
    subsets: Subsets = Subsets()
    data: Data = Data()
    network: Network = Network()
    sets: Sets | None = None
    training: Training = Training()
    phases: dict[str, dict[str, Any]] = Field(default_factory=dict)
    testing: Testing = Testing()
    reported: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    needs: str = ""

    @property
    def kind(self) -> Literal["images", "sets", "audio"]:
        """What is trained on: images of RGB and flow, sets of features, or log-mel patches."""
        if self.sets is not None:
            return "sets"
        return "audio" if "audio" in self.streams else "images"

    @property
    def short_side(self) -> int | None:
        """The shorter side of stored frames, pixels; None if no frames are read."""
        return self.data.short_side if self.kind == "images" else None

    def training_of(self, phase: str) -> Training:
        """The training of a phase, with what differs there; ``iterations`` stands for all."""
        common = self.phases.get("iterations", {}) if phase.startswith("iter_") else {}
        changes = {**common, **self.phases.get(phase, {})}
        whole = {**asdict(self.training), **changes}
        training: Training = parse(Training, whole, f"phases: {phase}")
        modes = ("only_last", "only", "partial_bn")
        chosen = [name for name in modes if getattr(training, name)]
        if len(chosen) > 1:
            raise UsageError(
                f"phases: {phase}: {' and '.join(chosen)} each say what is trained; take one"
            )
        return training


def read_recipe(name: str | Path) -> Recipe:
    """A recipe of this package by name, or any YAML file.

    Raises UsageError for an unknown name, naming the nearest, and for whatever is wrong in it.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name}.yaml"
        if not path.is_file():
            raise UsageError(f"no recipe {str(name)!r}{suggest(str(name), list_recipes())}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"cannot read the recipe {path}: {reason}") from error
    recipe: Recipe = parse(Recipe, content, str(path))
    return check_recipe(recipe, str(path))


def list_recipes() -> list[str]:
    """The names of this package's recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def change_recipe(recipe: Recipe, changes: dict[str, str]) -> Recipe:
    """A recipe with values set by dotted names, such as ``training.epochs`` → ``2``; YAML values.

    Raises UsageError for an unknown name.
    """
    content = asdict(recipe)
    for name, text in changes.items():
        *folders, last = name.split(".")
        place = content
        for depth, folder in enumerate(folders):
            if depth and folders[0] == "phases":
                place.setdefault(folder, {})
            if not isinstance(place.get(folder), dict):
                raise UsageError(f"recipe: no key {folder!r} in {name!r}{suggest(folder, place)}")
            place = place[folder]
        place[last] = yaml.safe_load(text)
    return check_recipe(parse(Recipe, content, "recipe"), "recipe")


def write_recipe(recipe: Recipe) -> str:
    """The whole recipe as YAML, which `read_recipe` reads."""
    content = TypeAdapter(Recipe).dump_python(recipe, mode="json")
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def check_recipe(recipe: Recipe, where: str) -> Recipe:
    """The recipe, if its parts go together; UsageError otherwise."""
    check_phases(recipe, where)
    if recipe.sets is not None:
        check_sets(recipe, recipe.sets, where)
        return recipe
    if not recipe.streams:
        raise UsageError(f"{where}: streams: expected rgb, flow or both, or audio; got none")
    dropout = recipe.network.dropout
    if isinstance(dropout, dict) and set(dropout) != set(recipe.streams):
        raise UsageError(
            f"{where}: network.dropout: expected a number, or one for each of "
            f"{', '.join(recipe.streams)}; got {dropout}"
        )
    if recipe.kind == "audio":
        check_audio(recipe, where)
        return recipe
    if "audio" in recipe.network.weights:
        raise UsageError(f"{where}: network.weights.audio: expected with streams: [audio] alone")
    both = set(recipe.streams) == {"rgb", "flow"}
    if not both and (recipe.iterations or recipe.network.cma or recipe.testing.controls):
        raise UsageError(f"{where}: cross-modality attention needs both streams, rgb and flow")
    if set(recipe.network.non_local) - set(recipe.streams):
        raise UsageError(f"{where}: non_local names a branch that is not in streams")
    is_3d = recipe.network.backbone in ("i3d", "p3d")
    if is_3d != (recipe.data.clip is not None) or (is_3d and recipe.network.pyramid):
        raise UsageError(
            f"{where}: networks of clips (i3d, p3d) need data.clip and no pyramid; networks of "
            f"images no clip. Here are {recipe.network.backbone} and clip {recipe.data.clip}"
        )
    if recipe.data.window and (recipe.labels == "one" or recipe.data.clip):
        raise UsageError(f"{where}: data.window is for snippets of videos with labels: many")
    if recipe.labels == "many" and recipe.testing.controls:
        raise UsageError(f"{where}: testing.controls are for videos with labels: one")
    between = recipe.network.cma or recipe.network.non_local or recipe.iterations
    if recipe.network.pyramid and between:
        raise UsageError(
            f"{where}: network.pyramid is attention inside the branches, which meet in their "
            "scores alone: no cma, non_local or iterations with it"
        )
    return recipe


def check_phases(recipe: Recipe, where: str) -> None:
    """UsageError where phases or splits are named that there are not."""
    names = ["rgb", "flow", "uniform", "iterations"]
    names = names if recipe.kind == "images" else [recipe.kind]
    names += [f"iter_{i + 1}" for i in range(recipe.iterations)]
    for name in recipe.phases:
        # Those beyond the iterations are left alone: fewer may be trained than planned for.
        if name not in names and not re.fullmatch(r"iter_[1-9]\d*", name):
            raise UsageError(f"{where}: phases: no phase {name!r}{suggest(name, names)}")
        recipe.training_of(name)
    for name in ("sets",) if recipe.sets else recipe.streams:
        if recipe.training_of(name).balance and recipe.labels == "many":
            raise UsageError(f"{where}: training.balance is for videos with labels: one")
    named = [recipe.subsets.train, recipe.subsets.validate, recipe.subsets.test]
    if bool(recipe.splits) != any("{split}" in name for name in named):
        raise UsageError(f"{where}: splits need '{{split}}' in the subsets' names, and the reverse")


def check_audio(recipe: Recipe, where: str) -> None:
    """UsageError where a recipe on sound says what is of images."""
    network, testing = recipe.network, recipe.testing
    if recipe.streams != ("audio",):
        raise UsageError(
            f"{where}: streams: audio is trained alone, and meets others as a modality of sets; "
            f"got {', '.join(recipe.streams)}"
        )
    if network.backbone != "vgg16":
        raise UsageError(f"{where}: the network of audio is vgg16, got {network.backbone}")
    if set(network.weights) - {"audio"}:
        raise UsageError(
            f"{where}: network.weights: expected audio, got {', '.join(network.weights)}; a file "
            "of an RGB network will do for it"
        )
    between = network.cma or network.non_local or network.pyramid or recipe.iterations
    if between or recipe.data.clip or recipe.data.window or testing.controls or testing.fusion:
        raise UsageError(
            f"{where}: attention blocks, clips, windows, iterations, controls and fusion are for "
            "images; with streams: [audio] leave them out"
        )


def check_sets(recipe: Recipe, sets: Sets, where: str) -> None:
    """UsageError where a recipe on feature sets says what is of images, or of no modality."""
    for name, default in (("data", Data()), ("network", Network()), ("iterations", 0)):
        if getattr(recipe, name) != default:
            raise UsageError(f"{where}: {name} is for images; with sets leave it out")
    if recipe.testing.controls or recipe.testing.fusion:
        raise UsageError(f"{where}: testing.controls and testing.fusion are for images, not sets")
    if not sets.streams:
        raise UsageError(f"{where}: sets.streams: expected one modality or more, got none")
    for modality in sets.streams:
        if RESERVED.fullmatch(modality):
            raise UsageError(f"{where}: sets.streams: {modality!r} cannot be a modality's name")
    for name in ("dimensions", "units", "sample", "test"):
        values, least = sets.of(name), 0 if name in ("sample", "test") else 1
        if set(values) != set(sets.streams) or min(values.values()) < least:
            raise UsageError(
                f"{where}: sets.{name}: expected a number from {least} for each of "
                f"{', '.join(sets.streams)}, got {values}"
            )
    for name in ("made_with", "may_be_empty"):
        for modality in getattr(sets, name):
            if modality not in sets.streams:
                raise UsageError(
                    f"{where}: sets.{name}: no modality {modality!r}"
                    f"{suggest(modality, sets.streams)}"
                )
    if sets.method == "flatten" and not min(sets.of("sample").values()):
        raise UsageError(
            f"{where}: sets.sample: flatten makes a vector of so many; expected 1 or more"
        )
    training = recipe.training_of("sets")
    for name in ("only_last", "only", "partial_bn"):
        if getattr(training, name):
            raise UsageError(f"{where}: training.{name} is for backbones; sets have none")
    if training.groups != "plain":
        raise UsageError(f"{where}: training.groups: expected plain with sets, got tsn")


def of_split(recipe: Recipe, split: int | None) -> Recipe:
    """The recipe with the subsets of a split, and with the features that are of it."""
    if split is None:
        return recipe

    def name(values: dict[str, str]) -> dict[str, str]:
        return {key: value.replace("{split}", str(split)) for key, value in values.items()}

    sets = recipe.sets and replace(recipe.sets, streams=name(recipe.sets.streams))
    return replace(recipe, subsets=Subsets(**name(asdict(recipe.subsets))), sets=sets, splits=())


__all__ = [
    "Clip", "Data", "Dropout", "Family", "Network", "Pyramid", "Recipe", "Sets", "Stream",
    "Subsets", "Testing", "Training", "change_recipe", "check_recipe", "list_recipes", "of_split",
    "read_recipe", "write_recipe",
]  # fmt: skip
