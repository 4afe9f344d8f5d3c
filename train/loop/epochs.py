"""Training loop of one phase.

A step:     the loss of the trained branch's mean score over K segments (Chi et al. 2019, eq. 6,
            7), or of the score of a feature set
An epoch:   all training videos once, in a random order; then validation (validation.py), which
            gives the same result for several processes as for one
A phase:    its epochs; then weights.pt is written and the checkpoint removed

On the CPU, a phase that was stopped and resumed ends with the same bits as an uninterrupted one,
given the same settings.
"""

import math
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from flowkit.datasets.loading import EpochSampler
from flowkit.store import Store
from train.distributed.parallel import Process, add_up, choose_layout, wrap
from train.loop.checkpoint import Progress, write_tensors
from train.loop.context import PhaseContext, watch
from train.loop.losses import find_right, measure_loss, weigh_classes
from train.loop.optimizers import make_progress
from train.loop.validation import make_validation
from train.recipe.recipe import Training, of_split
from train.runs.journal import Journal, Log, NullLogger
from train.runs.phases import Phase
from train.runs.run import Run, RunError, Settings
from train.tasks.registry import find_task
from train.tasks.samples import make_loader
from train.tasks.task import Batch


def train_phase(
    run: Run,
    phase: Phase,
    store: Store,
    settings: Settings,
    process: Process,
    should_stop: Callable[[], bool] = lambda: False,
    log: Log = lambda text: None,
) -> bool:
    """Train a phase from its start or its checkpoint.

    Args:
        run: The run.
        phase: The phase to train.
        store: The store with the videos.
        settings: Device, precision and processes.
        process: This process.
        should_stop: Called after every step; training stops when it returns True.
        log: Receives lines of text for the user.

    Returns:
        False if training was asked to stop before the phase was finished.

    Raises:
        RunError: The loss is not a number, a loader process died, or the store changed.
    """
    task = find_task(run.recipe)
    context = PhaseContext(
        run=run, phase=phase, recipe=of_split(run.recipe, phase.split), store=store,
        settings=settings, process=process, should_stop=should_stop, log=log,
    )  # fmt: skip
    torch.set_num_threads(settings.threads)
    inner = task.start_network(run, phase, store, log if process.rank == 0 else NullLogger().say)
    inner = inner.to(context.device, memory_format=choose_layout(context.device))
    task.set_train_mode(inner, phase)
    network, inner = wrap(inner, context.device, process, settings.compile)
    progress = make_progress(inner, task.trained_part(inner, phase), phase, settings)
    folder = run.folder(phase.name)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.is_file():
        progress.load(checkpoint)
        log(f"{phase.name}: going on at step {progress.step}, epoch {progress.epoch + 1}")
    journal: Journal | NullLogger = NullLogger()
    if process.rank == 0:
        board = run.path / "tensorboard" / phase.name
        journal = Journal(folder, board, progress.step, progress.epoch, log)
    try:
        if not train_epochs(context, network, inner, progress, journal):
            return False
        if process.rank == 0:
            write_tensors(folder / "weights.pt", task.select_weights(inner, phase))
            checkpoint.unlink(missing_ok=True)
        return True
    finally:
        journal.close()


def train_epochs(
    context: PhaseContext,
    network: nn.Module,
    inner: Any,
    progress: Progress,
    journal: Journal | NullLogger,
) -> bool:
    """Train the remaining epochs of a phase; return False if asked to stop."""
    training, process = context.phase.training, context.process
    if training.batch % process.world:
        raise RunError(
            f"a batch of {training.batch} videos cannot be shared by {process.world} processes"
        )
    dataset = context.task.open_dataset(context.store, context.phase, "train")
    if training.balance:
        balance = weigh_classes(dataset.labels(), context.recipe.classes).to(context.device)
        context = replace(context, balance=balance)
    sampler = EpochSampler(
        len(dataset),
        training=True,
        seed=context.recipe.seed,
        rank=process.rank,
        world=process.world,
    )
    share = training.batch // process.world
    if len(sampler) < share:
        raise RunError(
            f"{context.store.path}: {len(dataset)} training videos are less than a batch of "
            f"{training.batch}; take a smaller one (--set training.batch=N)"
        )
    loader = make_loader(dataset, sampler, share, context.settings, training=True)
    validate = make_validation(context, inner)
    epochs = count_epochs(training, len(dataset))
    while progress.epoch < epochs:
        check_unchanged(context)
        context.task.set_train_mode(inner, context.phase)
        sampler.load_state_dict(
            {
                "epoch": progress.epoch,
                "taken": progress.taken // process.world,
                "size": len(dataset),
            }
        )
        began = time.monotonic()
        waited = take_steps(context, network, progress, watch(loader, context), journal)
        if waited is None:
            return False
        trained = add_up([progress.sums["loss"], progress.sums["top1"], progress.taken], process)
        spent = time.monotonic() - began
        scores = validate()
        rate = progress.schedule.rate
        progress.epoch, progress.taken = progress.epoch + 1, 0
        progress.schedule.step(progress.epoch, scores.get("mAP", scores["top1"]))
        progress.sums = {"loss": 0.0, "top1": 0.0}
        journal.note_epoch(
            epoch=progress.epoch, epochs=epochs, step=progress.step, rate=rate,
            loss=trained[0] / trained[2], train_top1=trained[1] / trained[2], **scores,
            seconds=spent, wait=waited / max(spent, 1e-9),
        )  # fmt: skip
        save(progress, context, journal)
    return True


