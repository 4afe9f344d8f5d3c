"""Compute local features of videos with a network, and store them as a stream of the store.

    store ─ plan (missing videos) ─ shares of videos ─ workers (Ray or in-process) ─ shards ─ index

A share is a group of videos that one worker computes together. The driver, the actors and the
commits are those of `flowkit.extraction`; only the worker differs.
"""

from train.features.network import NetworkOptions
from train.features.options import Options
from train.features.run import extract_features
from train.features.summary import Summary

__all__ = ["NetworkOptions", "Options", "Summary", "extract_features"]
