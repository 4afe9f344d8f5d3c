"""Change the test settings of a run, and check that a store can serve them.

Test settings are the section ``testing`` of a recipe. They decide how videos are scored and not
what is trained, so they can be changed after the training.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flowkit.datasets.clips import ClipDataset
from flowkit.datasets.sampling import count_positions
from flowkit.datasets.snippets import SnippetDataset
from flowkit.errors import UsageError
from flowkit.store import Store
from train.evaluation.scoring import list_jobs
from train.recipe.parsing import suggest
from train.recipe.recipe import ImageRecipe, change_recipe, list_values
from train.runs.phases import list_phases, list_scorings
from train.runs.run import Run, Settings, find_short_side
from train.tasks.registry import find_task

SECTION = "testing."


def change_test_settings(run: Run, changes: Mapping[str, Any]) -> Run:
    """Return a run with other test settings. No file of the run is changed.

    Args:
        run: The run.
        changes: New values by dotted key, such as ``testing.segments`` → ``10``: YAML text, or
            Python values.

    Raises:
        UsageError: A key is not one of the test settings, has no effect on a run of this kind, or
            has a wrong value; or a control experiment needs a phase that was not trained.
    """
    task = find_task(run.recipe)
    keys = [SECTION + key for key in task.test_keys]
    for key in changes:
        # A key inside a mapping, such as testing.fusion.odd
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in keys):
            name = key.removeprefix(SECTION).partition(".")[0]
            if key == "testing":
                reason = "is a section, whose keys are set one by one"
            elif not key.startswith(SECTION) and name in list_values(run.recipe):
                reason = "cannot change after training"
            elif key.startswith(SECTION) and name in asdict(run.recipe.testing):
                reason = f"has no effect on a run on {task.name}"
            else:
                raise UsageError(f"--set {key}: there is no such setting{suggest(key, keys)}")
            raise UsageError(f"--set {key}: {reason}. Keys that can: {', '.join(keys)}")
    changed = run.with_recipe(change_recipe(run.recipe, dict(changes)))
    untrained = [phase.name for phase in changed.list_unfinished_phases()]
    if untrained and run.is_finished():
        raise UsageError(
            f"--set testing.controls: {run.path} was trained without the phase {untrained[0]}, "
            "which this control experiment needs"
        )
    return changed


def list_test_changes(run: Run, changed: Run) -> dict[str, Any]:
    """List the test settings in which two runs differ, by dotted key: the values of the second."""
    before, after = (asdict(r.recipe.testing) for r in (run, changed))
    return {SECTION + key: value for key, value in after.items() if value != before[key]}


def check_test_settings(run: Run, store: Store, settings: Settings) -> None:
    """Check that a store can serve the test settings of a run, before a network runs.

    Args:
        run: The run, with the test settings in its recipe.
        store: The store with the test videos.
        settings: Device, precision and batch of testing.

    Raises:
        UsageError: It cannot, or the batch is too large.
        StoreError: The store lacks data that the network reads.
    """
    check_frames(run, store)
    checked = set()
    for scoring in list_scorings(run.recipe):
        for job in list_jobs(run, scoring, settings):
            job.choose_batch_size()  # raises an error for a batch that is too large
            phase = job.phase
            kind = (phase.cma, phase.branch, phase.split, scoring.control)
            if kind not in checked:
                checked.add(kind)
                dataset, keys = job.open_videos(store)
                if not keys:
                    raise UsageError(
                        f"{store.location}: subset {dataset.subset.name!r} has no videos to score"
                    )


def check_frames(run: Run, store: Store) -> None:
    """Check that frames are not smaller than the crops, unless the run was trained on such."""
    if not isinstance(run.recipe, ImageRecipe):
        return
    side, data = find_short_side(store), run.recipe.data
    if side < data.size and side != data.short_side:
        raise UsageError(
            f"the network sees crops of {data.size}×{data.size} pixels, but the shorter side of "
            f"the frames of {store.location} is {side}; use a store of larger frames, such as "
            f"that of the training ({data.short_side} pixels)"
        )


def check_segments(run: Run, store: Store) -> None:
    """Check that some test video is long enough for the number of segments.

    Where a video has fewer starts of snippets or clips than segments, segments share a start. If
    all videos do, further segments change nothing but the weights of the same views. A subset
    without videos is left to `check_test_settings`.

    Args:
        run: The run, with the changed test settings in its recipe.
        store: The store with the test videos.

    Raises:
        UsageError: No video has as many starts.
    """
    task = find_task(run.recipe)
    if not isinstance(run.recipe, ImageRecipe):
        return
    segments, most = run.recipe.testing.segments, 0
    for phase in list_phases(run.recipe):
        dataset = find_task(run.recipe.for_split(phase.split)).open_dataset(store, phase, "test")
        for row in dataset.subset.rows:
            most = max(most, count_starts(dataset, int(row)))
            if most >= segments:
                return
    if not most:
        return
    raise UsageError(
        f"--set testing.segments={segments}: the longest test video of {store.location} has {most} "
        f"different {'clips' if run.recipe.data.clip else 'snippets'}, so that more segments would "
        f"repeat the same {task.name}; use at most {most}"
    )


def count_starts(dataset: Any, row: int) -> int:
    """Count the different starts of snippets or clips in a video."""
    if isinstance(dataset, ClipDataset):
        available = min(dataset.subset.count(row, stream) for stream in dataset.subset.streams)
        return count_positions(available, dataset.sampling.span)
    assert isinstance(dataset, SnippetDataset)
    return dataset.count_starts(dataset.count_frames(row))
