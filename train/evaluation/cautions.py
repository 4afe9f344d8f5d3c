"""Say what makes the results of an evaluation less certain than they look."""

from collections.abc import Iterator

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
    trained_on = run.facts.get("training_videos")
    same_store = run.facts["store"]["created"] == store.header.created
    if trained_on and same_store and trained_on != digest_training_videos(run.recipe, store):
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
