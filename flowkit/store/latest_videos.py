"""Decide which commit of a video is used if a stream of it was committed more than once.

That happens on purpose when a video is extracted again (its new commit supersedes earlier ones), or
when two processes extracted the same video. The latest superseding commit is used, or the earliest
commit if none supersedes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class VideoCommit:
    """One commit of one video, which is used for a stream unless another outranks it."""

    supersedes: bool
    """Whether it replaces earlier commits of the video."""
    time_and_uuid: tuple[float, str]
    """Commit time in seconds since 1970, and the uuid of the shard."""
    shard: int
    """Index of the shard in the list of shards."""
    video: Any
    """The description of the video in the commit record."""

    @property
    def source_content(self) -> tuple[int, str]:
        """Return the size and digest that identify the content of the video's source file."""
        fingerprint = self.video["fingerprint"]
        return fingerprint["size"], fingerprint["digest"]

    def outranks(self, other: "VideoCommit") -> bool:
        """Return whether this commit is used rather than ``other``.

        The latest superseding commit is used, or the earliest if none supersedes. The uuid
        decides between commits of the same time.
        """
        if self.supersedes != other.supersedes:
            return self.supersedes
        if self.supersedes:
            return self.time_and_uuid > other.time_and_uuid
        return self.time_and_uuid < other.time_and_uuid


@dataclass(slots=True)
class LatestVideos:
    """The commit that is used for each video and stream."""

    videos: dict[str, dict[str, VideoCommit]] = field(default_factory=dict)
    """The commits, by video id and stream."""

    def add_record(
        self, shard: int, record: Mapping[str, Any], ids: set[str] | None = None
    ) -> None:
        """Use the videos of one commit record where they outrank those so far.

        Args:
            shard: Index of the shard in the list of shards.
            record: The commit record, as JSON values.
            ids: Ids of the videos to consider, or None for all.
        """
        for video in record["videos"]:
            if ids is not None and video["id"] not in ids:
                continue
            time_and_uuid = (record["committed"], record["uuid"])
            commit = VideoCommit(bool(video.get("supersedes")), time_and_uuid, shard, video)
            streams = self.videos.setdefault(video["id"], {})
            for stream in video["streams"]:
                if stream not in streams or commit.outranks(streams[stream]):
                    streams[stream] = commit
