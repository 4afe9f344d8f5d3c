"""Recipes of trainings: YAML files as frozen dataclasses. Every default is the CMA paper's.

Chi, Tian, Mu, Tian, "Two-Stream Video Classification with Cross-Modality Attention", 2019,
§4.2–4.4. A recipe says everything that decides the result; where it runs and how fast is in
`Settings` (run.py).

The paper prints the weight decay as "5⁻⁴": TSN's 5e-4 is meant. It does not say how long a
plateau is: `patience` does.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from flowkit.catalog import UniqueKeys
from flowkit.errors import UsageError

FOLDER = Path(__file__).parent / "recipes"
STRICT = ConfigDict(extra="forbid")

Stream = Literal["rgb", "flow"]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Family = Literal["resnet", "vgg16", "bn_inception", "inception_resnet_v2", "i3d", "p3d"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Subsets:
    """Subsets of the store's index; ``{split}`` stands for the number of a split.

    ``validate`` is what the learning rate's plateau looks at, and the curves show.
    """

    train: str = "train"
    validate: str = "val"
    test: str = "val"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Clip:
    """Clips for 3-D networks: ``length`` frames or flow fields, ``stride`` apart."""

    length: int = Field(ge=1)
    stride: int = Field(default=1, ge=1)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Data:
    """Samples for training: K segments, a snippet of each, one crop for all of a sample.

    ``clip``: for 3-D networks, one clip instead; `num_segments` and `flow_length` say nothing
    then. ``window``: train on a random stretch of so many seconds of each video, with the labels
    of that. ``jitter``: the range of the short side of `jittered` crops, pixels.
    ``short_side``: of the stored frames, pixels; a store of another size is refused. ``size`` of
    the network's input; ``scales`` of the multi-scale crop, empty for TSN's own (RGB's where only
    RGB is read). ``mirror`` must be off where left and right are classes.
    """

    num_segments: int = Field(default=3, ge=1)
    flow_length: int = Field(default=5, ge=1)
    crops: Literal["multi-scale", "jittered", "random"] = "multi-scale"
    scales: tuple[float, ...] = ()
    short_side: int = Field(default=256, ge=8)
    size: int = Field(default=224, ge=8)
    mirror: bool = True
    jitter: tuple[int, int] = (256, 320)
    clip: Clip | None = None
    window: float | None = Field(default=None, gt=0)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Pyramid:
    """Pyramid attention inside each branch, which makes one map of a video's K frames.

    ``taps``: names of the backbone's, from the finest to the top one. ``interactive`` and
    ``attention``: β and γ of the paper's equation 9. ``moves_features``: let the gradient of
    l_interactive reach the features; ``energy``: count their energy in it as a ``sum``, as
    printed, or as a ``share`` of theirs (models/attention/pyramid.py).
    """

    taps: tuple[str, ...]
    fusion: Literal["multiplication", "sum", "maximum"] = "multiplication"
    interactive: float = Field(default=1e-4, ge=0)
    attention: float = Field(default=1e-4, ge=0)
    moves_features: bool = False
    energy: Literal["sum", "share"] = "sum"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Network:
    """The branches, and what stands between them or inside them.

    ``backbone``: its family; ``depth`` is of ResNets, ``width`` of those that can be thin (of
    the stem, 64 is the paper's), ``stem`` of I3D (the frames that it is made for), ``blocks`` of
    P3D. ``dropout``: before the last layer, one number or one a branch.
    ``cma``: cross-modality blocks in every phase, not only from iter_1 on (for transfer).
    ``non_local``: branches with non-local blocks. ``positions``: after which steps blocks stand;
    empty for the CMA paper's. ``rgb_from``: what the RGB branch begins iter_1 with.
    ``weights``: what the branches start from, ``rgb``, ``flow`` or ``both``: a file, or the name
    of a weight file of torchvision's such as ``resnet50``. Without it: He initialization.
    A flow branch without weights of its own takes RGB's by cross-modality initialization.
    """

    backbone: Family = "resnet"
    depth: Literal[18, 34, 50, 101, 152] = 50
    width: int = Field(default=64, ge=2)
    stem: Literal[32, 8] = 32
    blocks: tuple[int, int, int, int] = (3, 8, 36, 3)
    dropout: Dropout | dict[Stream, Dropout] = 0.7
    cma: bool = False
    non_local: tuple[Stream, ...] = ()
    positions: tuple[str, ...] = ()
    rgb_from: Literal["initial", "rgb"] = "initial"
    pyramid: Pyramid | None = None
    weights: dict[Literal["rgb", "flow", "both"], str] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Training:
    """How one phase is trained.

    ``epochs`` over all videos, or ``iterations`` (steps of the optimizer) where that is not 0.
    ``batch``: videos of a step, over all processes. ``schedule``: ``plateau`` divides the rate
    by 10 when validation accuracy has not risen for ``patience`` epochs, ``steps`` after each of
    the epochs ``steps``, ``iterations`` after each of so many steps of the optimizer. ``clip``:
    the largest norm of the gradient, or None. ``groups``: ``tsn`` gives biases, BN and the flow
    stem rates of their own. ``only_last`` trains the last layer alone,
    ``only`` these parts of the backbone (such as ``layer4``, ``fc``) and what attention adds.
    """

    epochs: int = Field(default=30, ge=1)
    iterations: int = Field(default=0, ge=0)
    batch: int = Field(default=128, ge=1)
    rate: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Literal["plateau", "steps", "iterations", "constant"] = "plateau"
    patience: int = Field(default=3, ge=0)
    steps: tuple[int, ...] = ()
    clip: float | None = None
    groups: Literal["plain", "tsn"] = "plain"
    partial_bn: bool = False
    only_last: bool = False
    only: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Testing:
    """How videos are scored: ``segments`` × crops, scores of all views averaged.

    ``over``: average logits or probabilities. ``views``: their mean, or the maximum of each class.
    ``fusion``: weights of RGB and flow by name
    (``iter_0``, ``odd`` and ``even`` iterations). ``controls``: scores that show what the
    network lives on.
    """

    segments: int = Field(default=25, ge=1)
    crops: Literal["ten", "three", "centre"] = "ten"
    over: Literal["logits", "softmax"] = "logits"
    views: Literal["mean", "max"] = "mean"
    fusion: dict[Literal["iter_0", "odd", "even"], tuple[float, float]] = Field(
        default_factory=dict
    )
    controls: tuple[Literal["other-class-flow", "uniform"], ...] = ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Recipe:
    """A training, whole.

    ``iterations`` of the alternating schedule after the plain branches were trained; ``splits``
    of the dataset that are trained one after another and averaged; ``labels`` of a video: one, by
    softmax, or many, each by a sigmoid of its own; ``phases``: what differs in
    the training of a phase (``rgb``, ``flow``, ``iter_1``, …); ``reported``: the paper's [top-1,
    top-5] in percent by name of score; ``needs``: what a user must have beside the store.
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
    training: Training = Training()
    phases: dict[str, dict[str, Any]] = Field(default_factory=dict)
    testing: Testing = Testing()
    reported: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    needs: str = ""

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
    if not recipe.streams:
        raise UsageError(f"{where}: streams: expected rgb, flow or both, got none")
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
    names = ["rgb", "flow", "uniform", "iterations"]
    names += [f"iter_{i + 1}" for i in range(recipe.iterations)]
    for name in recipe.phases:
        # Those beyond the iterations are left alone: fewer may be trained than planned for.
        if name not in names and not re.fullmatch(r"iter_[1-9]\d*", name):
            raise UsageError(f"{where}: phases: no phase {name!r}{suggest(name, names)}")
        recipe.training_of(name)
    for stream in recipe.streams:
        recipe.training_of(stream)
    named = [recipe.subsets.train, recipe.subsets.validate, recipe.subsets.test]
    if bool(recipe.splits) != any("{split}" in name for name in named):
        raise UsageError(f"{where}: splits need '{{split}}' in the subsets' names, and the reverse")
    return recipe


