import pytest

from flowkit.errors import CorruptError
from flowkit.interchange.formats import stored_frames
from flowkit.interchange.formats.stored_frames import (
    BatchChecker,
    count_bytes,
    digest_video,
    list_frame_times,
    read_frames,
)
from flowkit.store import rebuild_index
from flowkit.store.reader import Store


@pytest.mark.parametrize("streams", [("rgb",), ("flow",), ("rgb", "flow")])
@pytest.mark.parametrize("per_read", [1, 3, 64])
def test_frames_are_those_of_the_store(make_store, monkeypatch, streams, per_read):
    monkeypatch.setattr(stored_frames, "FRAMES_PER_READ", per_read)
    store = Store(make_store(("a", "b"), streams=streams))
    for id in store:
        video = store[id]
        frames = list(read_frames(store, video))
        assert [frame.t for frame in frames] == list(range(video.num_frames))
        for frame in frames:
            rgb = video.rgb_bytes(frame.t) if "rgb" in streams else None
            has_flow = "flow" in streams and frame.t < video.num_flow
            flow = video.flow_bytes(frame.t) if has_flow else (None, None)
            assert (frame.rgb, frame.flow_x, frame.flow_y) == (rgb, *flow)
        written = sum(len(data) for frame in frames for data in frame[1:] if data is not None)
        assert count_bytes(store, video, ("rgb", "flow")) == written


def test_flow_may_be_absent_at_any_frame(stores, make_root):
    """Backward flow has no partner at the first frames."""
    rows = stores.draw_rows(3, 5)
    rows = [
        (rgb, None, None) if t in (0, 1) else (rgb, b"x", b"y") for t, (rgb, *_) in enumerate(rows)
    ]
    root = make_root({"a": rows, "b": stores.draw_rows(4, 2)})
    rebuild_index(root)
    store = Store(root)
    assert [frame[1:] for frame in read_frames(store, store["a"])] == rows


def test_times_are_microseconds(make_store, tmp_path):
    store = Store(make_store(("a",), frames=4, fps=30000 / 1001))
    assert list_frame_times(store["a"]) == [0, 33367, 66733, 100100]
    root = make_store(("a",), root=tmp_path / "times", frames=3, times=lambda t: 7 * t * t)
    assert list_frame_times(Store(root)["a"]) == [0, 7, 28]


@pytest.mark.parametrize("column", [0, 1])
def test_a_changed_byte_is_found(make_store, column):
    root = make_store(("a", "b"))
    data = Store(root)["b"].flow_bytes(1)[column]
    (shard,) = (root / "frames").glob("*.arrow")
    content = bytearray(shard.read_bytes())
    content[content.index(data) + len(data) // 2] ^= 1
    shard.write_bytes(content)
    store = Store(root)
    checker = BatchChecker(store)
    checker.check_video(store["a"], ("rgb", "flow"))
    with pytest.raises(CorruptError, match=r"checksum mismatch in column flow_.*verify --repair"):
        checker.check_video(store["b"], ("rgb", "flow"))


def test_digests_tell_labels_and_subsets_apart(make_store, annotate):
    root = make_store(("a", "b"))

    def digest():
        store = Store(root)
        return digest_video(store["a"], store.classes)

    found = set()
    for row in (
        ([("wave",)], ["train"]),
        ([("wave",)], ["test"]),
        ([("wave", 0.0, 1.0)], ["test"]),
        ([("wave", 0.0, 1.5)], ["test"]),
        ([], ["test"]),
    ):
        annotate(root, {"a": row})
        found.add(digest())
    assert len(found) == 5
