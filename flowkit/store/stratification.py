"""Divide videos into subsets so that classes keep their proportions and groups stay together.

This is arithmetic on names only; split.py applies it to a store. The result depends on the names,
the fractions and the seed, not on the order of the videos or on the machine: wherever a choice is
free, it follows a digest of seed and name.

*Without groups*, a subset with fraction f gets either ⌊f·n⌋ or ⌈f·n⌉ of the n videos of a class.
Which of the two is chosen so that the subsets as a whole have the right sizes too: of many classes
with three videos each, about every third one gives a video to a subset with the fraction 0.1.

*With groups*, the largest groups are assigned first, each to the subset that misses most of the
group's classes and of videos in all (the greedy rule of iterative stratification: Sechidis et al.,
2011, "On the Stratification of Multi-Label Data", with groups in the place of samples).

A class that occurs in one group only, or in one video, is put into the first subset, because a
class that is never trained cannot be recognized.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SCALE = 10**9
"""Fractions are integers in units of 1/SCALE, so that comparisons are exact on every machine."""


class Member(NamedTuple):
    """A video to be assigned to a subset."""

    id: str
    """Its id."""
    class_name: str
    """Its class; the same for all videos without classes."""
    group: tuple[int, str]
    """Its group, as `find_groups` names it: videos with equal groups stay together."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The subset of each video."""

    subsets: Mapping[str, str]
    """The name of the subset by video id."""
    lone_classes: frozenset[str]
    """The classes that occur in one group only, all of whose videos are in the first subset."""


class Balance:
    """How many videos each subset has so far, and how many it should have.

    Args:
        shares: The fraction of each subset, in units of 1/SCALE; the sum is SCALE.
        totals: The number of videos in each class.

    Attributes:
        total: The number of videos.
        assigned: The number of videos of each class that each subset has.
        sizes: The number of videos that each subset has.
    """

    def __init__(self, shares: Sequence[int], totals: Counter[str]) -> None:
        self.shares, self.totals, self.total = shares, totals, totals.total()
        self.assigned = {name: [0] * len(shares) for name in totals}
        self.sizes = [0] * len(shares)

    def add(self, subset: int, class_counts: Mapping[str, int]) -> None:
        """Count videos as assigned to a subset."""
        for name, count in class_counts.items():
            self.assigned[name][subset] += count
            self.sizes[subset] += count

    def count_missing(self, subset: int) -> int:
        """Return how many videos a subset misses, times SCALE; negative if it has too many."""
        return self.shares[subset] * self.total - self.sizes[subset] * SCALE

    def count_missing_of_class(self, subset: int, name: str) -> int:
        """Return how many videos of a class a subset misses, times SCALE."""
        return self.shares[subset] * self.totals[name] - self.assigned[name][subset] * SCALE


def assign_subsets(
    members: Iterable[Member], fractions: Mapping[str, float], seed: int
) -> Assignment:
    """Assign every video to one subset.

    Args:
        members: The videos, in any order.
        fractions: The fraction of the videos for each subset, positive, with the sum 1. The first
            subset gets the classes that occur in one group only.
        seed: Chooses one of the possible divisions.

    Returns:
        The subset of each video. A subset may stay empty where there are too few groups.
    """
    groups: dict[tuple[int, str], list[Member]] = defaultdict(list)
    groups_of_class: dict[str, set[tuple[int, str]]] = defaultdict(set)
    for member in members:
        groups[member.group].append(member)
        groups_of_class[member.class_name].add(member.group)
    names = list(fractions)
    lone = frozenset(name for name, found in groups_of_class.items() if len(found) == 1)
    # With one class there is nothing to tell apart, and its only group goes where there is room.
    lone = lone if len(groups_of_class) > 1 else frozenset()
    balance = Balance(
        scale_fractions(list(fractions.values())),
        Counter(member.class_name for found in groups.values() for member in found),
    )
    counts = {group: Counter(m.class_name for m in found) for group, found in groups.items()}
    order = sorted(groups, key=lambda group: (-len(groups[group]), draw_digest(seed, group)))
    chosen: dict[tuple[int, str], int] = {}
    for group in order:
        if not lone.isdisjoint(counts[group]):
            chosen[group] = 0
            balance.add(0, counts[group])
    free = [group for group in order if group not in chosen]
    if all(len(found) == 1 for found in groups.values()):
        chosen |= assign_videos(free, counts, balance)
    else:
        for group in free:
            chosen[group] = choose_subset(counts[group], balance)
            balance.add(chosen[group], counts[group])
    fill_empty_subsets(chosen, free, len(names))
    subsets = {m.id: names[chosen[group]] for group, found in groups.items() for m in found}
    return Assignment(subsets, lone)


