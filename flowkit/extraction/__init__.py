"""Videos → store: plan (what is left to do) → worker (one video) → cluster (Ray) → summary."""

from flowkit.extraction.options import Options
from flowkit.extraction.plan import parse_part
from flowkit.extraction.recipe_overrides import Wishes, choose_recipe
from flowkit.extraction.run import extract
from flowkit.extraction.summary import Summary
from flowkit.extraction.tasks import Job, Outcome
from flowkit.extraction.worker_setup import Setup

__all__ = [
    "Job",
    "Options",
    "Outcome",
    "Setup",
    "Summary",
    "Wishes",
    "choose_recipe",
    "extract",
    "parse_part",
]
