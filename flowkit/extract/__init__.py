"""Videos → store: plan (what is left to do) → worker (one video) → cluster (Ray) → summary."""

from flowkit.extract.choice import Wishes, choose_recipe
from flowkit.extract.job import Job, Outcome
from flowkit.extract.options import Options
from flowkit.extract.plan import parse_part
from flowkit.extract.run import extract
from flowkit.extract.setup import Setup
from flowkit.extract.summary import Summary

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
