"""Videos → store: plan (what is left to do) → worker (one video) → cluster (Ray) → summary."""

from flowkit.extract.job import Job, Outcome, Setup
from flowkit.extract.run import Options, extract
from flowkit.extract.summary import Summary

__all__ = ["Job", "Options", "Outcome", "Setup", "Summary", "extract"]
