"""Extraction of local video features with networks, stored as streams of the store.

    store ─ plan (missing videos) ─ shares of videos ─ workers (Ray or in-process) ─ shards ─ index

Driver, actors and commits are those of `flowkit.extraction`. Only the worker differs: it
processes many videos together.
"""

from train.features.network import NetworkOptions
from train.features.run import Options, extract_features
from train.features.summary import Summary

__all__ = ["NetworkOptions", "Options", "Summary", "extract_features"]
