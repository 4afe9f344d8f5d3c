"""Run folders: everything of one training, such as its recipe, its weights and its scores.

    R/
    ├── recipe.yaml              the whole recipe, including defaults
    ├── run.json                 the store, its classes, and the settings of each session
    ├── phases/<phase>/
    │   ├── checkpoint.pt        while the phase is trained: everything needed to resume
    │   ├── weights.pt           only once the phase is finished
    │   ├── steps.jsonl          one line per step
    │   └── epochs.jsonl         one line per epoch
    ├── tensorboard/
    ├── scores/, results.json    written by `flowkit evaluate`
    ├── evaluations/<name>/      the same files of evaluations with other test settings
    └── figures/, report.html    written by `flowkit report`

A phase is one part of a run with weights of its own, such as training the RGB branch. It is
finished when its weights.pt exists, which is written under another name first. A run is finished
when all its phases are. A session is one execution of `flowkit train` on the run.
"""

import copy
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from flowkit.datasets.subsets import find_rows
from flowkit.errors import FlowkitError, UsageError
from flowkit.recipe import StoreRecipe
from flowkit.store import Store
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.locks import try_lock
from flowkit.version import __version__
from train.recipe.recipe import Recipe, format_recipe, list_compared_values, read_recipe
from train.runs.facts import check_facts
from train.runs.phases import Phase, list_phases

FORMAT = 1
# Fields of a feature recipe that change the values of features, and not just their number.
VALUE_FIELDS = ("source", "weights", "dimension", "clip_length", "clip_stride", "size")


class RunError(FlowkitError):
    """A training cannot continue, a run folder is invalid, or a process that reads data died."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where and how fast a training runs. Results depend on these settings only by rounding."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Device to train on."""
    processes: int = 1
    """Number of processes that train together: one per GPU, or CPU processes."""
    workers: int = 0
    """Number of data loading processes per training process."""
    threads: int = 1
    """Number of PyTorch CPU threads per training process."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Dtype of the forward pass."""
    compile: bool = False
    """Whether to compile the network with `torch.compile`."""
    checkpoint_seconds: float = 300.0
    """Seconds between checkpoints within an epoch."""
    test_batch: int | None = None
    """Videos in a batch of testing. Default: the number that the network's task chooses."""

    def __post_init__(self) -> None:
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("device cuda: PyTorch finds no CUDA GPU here; use --device cpu")
        for name, minimum in (("processes", 1), ("workers", 0), ("threads", 1)):
            if getattr(self, name) < minimum:
                raise UsageError(f"{name}: expected at least {minimum}, got {getattr(self, name)}")


class Run:
    """An existing run folder. `create_run` creates one."""

    def __init__(self, path: Path | str) -> None:
        """Open a run folder.

        Raises:
            RunError: The folder is not a run, or another version of flowkit wrote it.
        """
        self.path = Path(path)
        try:
            self.facts: dict[str, Any] = json.loads((self.path / "run.json").read_bytes())
            check_facts(self.facts, FORMAT)
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(
                f"{self.path}: expected a run folder with run.json; flowkit train creates one"
            ) from None
        except ValueError as error:
            raise RunError(
                f"{self.path}/run.json is damaged ({error}); restore it from a copy, or train again"
            ) from error
        if self.facts.get("format") != FORMAT:
            raise RunError(
                f"{self.path}: expected a run of format {FORMAT}, got "
                f"{self.facts.get('format')}; it needs another version of flowkit"
            )
        self.recipe: Recipe = read_recipe(self.path / "recipe.yaml")

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes by class id."""
        return tuple(self.facts["classes"])

    def with_recipe(self, recipe: Recipe) -> "Run":
        """Return this run with another recipe, such as other test settings; no file changes."""
        run = copy.copy(self)
        run.recipe = recipe
        return run

    def folder(self, phase: str) -> Path:
        """Return the folder of a phase."""
        return self.path / "phases" / phase

    def is_finished(self, phase: str | None = None) -> bool:
        """Return whether a phase, or with None every phase, is finished."""
        names = [phase] if phase else [p.name for p in list_phases(self.recipe)]
        return all((self.folder(name) / "weights.pt").is_file() for name in names)

    def list_unfinished_phases(self) -> list[Phase]:
        """List the phases that are still to be trained, in order."""
        return [phase for phase in list_phases(self.recipe) if not self.is_finished(phase.name)]

    def check_store(self, store: Store, unchanged: bool = False) -> None:
        """Check that a store fits the run.

        Args:
            store: The store to check.
            unchanged: Whether the store must also be unchanged since the run was created.

        Raises:
            RunError: The store does not fit.
        """
        if store.classes != self.classes:
            raise RunError(
                f"{store.location} has {len(store.classes)} classes "
                f"({', '.join(store.classes[:3])} …),"
                f" the run {self.path} {len(self.classes)} ({', '.join(self.classes[:3])} …); "
                "use a store of the run's dataset"
            )
        self.check_features(store)
        if unchanged:
            then, now = self.facts["store"], describe_store(store)
            changed = describe_changes(then, {**now, "path": then["path"]})
            if changed:
                raise RunError(
                    f"the store {store.location} has changed since the run {self.path} was created "
                    f"({changed}). Create another run, or use the unchanged store"
                )

    def check_features(self, store: Store) -> None:
        """Check that a store's features were made in the same way as those that the run uses.

        Raises:
            RunError: Features are missing or were made differently.
        """
        trained_on = StoreRecipe.from_dict(self.facts["store_recipe"]).features
        recipes = self.recipe.list_split_recipes()
        for name in (name for recipe in recipes for name in recipe.feature_names):
            expected, stored = trained_on[name], store.recipe.features.get(name)
            if stored is None:
                raise RunError(
                    f"{store.location} has no features {name!r}, which the run {self.path} was "
                    f"trained on; extract them with {expected.model} (flowkit features --name "
                    f"{name})"
                )
            changed = describe_changes(
                *({key: getattr(r, key) for key in VALUE_FIELDS} for r in (expected, stored))
            )
            if changed:
                raise RunError(
                    f"{store.location}: features/{name} are not those that the run {self.path} was "
                    f"trained on ({changed}); use a store with those features, or train another run"
                )

    def record_session(self, settings: Settings) -> None:
        """Record the settings of a training session in run.json."""
        device = torch.cuda.get_device_name() if settings.device == "cuda" else "CPU"
        session = {**asdict(settings), "torch": torch.__version__, "on": device}
        self.facts["sessions"] = [*self.facts.get("sessions", []), session]
        write_atomic(self.path / "run.json", encode_json(self.facts))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run for training.

        Raises:
            RunError: Another process is training the run.
        """
        with (self.path / "lock").open("w") as file:
            if not try_lock(file.fileno()):
                raise RunError(
                    f"{self.path} is being trained by another process; wait until it ends"
                )
            yield
        # Closing the descriptor releases the lock, however the process ends.


