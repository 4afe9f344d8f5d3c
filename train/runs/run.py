"""Run folders: a training's recipe, its store, and what came out.

    R/
    ├── recipe.yaml              the whole recipe, defaults included
    ├── run.json                 the store it was begun on, its classes, and each session's settings
    ├── phases/<phase>/
    │   ├── checkpoint.pt        while it is trained: all that is needed to go on
    │   ├── weights.pt           once it is finished, and only then
    │   ├── steps.jsonl          one line a step
    │   └── epochs.jsonl         one line an epoch
    ├── tensorboard/
    ├── scores/, results.json    by `flowkit evaluate`
    └── figures/, report.html    by `flowkit report`

A phase is finished if it has weights.pt, which is renamed into place; a run, if all its phases
are. Nothing else says so, hence no interrupted run looks finished.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from flowkit.errors import FlowkitError, UsageError
from flowkit.recipe import Recipe as StoreRecipe
from flowkit.store import Store
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.locks import try_lock
from flowkit.version import __version__
from train.recipe.recipe import Recipe, list_values, of_split, read_recipe, write_recipe
from train.runs.phases import Phase, list_phases

FORMAT = 1
# What makes features others than they were; how many there are of a video does not.
MADE = ("source", "weights", "dimension", "clip_length", "clip_stride", "size")


class RunError(FlowkitError):
    """A training that cannot go on, or a run folder that is not what it should be."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where and how fast a training runs; its result only depends on it by rounding.

    ``workers``: processes that load data, beside each training process; ``threads`` of torch in
    each training process; ``processes`` that train together (GPUs, or CPU processes).
    """

    device: Literal["cpu", "cuda"] = "cpu"
    processes: int = 1
    workers: int = 0
    threads: int = 1
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False
    checkpoint_seconds: float = 300.0

    def __post_init__(self) -> None:
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("device cuda: torch sees no CUDA GPU here; take --device cpu")
        for name, least in (("processes", 1), ("workers", 0), ("threads", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}: expected at least {least}, got {getattr(self, name)}")


class Run:
    """A run folder that exists. `create_run` makes one."""

    def __init__(self, path: Path | str) -> None:
        """Open; RunError where the folder is no run, or one of a newer flowkit."""
        self.path = Path(path)
        try:
            self.facts: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(
                f"{self.path}: expected a run folder with run.json; flowkit train makes one"
            ) from None
        except ValueError as error:
            raise RunError(f"{self.path}/run.json is damaged: {error}") from error
        if self.facts.get("format") != FORMAT:
            raise RunError(
                f"{self.path}: expected a run of format {FORMAT}, got "
                f"{self.facts.get('format')}; it needs another version of flowkit"
            )
        self.recipe: Recipe = read_recipe(self.path / "recipe.yaml")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by class id."""
        return tuple(self.facts["classes"])

    def folder(self, phase: str) -> Path:
        """Where a phase is kept."""
        return self.path / "phases" / phase

    def is_finished(self, phase: str | None = None) -> bool:
        """Whether a phase is finished; all of them, with None."""
        names = [phase] if phase else [p.name for p in list_phases(self.recipe)]
        return all((self.folder(name) / "weights.pt").is_file() for name in names)

    def unfinished(self) -> list[Phase]:
        """Phases that are still to be trained, in order."""
        return [phase for phase in list_phases(self.recipe) if not self.is_finished(phase.name)]

    def check_store(self, store: Store, unchanged: bool = False) -> None:
        """RunError where a store has other classes; with ``unchanged``, is another or rebuilt."""
        if store.classes != self.classes:
            raise RunError(
                f"{store.path} has {len(store.classes)} classes ({', '.join(store.classes[:3])} …),"
                f" the run {self.path} {len(self.classes)} ({', '.join(self.classes[:3])} …); "
                "give the store of the run's dataset"
            )
        self.check_features(store)
        if unchanged:
            then, now = self.facts["store"], describe_store(store)
            changed = differ(then, {**now, "path": then["path"]})
            if changed:
                raise RunError(
                    f"the store {store.path} is not as it was when {self.path} began "
                    f"({changed}). Begin another run, or give the store as it was"
                )

    def check_features(self, store: Store) -> None:
        """RunError where the features of a store were made otherwise than those trained on."""
        then, recipe = StoreRecipe.from_dict(self.facts["store_recipe"]).features, self.recipe
        recipes = [of_split(recipe, split) for split in recipe.splits or (None,)]
        for name in (name for own in recipes for name in own.feature_names):
            old, new = then[name], store.recipe.features.get(name)
            if new is None:
                raise RunError(
                    f"{store.path} has no features {name!r}, which the run {self.path} was trained "
                    f"on; extract them with {old.model} (flowkit features --name {name})"
                )
            changed = differ({key: getattr(old, key) for key in MADE},
                             {key: getattr(new, key) for key in MADE})  # fmt: skip
            if changed:
                raise RunError(
                    f"{store.path}: features/{name} are not those that the run {self.path} was "
                    f"trained on ({changed}); give a store with the same, or begin another run"
                )

    def note_session(self, settings: Settings) -> None:
        """Remember what a training session ran on."""
        self.facts["sessions"] = [*self.facts.get("sessions", []), describe_session(settings)]
        write_atomic(self.path / "run.json", encode(self.facts))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only one who trains this run; RunError where another process does."""
        with (self.path / "lock").open("w") as file:
            if not try_lock(file.fileno()):
                raise RunError(f"{self.path} is being trained by another process; wait for it")
            yield
        # The lock goes with the descriptor, however the process ends.


def create_run(path: Path | str, recipe: Recipe, store: Store) -> Run:
    """Make a run folder, or open the one that is there if it is of this recipe and store.

    Raises UsageError for a folder with other things in it or a store whose classes do not fit,
    RunError naming the difference where the run there is another.
    """
    path = Path(path)
    if len(store.classes) != recipe.classes:
        raise UsageError(
            f"the recipe is for {recipe.classes} classes, {store.path} has {len(store.classes)}; "
            "take another store, or set classes in the recipe (and say --set classes=N)"
        )
    check_size(recipe, store)
    for name in {recipe.subsets.train, recipe.subsets.validate, recipe.subsets.test}:
        for split in recipe.splits or (None,):
            store.subset(name.format(split=split))
    if (path / "run.json").exists():
        run = Run(path)
        if run.recipe != recipe:
            changed = differ(list_values(run.recipe), list_values(recipe))
            raise RunError(f"{path} was begun with another recipe ({changed})")
        run.check_store(store, unchanged=True)
        return run
    if path.exists() and any(path.iterdir()):
        raise UsageError(f"{path}: expected a new folder or a run, got a folder of other things")
    path.mkdir(parents=True, exist_ok=True)
    write_atomic(path / "recipe.yaml", write_recipe(recipe).encode())
    facts = {
        "format": FORMAT,
        "creator": f"flowkit {__version__}",
        "store": describe_store(store),
        "store_recipe": store.recipe.to_dict(),
        "classes": list(store.classes),
        "sessions": [],
    }
    write_atomic(path / "run.json", encode(facts))
    return Run(path)


def check_size(recipe: Recipe, store: Store) -> None:
    """UsageError where frames are not of the size that the recipe's crops are meant for."""
    expected = recipe.short_side
    if expected is None:
        return
    if not len(store):
        raise UsageError(f"{store.path} has no videos yet; extract some first")
    side = min(store[0].width, store[0].height)
    if side != expected:
        raise UsageError(
            f"the recipe is for frames whose shorter side is {expected} pixels, "
            f"{store.path} has {side}; extract that size (flowkit extract --short-side or --size)"
            f", or say --set data.short_side={side} and choose data.size with it"
        )


def describe_store(store: Store) -> dict[str, Any]:
    """What tells one store, and one state of it, from another."""
    return {
        "path": str(store.path.absolute()),
        "dataset": store.header.dataset,
        "created": store.header.created,
        "version": store.version,
        "videos": len(store),
    }


def describe_session(settings: Settings) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if settings.device == "cuda" else "CPU"
    return {**asdict(settings), "torch": torch.__version__, "on": name}


def differ(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The keys in which two mappings differ, with both values."""
    return "; ".join(f"{key}: {old[key]} → {new[key]}" for key in old if old[key] != new[key])


def encode(facts: Any) -> bytes:
    return json.dumps(facts, indent=1, ensure_ascii=False).encode()
