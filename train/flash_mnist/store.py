"""Build the store of Flash-MNIST, which contains only the digit CNN's features of every video.

    S/          features/digits: 25 local features of 50 numbers per video; classes; subsets
    S.pt        weights of the digit CNN
    S.json      accuracy of the digit CNN, its data and its training settings

S is the folder of the store. S.pt and S.json are written first, so that a command that was
interrupted continues with the same network.
"""

import errno
import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from flowkit.annotations import Annotation, AnnotationTable, Label
from flowkit.errors import StoreError, UsageError
from flowkit.recipe import FeatureRecipe, Resize, StoreRecipe
from flowkit.store import (
    Fingerprint,
    ShardWriter,
    Store,
    VideoMeta,
    create_or_open,
    hold_store,
    rebuild_index,
    recover,
    write_annotations,
)
from flowkit.store.format.atomic import write_atomic
from flowkit.synthetic.flash_mnist import CLASS_NAMES, FRAMES, SPLITS, FlashMNIST
from flowkit.synthetic.mnist import SIDE
from models.networks.digits import DigitNetwork
from models.weights.pretrained import WeightsError, digest_weights, load_weights, read_weights
from train.flash_mnist.digits import DigitTraining, extract_features, measure_accuracy, train_digits

NAME = "digits"
FOLDER = f"features/{NAME}"
DATASET = "flash_mnist"
BLOCK = 1024
"""Videos per write. The writer's small arrays would otherwise fragment the memory that the CNN's
large arrays reuse, by gigabytes in the end."""

Progress = Callable[[str], Any]
"""Starts the step of a name; returns a context manager that yields ``progress(done, total)``."""


def make_store(
    path: Path,
    videos: FlashMNIST,
    training: DigitTraining,
    progress: Progress = lambda name: nullcontext(lambda done, total: None),
) -> dict[str, Any]:
    """Build the store, or the part of it that is missing.

    Args:
        path: Folder of the store.
        videos: The Flash-MNIST data set.
        training: Training settings of the digit CNN.
        progress: Called with the name of each step. Returns a context manager that yields a
            function, which is called with the number of items done and their total.

    Returns:
        The content of ``<path>.json``.

    Raises:
        UsageError: The existing digit CNN is damaged, or was trained with other digits, seed or
            settings.
        RecipeError: The store belongs to another network.
        LockedError: Another run writes to the store.
        StoreError: A file cannot be read or written.
    """
    network, facts = find_network(path, videos, training, progress)
    recipe = StoreRecipe(resize=Resize(mode="none"), features={NAME: describe_features(facts)})
    create_or_open(path, recipe, DATASET)
    with hold_store(path):
        recover(path)
        write_annotations(path, annotate(videos))
        rebuild_index(path)
        with progress("features") as report:
            write_features(path, recipe, videos, network, report)
        rebuild_index(path)
    return facts


def annotate(videos: FlashMNIST) -> AnnotationTable:
    """Build the annotations: class and subset of every video."""
    rows = [
        Annotation(
            id=videos.video_id(split, index),
            labels=(Label(CLASS_NAMES[videos.label(split, index)]),),
            subsets=(split,),
        )
        for split in SPLITS
        for index in range(videos.count(split))
    ]
    return AnnotationTable(tuple(CLASS_NAMES), tuple(sorted(rows, key=lambda row: row.id)))


def describe_features(facts: dict[str, Any]) -> FeatureRecipe:
    """Build the recipe of the feature stream from the facts of the digit CNN."""
    accuracy, digits = facts["accuracy"], facts["digits"]
    return FeatureRecipe(
        source="synthetic",
        model="digits",
        weights=facts["weights"],
        dimension=facts["dimension"],
        positions=FRAMES,
        size=SIDE,
        note=(
            f"Flash-MNIST, seed {facts['seed']}, of {digits['train']} training and "
            f"{digits['test']} test digits; the CNN reads {accuracy['digits']:.2%} of test digits "
            f"in noise and {accuracy['noise']:.2%} of noise rightly"
        ),
    )