def create_run(path: Path | str, recipe: Recipe, store: Store) -> Run:
    """Create a run folder, or open the existing one if its recipe and store are the same.

    Args:
        path: The run folder.
        recipe: The recipe to train.
        store: The store to train on.

    Returns:
        The run.

    Raises:
        UsageError: The folder contains other files, or the store does not fit the recipe.
        RunError: The existing run has another recipe or store. The message names the differences.
    """
    path = Path(path)
    check_class_count(recipe.classes, store)
    check_frame_size(recipe, store)
    for split_recipe in recipe.list_split_recipes():
        for name in asdict(split_recipe.subsets).values():
            find_rows(store, name)
    if (path / "run.json").exists():
        run = Run(path)
        if run.recipe != recipe:
            changed = describe_changes(
                list_compared_values(run.recipe), list_compared_values(recipe)
            )
            raise RunError(f"{path} is a run with another recipe ({changed}); use another folder")
        run.check_store(store, unchanged=True)
        return run
    if path.exists() and any(path.iterdir()):
        raise UsageError(
            f"{path}: expected a new folder or a run, but the folder contains other files"
        )
    path.mkdir(parents=True, exist_ok=True)
    write_atomic(path / "recipe.yaml", format_recipe(recipe).encode())
    facts = {
        "format": FORMAT,
        "creator": f"flowkit {__version__}",
        "store": describe_store(store),
        "store_recipe": store.recipe.to_dict(),
        "classes": list(store.classes),
        "training_videos": digest_training_videos(recipe, store),
        "sessions": [],
    }
    write_atomic(path / "run.json", encode_json(facts))
    return Run(path)


def check_class_count(classes: int, store: Store) -> None:
    """Raise a UsageError if a recipe has another number of classes than a store."""
    if len(store.classes) != classes:
        raise UsageError(
            f"the recipe is for {classes} classes, {store.location} has {len(store.classes)}; "
            "use another store, or change the recipe (--set classes=N)"
        )


def check_frame_size(recipe: Recipe, store: Store) -> None:
    """Check that the frames of a store have the size that the recipe's crops expect.

    Raises:
        UsageError: The store is empty or has frames of another size.
    """
    expected = recipe.short_side
    if expected is None:
        return
    side = find_short_side(store)
    if side != expected:
        raise UsageError(
            f"the recipe is for frames whose shorter side is {expected} pixels, "
            f"{store.location} has {side}; extract that size (flowkit extract --short-side or "
            f"--size), or use --set data.short_side={side} and choose data.size to fit"
        )


def find_short_side(store: Store) -> int:
    """Find the most common shorter side of the stored frames in pixels.

    Raises:
        UsageError: The store is empty.
    """
    if not len(store):
        raise UsageError(f"{store.location} has no videos yet; extract some first")
    width, height = (store.index.batch.column(name).to_numpy() for name in ("width", "height"))
    short = np.minimum(width, height)
    # Videos of which only sound or features are stored have the size 0.
    sides, counts = np.unique(short[short > 0], return_counts=True)
    return int(sides[np.argmax(counts)]) if len(sides) else 0


def digest_training_videos(recipe: Recipe, store: Store) -> str:
    """Return a digest of the ids of the videos that a recipe trains on, of all splits."""
    digest = hashlib.sha256()
    for split_recipe in recipe.list_split_recipes():
        rows = find_rows(store, split_recipe.subsets.train)
        digest.update(b"\0\0".join(sorted(store.index.id(int(row)).encode() for row in rows)))
    return digest.hexdigest()[:32]


def describe_store(store: Store) -> dict[str, Any]:
    """Return the values that identify a store and its current state."""
    return {
        "path": store.location,
        "dataset": store.header.dataset,
        "created": store.header.created,
        "version": store.version,
        "videos": len(store),
    }


def describe_changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Describe the keys in which two mappings differ, with both values; inner keys with a dot."""
    return "; ".join(list_changes(old, new))


def list_changes(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield each key in which two mappings differ, with both values.

    Args:
        old: Values by key, which may be mappings themselves.
        new: The same after the change.
        prefix: The dotted path of the mappings inside others, which ends with a dot.
    """
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from list_changes(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key}: {before} → {after}"


def encode_json(values: Any) -> bytes:
    """Encode values as indented UTF-8 JSON."""
    return json.dumps(values, indent=1, ensure_ascii=False).encode()
