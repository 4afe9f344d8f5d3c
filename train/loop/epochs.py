"""Training loop of one phase.

    step      one update of the weights. The loss is that of the trained branch's mean score over K
              segments (Chi et al. 2019, eq. 6, 7), or of the score of a feature set
    epoch     all training videos once, in a random order; then validation (validation.py), which
              gives the same result for several processes as for one
    phase     one part of a run, which trains one branch (network of one stream) for some epochs.
              Then weights.pt is written and the checkpoint is removed

On the CPU, a phase that was stopped and resumed ends with exactly the same weights as an
uninterrupted one, given the same settings.
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
from train.distributed.parallel import Process, choose_layout, sum_over_processes, wrap
from train.loop.checkpoint import Progress, write_tensors
from train.loop.context import PhaseContext, read_batches
from train.loop.losses import find_correct, measure_loss, weigh_classes
from train.loop.optimizers import make_progress
from train.loop.validation import make_validation
from train.recipe.recipe import Training
from train.runs.journal import Journal, Log, NullLogger
from train.runs.phases import Phase
from train.runs.run import Run, RunError, Settings
from train.tasks.registry import find_task
from train.tasks.samples import TaskDataset, TensorDict, make_loader


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
    if process.rank > 0:
        log = ignore_line
    context = PhaseContext(
        run=run, phase=phase, recipe=run.recipe.for_split(phase.split), store=store,
        settings=settings, process=process, should_stop=should_stop, log=log,
    )  # fmt: skip
    torch.set_num_threads(settings.threads)
    inner = task.start_network(run, phase, store, log)
    inner = inner.to(context.device, memory_format=choose_layout(context.device))
    task.set_train_mode(inner, phase)
    network, inner = wrap(inner, context.device, process, settings.compile)
    progress = make_progress(inner, task.get_trained_module(inner, phase), phase, settings)
    folder = run.folder(phase.name)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.is_file():
        progress.load(checkpoint)
        log(f"{phase.name}: resuming at step {progress.step}, epoch {progress.epoch + 1}")
    journal: Journal | NullLogger = NullLogger()
    if process.rank == 0:
        board = run.path / "tensorboard" / phase.name
        journal = Journal(folder, board, progress.step, progress.epoch, log)
    try:
        if not train_epochs(context, network, progress, journal):
            return False
        if process.rank == 0:
            write_tensors(folder / "weights.pt", task.select_weights(inner, phase))
            checkpoint.unlink(missing_ok=True)
        return True
    finally:
        journal.close()


def ignore_line(text: str) -> None:
    """Ignore a line of text for the user, in all processes except that of rank 0."""


def train_epochs(
    context: PhaseContext, network: nn.Module, progress: Progress, journal: Journal | NullLogger
) -> bool:
    """Train the remaining epochs of a phase.

    Args:
        context: The phase to train.
        network: The network to call in a step, which may wrap that of `progress`.
        progress: Where training starts; updated.
        journal: Logs steps and epochs.

    Returns:
        False if training was asked to stop before the last epoch was finished.
    """
    training, process = context.phase.training, context.process
    dataset = context.task.open_dataset(context.store, context.phase, "train")
    if training.balance:
        balance = weigh_classes(dataset.labels(), context.recipe.classes).to(context.device)
        context = replace(context, balance=balance)
    sampler, loader = make_training_loader(context, dataset)
    validate = make_validation(context, progress.network)
    epochs = count_epochs(training, len(dataset))
    while progress.epoch < epochs:
        # The index of the store may have been rebuilt since the last epoch.
        context.run.check_store(Store(context.store.path), unchanged=True)
        context.task.set_train_mode(progress.network, context.phase)
        videos_taken = progress.taken // process.world
        sampler.load_state_dict(
            {"epoch": progress.epoch, "taken": videos_taken, "size": len(dataset)}
        )
        start = time.monotonic()
        batches = read_batches(loader, context)
        seconds_waiting = take_steps(context, network, progress, batches, journal)
        if seconds_waiting is None:
            return False
        sums = [progress.sums["loss"], progress.sums["top1"], progress.taken]
        loss, top1, videos = sum_over_processes(sums, process)
        seconds = time.monotonic() - start
        metrics = validate()
        rate = progress.schedule.rate
        progress.epoch, progress.taken = progress.epoch + 1, 0
        progress.schedule.step(progress.epoch, metrics.get("mAP", metrics["top1"]))
        progress.sums = {"loss": 0.0, "top1": 0.0}
        journal.log_epoch(
            epoch=progress.epoch, epochs=epochs, step=progress.step, rate=rate,
            loss=loss / videos, train_top1=top1 / videos, **metrics,
            seconds=seconds, wait=seconds_waiting / max(seconds, 1e-9),
        )  # fmt: skip
        save_checkpoint(progress, context, journal)
    return True


def make_training_loader(context: PhaseContext, dataset: TaskDataset) -> tuple[EpochSampler, Any]:
    """Make the loader of this process's share of each batch, and its sampler.

    Raises:
        RunError: A batch is larger than the training set.
    """
    batch, process = context.phase.training.batch, context.process
    sampler = EpochSampler(
        len(dataset),
        training=True,
        seed=context.recipe.seed,
        rank=process.rank,
        world=process.world,
    )
    share = batch // process.world  # without a rest: session.py has checked this
    if len(sampler) < share:
        raise RunError(
            f"{context.store.location}: {len(dataset)} training videos are fewer than a batch of "
            f"{batch}; use a smaller batch (--set training.batch=N)"
        )
    return sampler, make_loader(dataset, sampler, share, context.settings, training=True)


def take_steps(
    context: PhaseContext,
    network: nn.Module,
    progress: Progress,
    batches: Iterable[TensorDict],
    journal: Journal | NullLogger,
) -> float | None:
    """Take the steps of an epoch, writing a checkpoint from time to time.

    Returns:
        Seconds spent waiting for data, or None if training was asked to stop.
    """
    iterations, interval = context.phase.training.iterations, context.settings.checkpoint_seconds
    waited, saved_at, asked_at = 0.0, time.monotonic(), time.monotonic()
    previous: dict[str, Any] | None = None
    for batch in batches:
        waited += time.monotonic() - asked_at
        current = take_step(context, network, progress, batch)
        # Reading a loss waits for its step, so the previous loss is read while this step runs.
        log_step(previous, progress, journal, context)
        previous = current
        if iterations and progress.step >= iterations:
            break
        stop = context.should_stop()
        if stop or time.monotonic() - saved_at > interval:
            log_step(previous, progress, journal, context)
            previous = None
            save_checkpoint(progress, context, journal)
            saved_at = time.monotonic()
        if stop:
            return None
        asked_at = time.monotonic()
    log_step(previous, progress, journal, context)
    return waited


def count_epochs(training: Training, videos: int) -> int:
    """Count the epochs of a phase; the last one may be partial if iterations limit it."""
    if not training.iterations:
        return training.epochs
    return math.ceil(training.iterations / (videos // training.batch))


def take_step(
    context: PhaseContext, network: nn.Module, progress: Progress, batch: TensorDict
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
    outputs = context.score(network, batch)
    scores, labels = outputs[phase.branch], batch["label"].to(context.device, non_blocking=True)
    loss = measure_loss(recipe.labels, scores, labels, context.balance)
    loss, terms = context.task.add_losses(loss, outputs)
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
        "terms": terms,
        "correct": find_correct(scores.detach(), labels)[:, 0].sum(),
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


def log_step(
    result: dict[str, Any] | None,
    progress: Progress,
    journal: Journal | NullLogger,
    context: PhaseContext,
) -> None:
    """Log the result of a step; None stands for no step.

    Raises:
        RunError: The loss is not a number.
    """
    if result is None:
        return
    loss, videos = float(result["loss"]), result["videos"]
    if not math.isfinite(loss):
        journal.flush()
        raise make_divergence_error(context, result["step"], f"a loss of {loss}")
    progress.sums["loss"] += loss * videos * context.process.world
    progress.sums["top1"] += float(result["correct"]) * context.process.world
    journal.log_step(
        step=result["step"],
        epoch=progress.epoch + 1,
        loss=loss,
        rate=result["rate"],
        **{name: float(value) for name, value in result["terms"].items()},
    )


def make_divergence_error(context: PhaseContext, step: int, problem: str) -> RunError:
    """Build the error of a diverged training; its last checkpoint is kept."""
    checkpoint = context.run.folder(context.phase.name) / "checkpoint.pt"
    return RunError(
        f"phase {context.phase.name}: step {step} gave {problem}. "
        + (f"The last good checkpoint is {checkpoint}. " if checkpoint.exists() else "")
        + "Use a smaller rate (training.rate), clip the gradient (training.clip), or use another "
        "--precision"
    )


def save_checkpoint(
    progress: Progress, context: PhaseContext, journal: Journal | NullLogger
) -> None:
    """Write a checkpoint, after flushing the log lines that precede it.

    Raises:
        RunError: The weights are not finite.
    """
    journal.flush()
    invalid = context.task.find_invalid_weights(progress.network)
    if invalid:
        raise make_divergence_error(
            context, progress.step, f"weights that are not finite ({invalid[0]}, …)"
        )
    if context.process.rank == 0:
        progress.save(context.run.folder(context.phase.name) / "checkpoint.pt")
