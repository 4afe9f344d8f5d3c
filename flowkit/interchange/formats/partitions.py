"""Divide videos by the subsets that they are in, so that each video is written once.

A video can be in several subsets, such as the first training and the second test subset of UCF101.
Videos in the same subsets make up a *partition*, whose shards hold no other videos. A subset is
then the union of some partitions, and no video is stored twice.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from flowkit.errors import UsageError
from flowkit.store.reader import Store

MAX_PARTITIONS = 64
"""Largest number of partitions, since each needs a shard of its own."""
MAX_NAME = 100
"""Longest name of a partition that is made of the names of its subsets, in characters."""
UNASSIGNED = "unassigned"
"""Name of the partition of videos that are in no subset, where others are in one."""
RESERVED = ("all", UNASSIGNED)
"""Names that no subset gets in an export: the Hugging Face library keeps ``all`` for itself."""


@dataclass(frozen=True, kw_only=True)
class Partitions:
    """The partitions of an export."""

    by_id: dict[str, str]
    """Name of the partition of each video, by id."""
    subsets: dict[str, tuple[str, ...]]
    """The subsets of a partition, as file names spell them, by the name of the partition. Videos
    that are in no subset count as a subset of the partition's name.
    """

    def find_subsets(self, id: str) -> tuple[str, ...] | None:
        """Return a video's subsets, as file names spell them; None if it is not in the export."""
        return self.subsets[self.by_id[id]] if id in self.by_id else None


def divide_videos(
    store: Store, ids: Iterable[str], chosen: tuple[str, ...], single: str
) -> Partitions:
    """Divide videos by their subsets.

    Args:
        store: Store that holds the videos.
        ids: Ids of the videos.
        chosen: Names of the subsets that count; empty means all of them.
        single: Name of the only partition where the store has no subsets.

    Returns:
        The partitions.

    Raises:
        UsageError: If there are more than `MAX_PARTITIONS`.
    """
    names = name_subsets(store.subsets())
    memberships = {
        id: tuple(names[name] for name in sorted(store[id].subsets) if not chosen or name in chosen)
        for id in ids
    }
    unassigned = UNASSIGNED if names else single
    groups = {
        members: name_partition(members) if members else unassigned
        for members in sorted(set(memberships.values()))
    }
    if len(groups) > MAX_PARTITIONS:
        raise UsageError(
            f"the videos are in {len(groups)} different combinations of subsets, and each needs "
            f"files of its own (at most {MAX_PARTITIONS}); export some subsets with --subset"
        )
    return Partitions(
        by_id={id: groups[members] for id, members in memberships.items()},
        subsets={name: members or (name,) for members, name in groups.items()},
    )


def name_subsets(names: Iterable[str]) -> dict[str, str]:
    """Give each subset a name for files, which is also a valid name of a split of Hugging Face.

    Args:
        names: Names of the subsets of a store: any text.

    Returns:
        For each subset a unique name of ASCII letters, digits and underscores.
    """
    file_names: dict[str, str] = {}
    taken = set(RESERVED)
    for name in sorted(names):
        base = file_name = re.sub(r"[^0-9A-Za-z_]", "_", name) or "_"
        number = 2
        while file_name.lower() in taken:
            file_name = f"{base}_{number}"
            number += 1
        taken.add(file_name.lower())
        file_names[name] = file_name
    return file_names


def name_partition(members: tuple[str, ...]) -> str:
    """Name the partition of the videos that are in some subsets.

    Args:
        members: Names of the subsets, in order.

    Returns:
        The names joined by dots, or their number and a digest if that would be too long.
    """
    name = ".".join(members)
    if len(name) <= MAX_NAME:
        return name
    digest = blake2b(name.encode(), digest_size=4).hexdigest()
    return f"{len(members)}_subsets.{digest}"
