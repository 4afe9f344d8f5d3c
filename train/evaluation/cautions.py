"""Say what makes the results of an evaluation less certain than they look."""

from collections.abc import Iterator

from flowkit.errors import UsageError
from flowkit.store import Store
from train.runs.run import Run, digest_training_videos

FEW = 100
"""With fewer test videos, a note says how much one of them counts."""


def list_cautions(run: Run, store: Store, results: dict[str, dict[str, float]]) -> Iterator[str]:
    """Yield notes about the results of a run, for those who read them.

    Args:
        run: The run.
        store: The store with the test videos.
        results: The metrics by the name of the score, as `evaluate` returns them.
    """
    same_store = run.facts["store"]["created"] == store.header.created
    if same_store and has_other_training_videos(run, store):
        yield (
            f"the training videos of {store.location} are not those that {run.path} was trained on "
            "(another split, or other videos): it may have been trained on videos that are tested "
            "now. Train another run on this store to be sure"
        )
    videos = int(min((row["n"] for row in results.values()), default=0))
    if 0 < videos < FEW:
        yield (
            f"{videos} test videos: each of them counts {100 / videos:.3g} percentage points, so "
            "small differences say nothing"
        )


def has_other_training_videos(run: Run, store: Store) -> bool:
    """Return whether a run was trained on other videos than the training subsets now have."""
    trained_on = run.facts.get("training_videos")
    if not trained_on:  # a run of an older version
        return False
    try:
        return bool(trained_on != digest_training_videos(run.recipe, store))
    except UsageError:  # the store no longer has a training subset
        return True
