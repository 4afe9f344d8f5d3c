"""The frame store: verified shards of RGB frames, optical flow, audio and features.

A *stream* is one kind of data that a store holds of a video: ``rgb``, ``flow``, ``audio`` or
``features/NAME``. A *shard* is an Arrow file with the rows of many videos, and its *commit record*
is a JSON file without which the shard does not count. The *index* has one row per video.

README.md in this folder describes the format. ``import flowkit.store`` stays fast: names load their
modules on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowkit.store.annotations import read_annotations as read_annotations
    from flowkit.store.annotations import write_annotations as write_annotations
    from flowkit.store.failures import Failure as Failure
    from flowkit.store.failures import append_failure as append_failure
    from flowkit.store.failures import read_failures as read_failures
    from flowkit.store.format.header import StoreHeader as StoreHeader
    from flowkit.store.format.header import create_or_open as create_or_open
    from flowkit.store.format.header import read_header as read_header
    from flowkit.store.format.locks import hold_store as hold_store
    from flowkit.store.format.locks import is_locked as is_locked
    from flowkit.store.format.schema import CommitRecord as CommitRecord
    from flowkit.store.format.schema import CommittedVideo as CommittedVideo
    from flowkit.store.format.schema import Fingerprint as Fingerprint
    from flowkit.store.format.schema import Motion as Motion
    from flowkit.store.format.schema import VideoMeta as VideoMeta
    from flowkit.store.index import rebuild_index as rebuild_index
    from flowkit.store.integrity.recovery import Recovery as Recovery
    from flowkit.store.integrity.recovery import recover as recover
    from flowkit.store.reader import Store as Store
    from flowkit.store.snippet import Snippet as Snippet
    from flowkit.store.split import read_splits as read_splits
    from flowkit.store.split import split_store as split_store
    from flowkit.store.split_summary import SplitRecord as SplitRecord
    from flowkit.store.split_summary import SplitSummary as SplitSummary
    from flowkit.store.stale import find_stale as find_stale
    from flowkit.store.video import Video as Video
    from flowkit.store.writer import ShardWriter as ShardWriter

_MODULES = {
    "annotations": ("read_annotations", "write_annotations"),
    "failures": ("Failure", "append_failure", "read_failures"),
    "format.header": ("StoreHeader", "create_or_open", "read_header"),
    "index": ("rebuild_index",),
    "format.locks": ("hold_store", "is_locked"),
    "reader": ("Store",),
    "integrity.recovery": ("Recovery", "recover"),
    "format.schema": ("CommitRecord", "CommittedVideo", "Fingerprint", "Motion", "VideoMeta"),
    "snippet": ("Snippet",),
    "split": ("read_splits", "split_store"),
    "split_summary": ("SplitRecord", "SplitSummary"),
    "stale": ("find_stale",),
    "video": ("Video",),
    "writer": ("ShardWriter",),
}
_LAZY = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_LAZY)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"flowkit.store.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'flowkit.store' has no attribute {name!r}")