def write_features(
    path: Path,
    recipe: StoreRecipe,
    videos: FlashMNIST,
    network: DigitNetwork,
    report: Callable[[int, int], object],
) -> None:
    """Extract and commit the features of videos that have none in the store.

    Args:
        path: Folder of the store.
        recipe: Its recipe.
        videos: The Flash-MNIST data set.
        network: The digit CNN.
        report: Called with the number of videos done and their total.
    """
    store, fingerprint = Store(path), digest_digits(videos)
    total = sum(videos.count(split) for split in SPLITS)
    done = 0
    writer = ShardWriter(path, FOLDER, recipe=recipe, dimension=recipe.features[NAME].dimension)
    for split in SPLITS:
        for start in range(0, videos.count(split), BLOCK):
            block = range(start, min(start + BLOCK, videos.count(split)))
            missing = [index for index in block if videos.video_id(split, index) not in store]
            features = extract_features(network, videos.batch(split, missing)) if missing else ()
            for index, vectors in zip(missing, features, strict=True):
                id = videos.video_id(split, index)
                writer.begin(id)
                count = len(vectors)
                writer.append_rows(vectors, positions=range(count), views=[0] * count)
                writer.end(
                    VideoMeta(
                        id=id, source=DATASET, fingerprint=fingerprint, streams=(FOLDER,),
                        frames=len(vectors), fps=0.0, width=0, height=0,  # frames are not kept
                    )
                )  # fmt: skip
            done += len(block)
            report(done, total)
    writer.close()


def digest_digits(videos: FlashMNIST) -> Fingerprint:
    """Digest the MNIST digits and the seed, which are the source of all videos."""
    digest, size = hashlib.blake2b(str(videos.seed).encode(), digest_size=16), 0
    for split in SPLITS:
        for values in (videos.digits[split].images, videos.digits[split].labels):
            digest.update(values.tobytes())
            size += values.nbytes
    return Fingerprint(size, 0, digest.hexdigest())


# --- the network beside the store ----------------------------------------------------------------


def find_network(
    path: Path, videos: FlashMNIST, training: DigitTraining, progress: Progress
) -> tuple[DigitNetwork, dict[str, Any]]:
    """Load the digit CNN beside the store with its facts, or train and save a new one.

    Args:
        path: Folder of the store.
        videos: The Flash-MNIST data set.
        training: Training settings.
        progress: See `make_store`.

    Returns:
        The network in eval mode, and the content of ``<path>.json``.

    Raises:
        UsageError: The existing network is damaged, or was trained with other data or settings.
        StoreError: Its files cannot be read.
    """
    expected = {
        "seed": videos.seed,
        "source": digest_digits(videos).digest,
        "training": asdict(training),
    }
    weights_file, facts_file = (path.with_name(f"{path.name}.{end}") for end in ("pt", "json"))
    if facts_file.is_file():
        return load_network(weights_file, facts_file, expected)
    with progress("the digit CNN") as report:
        network = train_digits(videos, training, report)
    facts = {
        **expected,
        "digits": {split: len(videos.digits[split]) for split in SPLITS},
        "accuracy": measure_accuracy(network, videos),
        "weights": digest_weights(network.state_dict()),
        "dimension": network.fc.out_features,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), weights_file)
    write_atomic(facts_file, json.dumps(facts, indent=2).encode())
    return network, facts


def load_network(
    weights_file: Path, facts_file: Path, expected: dict[str, Any]
) -> tuple[DigitNetwork, dict[str, Any]]:
    """Load a digit CNN that an earlier command saved.

    Args:
        weights_file: Its weights.
        facts_file: The facts about it.
        expected: Facts that it must have.

    Returns:
        The network in eval mode, and all its facts.

    Raises:
        UsageError: It is damaged or missing, or its facts differ from those that are expected.
        StoreError: A file cannot be read, such as without permission.
    """
    advice = f"remove {facts_file.name} and {weights_file.name} and build another store"
    network = DigitNetwork()
    try:
        facts: dict[str, Any] = json.loads(facts_file.read_bytes())
        load_weights(network, read_weights(weights_file))
        digest = facts["weights"]
        changed = [
            f"{name} {facts[name]}, not {value}"
            for name, value in expected.items()
            if facts[name] != value
        ]
    except (OSError, ValueError, KeyError, TypeError, WeightsError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__  # of a WeightsError
        number = cause.errno if isinstance(cause, OSError) else None
        # A damaged file may lead to a read at an offset that cannot be, which is EINVAL.
        if isinstance(cause, OSError) and number not in (None, errno.ENOENT, errno.EINVAL):
            raise StoreError(
                f"the digit CNN {weights_file} or {facts_file} cannot be read "
                f"({cause.strerror or cause}); check their permissions and the disk, and run the "
                "same command again"
            ) from error
        problem = "is missing" if number == errno.ENOENT else f"is damaged ({error!r})"
        raise UsageError(
            f"the digit CNN {weights_file} or {facts_file} {problem}; {advice}"
        ) from error
    if digest_weights(network.state_dict()) != digest:
        changed.append(f"other weights than {digest}")
    if changed:
        raise UsageError(f"the digit CNN {weights_file} has {'; '.join(changed)}; {advice}")
    network.to(memory_format=torch.channels_last)
    return network.eval(), facts
