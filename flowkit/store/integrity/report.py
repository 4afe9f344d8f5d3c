"""What ``flowkit verify`` reports."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a shard, with a video in it, or with the store."""

    shard: str | None
    """Name of the shard, ``folder/uuid``; None for the store."""
    video: str | None
    """Id of the video; None for the whole shard or store."""
    what: str
    """What is wrong."""

    def __str__(self) -> str:
        names = [] if self.shard is None else [f"shard {self.shard}"]
        names += [] if self.video is None else [f"video {self.video!r}"]
        return ", ".join(names or ["store"]) + f": {self.what}"


@dataclass(kw_only=True)
class Report:
    """What was checked and found."""

    shards: int = 0
    """Number of shards."""
    videos: int = 0
    """Number of videos."""
    bytes: int = 0
    """Size of all shards in bytes."""
    problems: list[Problem] = field(default_factory=list)
    """Everything that is wrong."""
    notes: list[str] = field(default_factory=list)
    """What is unusual but not wrong: a shard that is being written, a superseded video."""
    repaired: list[str] = field(default_factory=list)
    """What a repair did."""
    lost_videos: list[str] = field(default_factory=list)
    """Ids of videos that a repair could not save; the next extraction extracts them again."""

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems
