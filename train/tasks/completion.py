"""Complete a recipe with values from the store that it is trained on.

A general recipe leaves values to the store (train/recipe/draft.py); store_values.py finds them. The
lines that are logged say what was found, so that nothing is chosen silently.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.datasets.subsets import find_rows
from flowkit.errors import UsageError
from flowkit.store import Store
from flowkit.store.split import split_store
from train.recipe.recipe import (
    FeatureSetRecipe,
    Recipe,
    RecipeDraft,
    drop_reported,
    keep_testing_rows,
    list_values,
)
from train.recipe.reported import OWN_ROW
from train.recipe.values import get_value
from train.runs.journal import Log
from train.runs.run import Run, RunError, check_class_count, find_short_side
from train.tasks.store_values import (
    FINDERS,
    StoreValues,
    check_classes,
    list_classes,
    list_directions,
)
from train.tasks.weight_search import find_weight_file

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}
"""How a store without subsets is divided."""
SHOWN = 3
"""How many class names a line lists."""


def complete_recipe(draft: RecipeDraft, store: Store, log: Log) -> Recipe:
    """Find the values that a recipe leaves to the store.

    Args:
        draft: The recipe.
        store: The store to train on, whose videos are in subsets.
        log: Called with a line about each thing that was found or chosen.

    Returns:
        The complete recipe. It still has the results of its paper, which `leave_out_reported`
        removes.

    Raises:
        UsageError: The store lacks a stream that the recipe needs, has too few classes or videos,
            or its frames are smaller than the network's input.
    """
    found: dict[str, Any] = {}
    for key, find in FINDERS.items():
        if key in draft.store_keys:
            found[key] = find(StoreValues(draft, store, found))
    streams = found.get("streams", draft.values["streams"])
    for key, name in draft.optional_weights.items():
        found[key] = find_optional_weights(key, name, streams, log)
    recipe = draft.complete(found)
    if "data.short_side" in found and not isinstance(recipe, FeatureSetRecipe):
        check_size(recipe.data.size, found["data.short_side"], store)
    if "classes" in found and not recipe.splits:
        check_classes(store, recipe.subsets.train)
    if draft.store_keys:
        for line in describe(recipe, store, found):
            log(line)
    return recipe


def complete_like(draft: RecipeDraft, run: Run, store: Store) -> Recipe:
    """Complete a recipe with the values that an existing run found in its store.

    Args:
        draft: The recipe.
        run: The run, which may have another recipe.
        store: The store that the run was created on.

    Raises:
        RunError: The run has a recipe of another kind.
    """
    found: dict[str, Any] = {}
    values = list_values(run.recipe)
    for key in (*draft.store_keys, *draft.optional_weights):
        value = get_value(values, key)
        if value is None and key in draft.store_keys:
            raise RunError(f"{run.path} is a run with another recipe; use another folder")
        found[key] = value or None if key in draft.optional_weights else value
    return leave_out_reported(draft.complete(found), store)


def prepare_store(draft: RecipeDraft, store: Store, log: Log) -> Store:
    """Check that a store has what a recipe needs, and divide it if it has no subsets.

    Args:
        draft: The recipe.
        store: The store to train on.
        log: Called with lines about the division.

    Returns:
        The store, opened again if it was divided.

    Raises:
        UsageError: The store lacks a stream that the recipe needs, has another number of classes or
            smaller frames, or all videos are of one class.
    """
    check_streams(draft, store)
    if "classes" in draft.store_keys:
        check_classes(store)
    elif not store.subsets():
        check_class_count(draft.values["classes"], store)
    if "data.short_side" in draft.store_keys and "data.size" not in draft.store_keys:
        check_size(draft.values["data"]["size"], find_short_side(store), store)
    subsets = draft.values["subsets"]
    has_usual_names = "subsets" in draft.store_keys or set(subsets.values()) <= set(FRACTIONS)
    if store.subsets() or not len(store) or not has_usual_names:
        return store
    summary = split_store(store.path, FRACTIONS)
    divided, *details = summary.format_lines()
    log(f"{store.location} has no subsets: {divided}")
    for line in details:
        log(f"  {line}")
    return Store(store.path)


def check_streams(draft: RecipeDraft, store: Store) -> None:
    """Raise a UsageError if a store was never asked to hold what a recipe reads."""
    recipe, name = store.recipe, draft.name
    if draft.values["sets"] is not None:
        if "sets.streams" in draft.store_keys and not recipe.features:
            raise UsageError(
                f"{store.location} has no features, which {name} combines; add some (flowkit "
                f"features --store {store.location} --model RUN --name NAME)"
            )
        return
    streams = draft.values["streams"]
    if "streams" in draft.store_keys:
        streams = ("rgb",) if recipe.rgb is None and recipe.flow is None else ()
    for stream in streams:
        if getattr(recipe, stream) is None:
            source = f"--videos DIR --store {store.location}"
            if stream == "flow" and recipe.rgb is not None:
                source = f"--from-store {store.location}"
            raise UsageError(
                f"{store.location} has no {stream}, which {name} is trained on. Add it: flowkit "
                f"extract {source} --streams {stream}"
            )


def check_size(size: int, short_side: int, store: Store) -> None:
    """Raise a UsageError if a network's input is larger than the frames of a store.

    Args:
        size: The side of the input in pixels.
        short_side: The shorter side of the frames in pixels; 0 if the store has none.
        store: The store.
    """
    if size > short_side > 0:
        raise UsageError(
            f"{store.location}: the shorter side of the frames is {short_side} pixels, which is "
            f"less than the network's input of {size}; extract larger frames (flowkit extract "
            f"--short-side), or use --set data.size={short_side} or less"
        )


def find_optional_weights(key: str, name: str, streams: Sequence[str], log: Log) -> str | None:
    """Return the name of a weight file if this machine has it, else None.

    Args:
        key: The dotted key of the recipe, such as ``network.weights.rgb``.
        name: The name.
        streams: The streams of the recipe: flow that is trained alone starts from weights of RGB.
        log: Called with a line if there is no such file.
    """
    branch = "sets" if key == "sets.weights" else key.rpartition(".")[2]
    trained = streams[0] if branch == "rgb" and tuple(streams) == ("flow",) else branch
    try:
        log(f"{trained}: training starts from the weights {find_weight_file(name)}")
    except UsageError:
        log(
            f"{trained}: training starts from scratch, because there is no weight file {name}. "
            f"With few videos, pretrained weights make a large difference (--weights {branch}=FILE)"
        )
        return None
    return name


def leave_out_reported(recipe: Recipe, store: Store) -> Recipe:
    """Return a recipe without the results of its paper that do not hold for a store.

    Same dataset: the results are kept, and of the rows of the paper's tables those that differ in
    test settings alone. Other dataset: all are dropped.
    """
    if store.header.dataset == recipe.dataset:
        return keep_testing_rows(recipe)
    return drop_reported(recipe)


def explain_left_out(recipe: Recipe, store: Store) -> str | None:
    """Say why the results of a recipe's paper are not shown beside those of a run.

    Args:
        recipe: The complete recipe, before `leave_out_reported`.
        store: The store to train on.

    Returns:
        A line for the user, or None if the paper's results are shown or there are none.
    """
    dataset, own = store.header.dataset, recipe.rows.get(OWN_ROW)
    has_own = own is not None and bool(own.reported)
    if dataset == recipe.dataset:
        if own is None or not has_own or recipe.reported:
            return None
        keys = ", ".join(own.set)
        return f"the paper has no results for these settings, which differ in {keys}"
    if recipe.reported or has_own:
        return (
            f"the recipe's results are of {recipe.dataset}, and the store has "
            f"{dataset or 'other videos'}: they are not shown beside yours"
        )
    return None


def describe(recipe: Recipe, store: Store, found: dict[str, Any]) -> Iterator[str]:
    """Yield lines that say what a recipe takes from a store.

    Args:
        recipe: The complete recipe.
        store: The store.
        found: The values from the store, by dotted key.
    """
    subsets = recipe.subsets
    videos_by_use = {
        use: find_rows(store, getattr(subsets, use)) for use in ("train", "validate", "test")
    }
    counts = {use: f"{len(videos):,}" for use, videos in videos_by_use.items()}
    yield (
        f"{recipe.classes} classes; {counts['train']} videos to train ({subsets.train}), "
        f"{counts['validate']} to validate ({subsets.validate}), {counts['test']} to test "
        f"({subsets.test})"
    )
    if "% of " in subsets.validate and "subsets" in found:
        yield "the store has no validation videos: some training videos are kept for it"
    if subsets.test == subsets.validate and "subsets" in found:
        yield "the store has no test videos with labels: the validation videos are tested"
    if "subsets" in found:
        yield from describe_outsiders(store, videos_by_use)
    absent = set(range(len(store.classes))) - set(
        list_classes(store, videos_by_use["train"]).tolist()
    )
    if absent:
        names = ", ".join(store.classes[k] for k in sorted(absent)[:SHOWN])
        more = " …" if len(absent) > SHOWN else ""
        has = "1 class has" if len(absent) == 1 else f"{len(absent)} classes have"
        yield f"{has} no video to train on ({names}{more})"
    if "labels" in found and recipe.labels == "many":
        yield "some videos have several labels: the recipe is trained with labels: many"
    if isinstance(recipe, FeatureSetRecipe):
        yield f"features: {', '.join(recipe.feature_names)}; batches of {recipe.training.batch}"
        return
    yield from describe_images(recipe, store, found)


def describe_outsiders(
    store: Store, videos_by_use: dict[str, npt.NDArray[np.int64]]
) -> Iterator[str]:
    """Yield lines about videos that no subset has, and about those that test what they train.

    Args:
        store: The store.
        videos_by_use: Positions in the index of the videos to ``train``, ``validate`` and ``test``.
    """
    columns = (store.index.batch.column(name) for name in ("labels", "subsets"))
    has_labels, has_subsets = (column.value_lengths().to_numpy() > 0 for column in columns)
    outside = int((has_labels & ~has_subsets).sum())
    if outside:
        yield (
            f"{outside:,} of the {len(store):,} videos have labels and are in no subset: they are "
            "not used (flowkit split STORE --replace divides all videos)"
        )
    for use in ("validate", "test"):
        shared = len(np.intersect1d(videos_by_use["train"], videos_by_use[use]))
        if shared:
            yield f"{shared:,} of the videos to train are also among those to {use}"


def describe_images(recipe: Any, store: Store, found: dict[str, Any]) -> Iterator[str]:
    """Yield lines about the streams, sizes and mirroring that a recipe takes from a store."""
    streams = " and ".join(recipe.streams)
    sizes = ""
    if recipe.short_side is not None:
        sizes = f" of {recipe.short_side} pixels, input {recipe.data.size}×{recipe.data.size}"
    rate = f", learning rate {recipe.training.rate:g}" if "training.rate" in found else ""
    yield f"{streams}{sizes}; batches of {recipe.training.batch} videos{rate}"
    directions = list_directions(store.classes)
    if "data.mirror" in found and directions:
        names = ", ".join(directions[:SHOWN])
        more = " …" if len(directions) > SHOWN else ""
        yield f"samples are not mirrored, because it would change the classes {names}{more}"
    if recipe.short_side is not None:
        columns = (store.index.batch.column(name).to_numpy() for name in ("width", "height"))
        short = np.minimum(*columns)
        smaller = int(((short > 0) & (short < recipe.data.size)).sum())
        if smaller:
            yield f"{smaller} videos are smaller than the input, and are enlarged"
