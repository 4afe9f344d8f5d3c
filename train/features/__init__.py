"""Local features of videos, by networks, as streams of their store.

    store ─ plan (what is left) ─ shares of videos ─ workers (Ray, or this process) ─ shards ─ index

The driver, its actors and the commits are those of extraction (flowkit/extract); what differs is
what a worker does, and that it does it for many videos together.
"""

from train.features.network import Wanted
from train.features.run import Options, extract_features
from train.features.summary import Summary

__all__ = ["Options", "Summary", "Wanted", "extract_features"]
