"""Compute the scores of videos with the networks of a run, in this process or in several.

A branch is the network of one stream, after which its score is named. A `Scoring`, such as iter_1,
says which phase's network scores each branch, and how these scores are fused. The videos are read
in batches. Several processes compute whole batches, the same as one process does,
so that the scores do not depend on the number of processes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from flowkit.datasets.loading import EpochSampler, Key
from flowkit.errors import UsageError
from flowkit.store import Store
from train.distributed.parallel import choose_layout, make_autocast
from train.evaluation.processes import ScoringProcesses, open_processes
from train.evaluation.scores import Scores, combine_views, fuse_scores
from train.recipe.recipe import Branch
from train.runs.phases import Phase, Scoring, list_phases
from train.runs.run import Run, RunError, Settings
from train.tasks.registry import find_task
from train.tasks.samples import (
    OtherClassFlow,
    TaskDataset,
    convert_loader_errors,
    make_loader,
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """The network of a phase, and the videos that it scores. It is sent to other processes."""

    run: Run
    """The run, with the test settings to use in its recipe."""
    phase: Phase
    """The phase whose network is used."""
    branches: tuple[Branch, ...]
    """The branches to score."""
    control: str | None
    """How the flow is changed in a control experiment, such as "other-class-flow", or None."""
    settings: Settings
    """Device, precision, loader workers and batch."""
    video: int | None = None
    """Row of the only video to score, see `score_phases`."""

    def open_videos(self, store: Store) -> tuple[TaskDataset, list[Key]]:
        """Open the videos, and list the keys of those to score, in the order of the store."""
        task = find_task(self.run.recipe)
        dataset: Any = task.open_dataset(store, self.phase, "test", self.video)
        if self.control == "other-class-flow":
            dataset = OtherClassFlow(dataset, self.run.recipe.seed)
        return dataset, list(EpochSampler(len(dataset), training=False))

    def choose_batch_size(self) -> int:
        """Return the number of videos in a batch.

        Raises:
            UsageError: The settings ask for more than the network can process together.
        """
        task, size = find_task(self.run.recipe), self.settings.test_batch
        limit = task.max_test_batch_size
        if size is not None and limit is not None and size > limit:
            raise UsageError(
                f"--batch {size}: a network of {task.name} scores {limit} video at a time, because "
                "the number of views differs between videos; leave out --batch"
            )
        return size or task.test_batch_size


@dataclass(frozen=True, kw_only=True)
class ScoredBatch:
    """The scores of a batch of videos."""

    number: int
    """Index of the batch among all batches."""
    rows: list[int]
    """Rows of the videos in the store."""
    labels: list[Any]
    """Label of each video."""
    averages: dict[Branch, list[Any]]
    """By branch, logits and probabilities (C,) of each video, averaged over its views."""


def score_phases(
    run: Run,
    scoring: Scoring,
    store: Store,
    settings: Settings,
    progress: Callable[[str], Progress] = lambda name: lambda done, total: None,
    video: int | None = None,
    processes: ScoringProcesses | None = None,
) -> dict[str, Scores]:
    """Compute the scores of each branch of a scoring, and of their fusion.

    Args:
        run: The run.
        scoring: Which phases compute the scores, and how they are fused.
        store: The store with the videos.
        settings: Device, precision and processes.
        progress: Called with the name of each step. It returns a function that is then called with
            the number of videos scored so far and their total.
        video: Row of the only video to score, which needs no label. Default: all test videos.
        processes: The processes that score the videos. Default: start those of the settings.

    Returns:
        The scores by branch, and ``fusion`` if the scoring has one.
    """
    scores: dict[str, Scores] = {}
    with nullcontext(processes) if processes else open_processes(settings) as pool:
        for job in list_jobs(run, scoring, settings, video):
            report = progress(f"{scoring.name or 'scores'}: {' and '.join(job.branches)}")
            scores |= score_videos(job, store, report, pool)
    if scoring.fusion is not None:
        over = run.recipe.testing.over
        scores["fusion"] = fuse_scores(scores["rgb"], scores["flow"], scoring.fusion, over)
    return scores


def list_jobs(
    run: Run, scoring: Scoring, settings: Settings, video: int | None = None
) -> Iterator[ScoringJob]:
    """Yield the jobs of a scoring: one for each phase, whose network scores one branch or more.

    Args:
        run: The run.
        scoring: Which phases compute the scores.
        settings: Device, precision, loader workers and batch.
        video: Row of the only video to score. Default: all test videos.
    """
    phases = {phase.name: phase for phase in list_phases(run.recipe)}
    for name in dict.fromkeys(scoring.phases.values()):
        branches = tuple(branch for branch, phase in scoring.phases.items() if phase == name)
        yield ScoringJob(
            run=run.with_recipe(run.recipe.for_split(phases[name].split)), phase=phases[name],
            branches=branches, control=scoring.control, settings=settings, video=video,
        )  # fmt: skip


def score_videos(
    job: ScoringJob, store: Store, report: Progress, processes: ScoringProcesses | None
) -> dict[str, Scores]:
    """Score videos with the network of one phase.

    Args:
        job: The network and the videos.
        store: The store with the videos.
        report: Called with the number of videos scored so far and their total.
        processes: The processes that compute the scores; None for this one.

    Returns:
        The scores of each branch, in the order of the store.

    Raises:
        RunError: Scores are not finite, the GPU's memory is too small, or a process died.
    """
    total, done = len(job.open_videos(store)[1]), 0
    batches = []
    for batch in processes.score(job, store) if processes else score_batches(job, store):
        batches.append(batch)
        done += len(batch.rows)
        report(done, total)
    batches.sort(key=lambda batch: batch.number)
    ids = tuple(store.index.id(row) for batch in batches for row in batch.rows)
    labels = np.array([label for batch in batches for label in batch.labels])
    scores = {}
    for branch in job.branches:
        pairs = [pair for batch in batches for pair in batch.averages[branch]]
        scores[branch] = Scores(ids, labels, *map(np.stack, zip(*pairs, strict=True)))
        check_finite(scores[branch], job)
    return {str(branch): value for branch, value in scores.items()}


def score_batches(
    job: ScoringJob, store: Store, part: tuple[int, int] = (0, 1)
) -> Iterator[ScoredBatch]:
    """Score batches of videos in this process, one after another.

    Args:
        job: The network and the videos.
        store: The store with the videos.
        part: (i, n) scores batch i and each n-th one after it.

    Yields:
        The scores of each batch.
    """
    settings, recipe, size = job.settings, job.run.recipe, job.choose_batch_size()
    torch.set_num_threads(settings.threads)
    device, task = torch.device(settings.device), find_task(recipe)
    dataset, keys = job.open_videos(store)
    numbers = range(part[0], -(-len(keys) // size), part[1])
    if not numbers:
        return
    network = task.load_finished_network(job.run, job.phase, job.branches)
    network.to(device, memory_format=choose_layout(device))
    own_keys = [key for n in numbers for key in keys[n * size : (n + 1) * size]]
    loader = make_loader(dataset, own_keys, size, settings, training=False)
    with convert_errors(job, size):
        for number, batch in zip(numbers, loader, strict=True):
            with make_autocast(settings.precision, device):
                logits = task.test_scores(network, batch, job.phase, device)
            averages: dict[Branch, list[Any]] = {
                branch: [
                    combine_views(views, recipe.labels, recipe.testing.views)
                    for views in logits[branch]
                ]
                for branch in job.branches
            }
            rows, labels = batch["row"].tolist(), list(batch["label"].numpy())
            yield ScoredBatch(number=number, rows=rows, labels=labels, averages=averages)


@contextmanager
def convert_errors(job: ScoringJob, batch: int) -> Iterator[None]:
    """Turn errors of the GPU's memory and of loader processes into a `RunError` of one line.

    Args:
        job: What is computed; only the batch of an evaluation can be made smaller.
        batch: Number of videos in a batch.
    """
    smaller = "use a smaller --batch, or " if batch > 1 and job.video is None else ""
    try:
        with convert_loader_errors("a process that loads videos", f"{smaller}fewer --workers"):
            yield
    except torch.OutOfMemoryError as error:
        what = "this video" if job.video is not None else f"a batch of {batch} videos"
        raise RunError(
            f"the memory of the GPU is too small for {what}; {smaller}--device cpu"
        ) from error


def check_finite(scores: Scores, job: ScoringJob) -> None:
    """Raise a RunError if scores are not finite: NaN would count as a correct prediction."""
    finite = np.isfinite(scores.logits).all(axis=1)
    if finite.all():
        return
    video, precision = scores.ids[int(np.argmin(finite))], job.settings.precision
    reason = "the weights are damaged, or the training diverged"
    if precision == "float16":  # bfloat16 has the range of float32
        reason = f"they may be beyond the range of --precision {precision}: use float32"
    raise RunError(
        f"phase {job.phase.name}: the scores of {int((~finite).sum())} videos are not finite, "
        f"such as those of {video!r}; {reason}"
    )