def take_steps(
    context: PhaseContext,
    network: nn.Module,
    progress: Progress,
    batches: Iterable[Batch],
    journal: Journal | NullLogger,
) -> float | None:
    """Take the steps of an epoch, writing a checkpoint from time to time.

    Returns:
        Seconds spent waiting for data, or None if training was asked to stop.
    """
    iterations, patience = context.phase.training.iterations, context.settings.checkpoint_seconds
    waited, saved, asked = 0.0, time.monotonic(), time.monotonic()
    pending: dict[str, Any] | None = None
    for batch in batches:
        waited += time.monotonic() - asked
        current = take_step(context, network, progress, batch)
        # Reading a loss waits for its step, so the previous loss is read while this step runs.
        note(pending, progress, journal, context)
        pending = current
        if iterations and progress.step >= iterations:
            break
        stop = context.should_stop()
        if stop or time.monotonic() - saved > patience:
            note(pending, progress, journal, context)
            pending = None
            save(progress, context, journal)
            saved = time.monotonic()
        if stop:
            return None
        asked = time.monotonic()
    note(pending, progress, journal, context)
    return waited


def count_epochs(training: Training, videos: int) -> int:
    """Count the epochs of a phase; the last one may be partial if iterations limit it."""
    if not training.iterations:
        return training.epochs
    return math.ceil(training.iterations / (videos // training.batch))


def take_step(
    context: PhaseContext, network: nn.Module, progress: Progress, batch: Batch
) -> dict[str, Any]:
    """Take one optimizer step.

    Returns:
        Values to log, with the loss still on the device.
    """
    phase, recipe = context.phase, context.recipe
    name = zlib.crc32(phase.name.encode())
    seed_dropout(
        (recipe.seed << 32 ^ name) + progress.step * context.process.world + context.process.rank,
        context.device,
    )
    given = context.score(network, batch)
    scores, labels = given[phase.branch], batch["label"].to(context.device, non_blocking=True)
    loss = measure_loss(recipe.labels, scores, labels, context.balance)
    loss, parts = context.task.add_losses(loss, given)
    progress.optimizer.zero_grad(set_to_none=True)
    progress.scaler.scale(loss).backward()
    if phase.training.clip is not None:
        progress.scaler.unscale_(progress.optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), phase.training.clip)
    progress.scaler.step(progress.optimizer)
    progress.scaler.update()
    rate = progress.schedule.rate
    progress.step += 1
    progress.schedule.step_iteration(progress.step)
    progress.taken += len(labels) * context.process.world
    return {
        "step": progress.step,
        "loss": loss.detach(),
        "parts": parts,
        "right": find_right(scores.detach(), labels)[:, 0].sum(),
        "videos": len(labels),
        "rate": rate,
    }


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the generators that a step draws from, as `torch.manual_seed` would.

    `torch.manual_seed` also seeds unused devices and keeps a stack trace for each, which takes 0.25
    ms; steps on feature sets take only a few milliseconds.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def note(
    pending: dict[str, Any] | None,
    progress: Progress,
    journal: Journal | NullLogger,
    context: PhaseContext,
) -> None:
    """Log the results of a step.

    Raises:
        RunError: The loss is not a number.
    """
    if pending is None:
        return
    loss, videos = float(pending["loss"]), pending["videos"]
    if not math.isfinite(loss):
        journal.flush()
        raise diverged(context, pending["step"], f"a loss of {loss}")
    progress.sums["loss"] += loss * videos * context.process.world
    progress.sums["top1"] += float(pending["right"]) * context.process.world
    journal.note_step(
        step=pending["step"],
        epoch=progress.epoch + 1,
        loss=loss,
        rate=pending["rate"],
        **{name: float(value) for name, value in pending["parts"].items()},
    )


def diverged(context: PhaseContext, step: int, what: str) -> RunError:
    """Build the error of a diverged training; its last checkpoint is kept."""
    kept = context.run.folder(context.phase.name) / "checkpoint.pt"
    return RunError(
        f"phase {context.phase.name}: step {step} gave {what}. "
        + (f"The last good checkpoint is {kept}. " if kept.exists() else "")
        + "Take a smaller rate, clip the gradient (training.clip), or another precision"
    )


def save(progress: Progress, context: PhaseContext, journal: Journal | NullLogger) -> None:
    """Write a checkpoint, after flushing the log lines that precede it.

    Raises:
        RunError: The weights are not finite.
    """
    journal.flush()
    bad = context.task.find_invalid_weights(progress.network)
    if bad:
        raise diverged(context, progress.step, f"weights that are no numbers ({bad[0]}, …)")
    if context.process.rank == 0:
        progress.save(context.run.folder(context.phase.name) / "checkpoint.pt")


def check_unchanged(context: PhaseContext) -> None:
    """Check that the store's index has not been rebuilt since the run began.

    Raises:
        RunError: It has been.
    """
    context.run.check_store(Store(context.store.path), unchanged=True)
