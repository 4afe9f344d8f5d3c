import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.annotations.label_files.matching import match_rows, normalize_path

names = st.sampled_from("ab")
paths = st.lists(
    st.tuples(st.lists(names, max_size=3), names, st.sampled_from(["", ".mp4", ".avi"])).map(
        lambda parts: "/".join([*parts[0], parts[1] + parts[2]])
    ),
    unique=True,
    max_size=8,
)


@given(paths, paths)
def test_each_row_and_each_video_is_counted_once(rows: list[str], videos: list[str]) -> None:
    matches = match_rows(rows, videos)
    used = [row for row in matches.row_by_video if row >= 0]
    assert len(used) == len(set(used)) == sum(matches.counts.values())
    in_conflicts = {row for group in matches.ambiguous_videos.values() for row in group}
    accounted = [*used, *matches.missing, *matches.ambiguous_rows, *in_conflicts]
    assert sorted(accounted) == list(range(len(rows)))
    for row, group in matches.ambiguous_rows.items():
        assert len(group) > 1
        assert all(matches.row_by_video[video] < 0 for video in group), (row, group)
    for video, group in matches.ambiguous_videos.items():
        assert len(group) > 1
        assert matches.row_by_video[video] < 0


@given(paths, paths)
def test_equal_paths_always_match(rows: list[str], videos: list[str]) -> None:
    matches = match_rows(rows, videos)
    for video, path in enumerate(videos):
        if path in rows:
            assert matches.row_by_video[video] == rows.index(path)


@given(paths, paths, st.randoms())
def test_the_order_does_not_matter(
    rows: list[str], videos: list[str], random: st.DataObject
) -> None:
    def describe(rows: list[str], videos: list[str]) -> dict[str, str]:
        matches = match_rows(rows, videos)
        pairs = zip(videos, matches.row_by_video, strict=True)
        return {video: rows[row] for video, row in pairs if row >= 0}

    shuffled_rows, shuffled_videos = rows.copy(), videos.copy()
    random.shuffle(shuffled_rows)  # type: ignore[attr-defined]
    random.shuffle(shuffled_videos)  # type: ignore[attr-defined]
    assert describe(rows, videos) == describe(shuffled_rows, shuffled_videos)


@pytest.mark.parametrize(
    ("rows", "videos", "expected", "ambiguous_rows", "ambiguous_videos"),
    [
        # A folder that the row names must be that of the video …
        (["train/a.mp4", "val/a.mp4"], ["train/a.mp4"], {"train/a.mp4": "train/a.mp4"}, [], []),
        (["train/a.mp4", "b.mp4"], ["val/a.mp4", "val/b.mp4"], {"val/b.mp4": "b.mp4"}, [], []),
        # … unless no row at all is found with its folder.
        (["old/a.mp4"], ["new/a.mp4"], {"new/a.mp4": "old/a.mp4"}, [], []),
        (["old/a"], ["new/a.mp4"], {"new/a.mp4": "old/a"}, [], []),
        # The better fit is taken first.
        (["a.mp4", "x/a.mp4"], ["x/a.mp4", "a.mp4"],
         {"a.mp4": "a.mp4", "x/a.mp4": "x/a.mp4"}, [], []),
        (["/data/x/a.mp4"], ["a.mp4", "x/a.mp4"], {"x/a.mp4": "/data/x/a.mp4"}, [], []),
        # What shares more of the path is the better fit, whichever path is longer.
        (["x/a.mp4"], ["a.mp4", "y/x/a.mp4"], {"y/x/a.mp4": "x/a.mp4"}, [], []),
        (["x/a.mp4"], ["a.mp4", "y/x/a.mp4", "z/x/a.mp4"], {}, ["x/a.mp4"], []),
        # Another extension, and dots that begin none.
        (["a.avi", "b.1"], ["a.mp4", "b.1.mp4"], {"a.mp4": "a.avi", "b.1.mp4": "b.1"}, [], []),
        (["v.2"], ["v.1", "x/v.2"], {"x/v.2": "v.2"}, [], []),
        # Several fit equally well.
        (["a"], ["x/a.mp4", "y/a.mp4"], {}, ["a"], []),
        (["a"], ["a.mp4", "a.avi"], {}, ["a"], []),
        (["a", "d/x/a"], ["x/a.mp4", "y/a.mp4"],
         {"x/a.mp4": "d/x/a", "y/a.mp4": "a"}, [], []),
        (["a", "d/x/a"], ["x/a.mp4", "y/a.mp4", "z/a.mp4"], {"x/a.mp4": "d/x/a"}, ["a"], []),
        (["/d/p/x/a", "x/a", "a"], ["p/x/a.mp4", "q/x/a.mp4", "q/y/a.mp4"],
         {"p/x/a.mp4": "/d/p/x/a", "q/x/a.mp4": "x/a", "q/y/a.mp4": "a"}, [], []),
        (["1/a.mp4", "2/a.mp4"], ["a.mp4"], {}, [], ["a.mp4"]),
        (["a", "a.avi"], ["x/a.mp4"], {}, [], ["x/a.mp4"]),
        # Case counts: identifiers of YouTube differ only by it.
        (["AbC"], ["abc.mp4"], {}, [], []),
    ],
)  # fmt: skip
def test_which_video_a_row_means(
    rows: list[str],
    videos: list[str],
    expected: dict[str, str],
    ambiguous_rows: list[str],
    ambiguous_videos: list[str],
) -> None:
    matches = match_rows(rows, videos)
    found = {v: rows[r] for v, r in zip(videos, matches.row_by_video, strict=True) if r >= 0}
    assert found == expected
    assert [rows[row] for row in matches.ambiguous_rows] == ambiguous_rows
    assert [videos[video] for video in matches.ambiguous_videos] == ambiguous_videos


def test_paths_beside_the_label_file_come_first() -> None:
    matches = match_rows(["0.mp4"], ["0.mp4", "train/0.mp4"], folder="train")
    assert matches.row_by_video == [-1, 0]
    matches = match_rows(["0.mp4"], ["0.mp4", "\u00e9/0.mp4"], folder="e\u0301")
    assert matches.row_by_video == [-1, 0]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("./a//b/./c.mp4", "a/b/c.mp4"),
        (r"a\b.mp4", "a/b.mp4"),
        ("a../b", "a../b"),
        ("e\u0301", "\u00e9"),
        ("/a", "/a"),
    ],
)
def test_normalized_paths(path: str, expected: str) -> None:
    assert normalize_path(path) == expected
