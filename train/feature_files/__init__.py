"""Compute the features of whole videos: for each video a file with one row for each window.

    videos ─ plan ─ workers: decode ─ flow ─ windows ─ networks ─ NAME.npy and NAME.json

Nothing is stored between. `flowkit.extraction` provides decoding, flow and the driver of the
workers, and `train.features` the networks.
"""

from train.feature_files.options import FileOptions
from train.feature_files.run import FileRequest, extract_feature_files

__all__ = ["FileOptions", "FileRequest", "extract_feature_files"]
