"""Extract frames, optical flow and audio from videos into a store."""

from flowkit.extraction.options import Options
from flowkit.extraction.plan import parse_part
from flowkit.extraction.recipe_overrides import RecipeOverrides, choose_recipe
from flowkit.extraction.run import extract
from flowkit.extraction.stored_flow import extract_stored_flow, locate_stored_videos
from flowkit.extraction.summary import Summary
from flowkit.extraction.tasks import ExtractionTask, Outcome
from flowkit.extraction.worker_setup import WorkerSetup
from flowkit.extraction.working_store import Target, open_target

__all__ = [
    "ExtractionTask", "Options", "Outcome", "RecipeOverrides", "Summary", "Target", "WorkerSetup",
    "choose_recipe", "extract", "extract_stored_flow", "locate_stored_videos", "open_target",
    "parse_part",
]  # fmt: skip