def scale_fractions(fractions: Sequence[float]) -> list[int]:
    """Return fractions as integers whose sum is SCALE."""
    shares = [round(fraction / sum(fractions) * SCALE) for fraction in fractions]
    shares[0] += SCALE - sum(shares)
    return shares


def draw_digest(seed: int, group: tuple[int, str]) -> bytes:
    """Return 16 bytes that put groups into a random order, the same on every machine."""
    text = f"{seed}\0{group[0]}\0{group[1]}".encode(errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def assign_videos(
    order: Sequence[tuple[int, str]],
    counts: Mapping[tuple[int, str], Mapping[str, int]],
    balance: Balance,
) -> dict[tuple[int, str], int]:
    """Assign groups of one video each, so that each class is divided as exactly as possible.

    Args:
        order: The groups, in the order in which they are assigned.
        counts: The class of each group's video, with the count 1.
        balance: The subsets so far; this function changes it.

    Returns:
        The index of the subset of each group.
    """
    videos: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for group in order:
        videos[next(iter(counts[group]))].append(group)
    chosen: dict[tuple[int, str], int] = {}
    subsets = range(len(balance.shares))
    rest: dict[str, list[tuple[int, str]]] = {}
    for name, found in videos.items():
        rounding = bound_rounding(len(found), balance)
        floors = [(balance.shares[s] * len(found) + rounding) // SCALE for s in subsets]
        indices = [s for s in subsets for _ in range(floors[s])]
        for group, subset in zip(found, indices, strict=False):
            chosen[group] = subset
        for s in subsets:
            balance.add(s, {name: floors[s]})
        rest[name] = found[len(indices) :]
    for name, found in rest.items():
        # A class gives a subset at most one video beyond the whole number.
        rounding = bound_rounding(balance.totals[name], balance)
        open_subsets = [s for s in subsets if balance.count_missing_of_class(s, name) > rounding]
        for group in found:
            # The subset that misses most; of equal ones, the first.
            missing = [
                (balance.count_missing(s), balance.count_missing_of_class(s, name), -s)
                for s in open_subsets
            ]
            subset = -max(missing)[2]
            open_subsets.remove(subset)
            chosen[group] = subset
            balance.add(subset, {name: 1})
    return chosen


def bound_rounding(videos: int, balance: Balance) -> int:
    """Return what rounded shares can lack of a whole number of videos, in units of 1/SCALE.

    The shares of three thirds are 333,333,334 and twice 333,333,333.
    """
    return videos * len(balance.shares)


def choose_subset(class_counts: Mapping[str, int], balance: Balance) -> int:
    """Choose the subset that needs a group most.

    Let m(c, s) be the number of videos of class c that subset s misses, and N_c the number of all
    videos of class c. Putting a group with n_c videos of each class into subset s lowers the error
    Σ_c m(c, s)² / N_c by 2 Σ_c n_c · m(c, s) / N_c, less a term that is the same for all subsets.
    The subset with the largest sum is chosen. All videos together count as one more class.

    Args:
        class_counts: The number of the group's videos in each class.
        balance: The subsets so far.

    Returns:
        The index of the subset.
    """
    size = sum(class_counts.values())

    def measure_need(subset: int) -> tuple[float, int]:
        need = size * balance.count_missing(subset) / balance.total
        for name in sorted(class_counts):
            missing = balance.count_missing_of_class(subset, name)
            need += class_counts[name] * missing / balance.totals[name]
        return need, -subset

    return max(range(len(balance.shares)), key=measure_need)


def fill_empty_subsets(
    chosen: dict[tuple[int, str], int], movable: Sequence[tuple[int, str]], subsets: int
) -> None:
    """Move one group into each empty subset, where another subset has two.

    Args:
        chosen: The index of the subset of each group; this function changes it.
        movable: The groups that may be moved, the largest first.
        subsets: Number of subsets.
    """
    sizes = Counter(chosen.values())
    for empty in (s for s in range(subsets) if not sizes[s]):
        donors = [group for group in reversed(movable) if sizes[chosen[group]] > 1]
        if donors:
            group = max(donors, key=lambda group: sizes[chosen[group]])
            sizes[chosen[group]] -= 1
            sizes[empty] += 1
            chosen[group] = empty