def of_split(recipe: Recipe, split: int | None) -> Recipe:
    """The recipe with the subsets of a split."""
    if split is None:
        return recipe
    names = {name: value.format(split=split) for name, value in asdict(recipe.subsets).items()}
    return replace(recipe, subsets=Subsets(**names), splits=())


def parse(kind: type[Any], content: Any, where: str) -> Any:
    """A dataclass of plain values; UsageError that names the key, and the nearest known one."""
    if not isinstance(content, dict):
        raise UsageError(f"{where}: expected keys and values, got {type(content).__name__}")
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise UsageError(f"{where}: {'; '.join(explain(kind, error))}") from error


def explain(kind: type[Any], error: ValidationError) -> Iterator[str]:
    """Each fault of a recipe in words."""
    for fault in error.errors(include_url=False):
        path = [str(part) for part in fault["loc"]]
        if fault["type"] == "unexpected_keyword_argument":
            known = [f.name for f in fields(find_class(kind, path[:-1]))]
            yield f"unknown key {'.'.join(path)!r}{suggest(path[-1], known)}"
        elif fault["type"] == "missing":
            yield f"the key {'.'.join(path)!r} is missing"
        else:
            yield f"{'.'.join(path)}: {fault['msg'].lower()}, got {fault['input']!r}"


def find_class(kind: type[Any], path: list[str]) -> type[Any]:
    """The dataclass at a dotted place of another."""
    for name in path:
        types = {f.name: f.type for f in fields(kind)}
        inner = types.get(name)
        candidates = (inner, *get_args(inner))
        kind = next((c for c in candidates if isinstance(c, type) and is_dataclass(c)), kind)
    return kind


def suggest(name: str, known: Any) -> str:
    """What was probably meant, and what there is, as the end of a message."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"{hint} there are {', '.join(known)}"
