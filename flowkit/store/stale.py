"""Find features that are outdated because their videos were extracted again from other files."""

import os
from pathlib import Path

from flowkit.errors import UsageError
from flowkit.recipe import FEATURES
from flowkit.store.format.header import read_header
from flowkit.store.format.records import load_record, record_paths
from flowkit.store.latest_videos import LatestVideos


def find_stale(root: str | os.PathLike[str], name: str) -> list[str]:
    """Find the videos whose features come from other content than their source stream.

    All commit records are read. Features that were computed again with ``supersedes`` in their
    `VideoMeta` replace the outdated ones.

    Args:
        root: Folder of the store.
        name: Name of the features, as in ``recipe.features``.

    Returns:
        The ids of the videos, sorted.

    Raises:
        UsageError: The recipe has no such features.
    """
    recipe = read_header(root).recipe
    if name not in recipe.features:
        known = ", ".join(recipe.features) or "none"
        raise UsageError(f"{root}: expected features that it has ({known}), got {name!r}")
    input_stream = recipe.features[name].source
    features = f"{FEATURES}{name}"
    latest = LatestVideos()
    for shard_index, path in enumerate(record_paths(Path(root))):
        latest.add_record(shard_index, load_record(path))
    return sorted(
        id
        for id, commits in latest.videos.items()
        if features in commits
        and input_stream in commits
        and commits[features].source_content != commits[input_stream].source_content
    )
