"""How videos are divided, on names alone."""

import math
from collections import Counter, defaultdict

from hypothesis import assume, given
from hypothesis import strategies as st

from flowkit.store.stratification import Member, assign_subsets

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}
CLASSES = st.lists(st.integers(1, 40), min_size=1, max_size=8)
"""The number of videos in each class."""


@st.composite
def draw_fractions(draw):
    """Fractions of two or three subsets whose sum is 1, train first."""
    percents = draw(st.lists(st.integers(1, 40), min_size=1, max_size=2))
    names = ("val", "test")[: len(percents)]
    rest = {name: percent / 100 for name, percent in zip(names, percents, strict=True)}
    return {"train": 1 - sum(rest.values())} | rest


def make_members(counts):
    """A video of its own group for each of ``counts[c]`` videos of class c."""
    ids = [(f"{c}/{n}", f"class {c}") for c, count in enumerate(counts) for n in range(count)]
    return [Member(id, name, (0, id)) for id, name in ids]


@st.composite
def draw_grouped_members(draw):
    """Videos of several classes, each in one of a few groups."""
    videos = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1))
    return [Member(f"v{n}", f"class {c}", (1, f"g{g}")) for n, (c, g) in enumerate(videos)]


def count_by_class(members, subsets):
    counts = defaultdict(Counter)
    for member in members:
        counts[member.class_name][subsets[member.id]] += 1
    return counts


@given(counts=CLASSES, fractions=draw_fractions(), seed=st.integers(0, 9))
def test_each_class_is_divided_to_within_one_video(counts, fractions, seed):
    # With fewer, a subset is filled with a video that rounding would give to another.
    assume(all(sum(counts) * f >= len(counts) + 2 for f in fractions.values()))
    members = make_members(counts)
    assignment = assign_subsets(members, fractions, seed)
    assert set(assignment.subsets) == {member.id for member in members}
    found = count_by_class(members, assignment.subsets)
    for c, count in enumerate(counts):
        for name, fraction in fractions.items():
            if count == 1 and len(counts) > 1:
                assert found[f"class {c}"] == {"train": 1}
            else:
                assert abs(found[f"class {c}"][name] - fraction * count) < 1 + 1e-6


@given(members=draw_grouped_members(), fractions=draw_fractions(), seed=st.integers(0, 9))
def test_groups_are_not_cut_and_each_video_has_one_subset(members, fractions, seed):
    assignment = assign_subsets(members, fractions, seed)
    assert set(assignment.subsets) == {member.id for member in members}
    assert set(assignment.subsets.values()) <= set(fractions)
    subsets_of_group = defaultdict(set)
    for member in members:
        subsets_of_group[member.group].add(assignment.subsets[member.id])
    assert all(len(found) == 1 for found in subsets_of_group.values())


@given(members=draw_grouped_members(), fractions=draw_fractions(), seed=st.integers(0, 9))
def test_classes_of_one_group_are_in_train(members, fractions, seed):
    assignment = assign_subsets(members, fractions, seed)
    groups = defaultdict(set)
    for member in members:
        groups[member.class_name].add(member.group)
    lone = {name for name, found in groups.items() if len(found) == 1 and len(groups) > 1}
    assert assignment.lone_classes == lone
    for member in members:
        if member.class_name in lone:
            assert assignment.subsets[member.id] == "train"


@given(
    members=draw_grouped_members(),
    fractions=draw_fractions(),
    seed=st.integers(0, 9),
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_videos_does_not_matter(members, fractions, seed, random):
    shuffled = random.sample(members, len(members))
    assert assign_subsets(members, fractions, seed) == assign_subsets(shuffled, fractions, seed)


@given(sizes=st.lists(st.integers(1, 12), min_size=3, max_size=40), seed=st.integers(0, 9))
def test_groups_of_one_class_miss_a_fraction_by_less_than_the_largest_group(sizes, seed):
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    assume(min(fractions.values()) * sum(sizes) >= max(sizes))  # nothing needs to be filled
    members = [
        Member(f"{g}/{n}", "one", (1, f"{g}")) for g, size in enumerate(sizes) for n in range(size)
    ]
    found = Counter(assign_subsets(members, fractions, seed).subsets.values())
    for name, fraction in fractions.items():
        assert abs(found[name] - fraction * len(members)) < max(sizes)


def test_many_small_classes_fill_all_subsets_in_proportion():
    found = Counter(assign_subsets(make_members([3] * 100), FRACTIONS, 0).subsets.values())
    assert found == {"train": 240, "val": 30, "test": 30}


@given(counts=st.lists(st.integers(2, 20), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_thirds_divide_multiples_of_three_equally(counts, seed):
    """Their shares in billionths are rounded."""
    members = make_members(counts)
    for fractions in ({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, {"a": 2 / 3, "b": 1 / 3}):
        assignment = assign_subsets(members, fractions, seed)
        found = count_by_class(members, assignment.subsets)
        assume(set(assignment.subsets.values()) == set(fractions))
        for c, count in enumerate(counts):
            for name, fraction in fractions.items():
                if count % 3 == 0 and len(counts) > 1:
                    assert found[f"class {c}"][name] == round(count * fraction)


def test_known_division():
    # Fixed, so that another machine, Python or version would be noticed.
    subsets = assign_subsets(make_members([10]), FRACTIONS, 0).subsets
    assert [id for id, name in subsets.items() if name == "val"] == ["0/5"]
    assert [id for id, name in subsets.items() if name == "test"] == ["0/7"]


def test_seeds_give_different_divisions():
    members = make_members([20])
    found = {
        frozenset(id for id, name in assign_subsets(members, FRACTIONS, seed).subsets.items()
                  if name == "test")
        for seed in range(8)
    }  # fmt: skip
    assert len(found) > 4


def test_a_larger_class_keeps_most_videos_in_their_subset():
    before = assign_subsets(make_members([100]), FRACTIONS, 0).subsets
    after = assign_subsets(make_members([110]), FRACTIONS, 0).subsets
    assert sum(after[id] != name for id, name in before.items()) <= 20


def test_three_groups_fill_three_subsets():
    members = [Member(f"v{n}", "one", (1, f"g{n % 3}")) for n in range(30)]
    assert Counter(assign_subsets(members, FRACTIONS, 0).subsets.values()) == {
        "train": 10, "val": 10, "test": 10
    }  # fmt: skip


def test_equal_groups_of_all_classes_are_divided_like_videos():
    # As in UCF101: 25 groups, each with some videos of each class.
    members = [
        Member(f"{c}/{g}/{n}", f"class {c}", (1, f"g{g:02}"))
        for c in range(6) for g in range(25) for n in range(4 + (c + g) % 3)
    ]  # fmt: skip
    found = count_by_class(members, assign_subsets(members, FRACTIONS, 0).subsets)
    for counts in found.values():
        assert math.isclose(counts["train"] / counts.total(), 0.8, abs_tol=0.05)
        assert counts["val"] > 0
        assert counts["test"] > 0
