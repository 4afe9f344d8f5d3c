import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

from flowkit.annotations.table import Annotation, AnnotationTable, Label  # noqa: E402
from flowkit.datasets.loading import Batches  # noqa: E402
from flowkit.datasets.sampling import list_times, sample_middles  # noqa: E402
from flowkit.datasets.snippets import SnippetDataset  # noqa: E402
from flowkit.datasets.transforms import CentreCrop, MultiScaleCrop  # noqa: E402
from flowkit.datasets.windows import OVERRUN, WindowDataset  # noqa: E402
from flowkit.errors import StoreError, UsageError  # noqa: E402
from flowkit.store import (  # noqa: E402
    Store,
    annotations,
    rebuild_index,
    write_annotations,
)

IDS = [f"video {number}" for number in range(4)]
CLASSES = ("sit", "stand", "walk", "wave")
FPS = 10.0  # neither Charades' 24, nor what test videos usually have


@pytest.fixture
def store(make_store):
    """Videos of 30, 31, 32 and 33 frames: 3.0 to 3.3 s."""
    return make_store(IDS, frames=30, fps=FPS)


def label(store, *labels, subset="train", classes=CLASSES):
    """Give the videos these labels, and the last ones none."""
    rows = [
        Annotation(id, tuple(Label(*text) for text in texts), (subset,))
        for id, texts in zip(IDS, [*labels, *[[]] * (len(IDS) - len(labels))], strict=True)
    ]
    write_annotations(store, AnnotationTable(classes, tuple(rows)))
    rebuild_index(store)
    return Store(store)


class Watched(WindowDataset):
    """Notes which frames and fields it reads."""

    def read_images(self, video, row, stream, t):
        if stream == "rgb":
            self.frames.append(t)
        else:
            fields = list_times(t, self.flow_length, self.subset.count(row, "flow")).tolist()
            self.frames += [*fields, fields[-1] + 1]  # the last one leads to the frame after it
            self.fields.append(fields)
        return super().read_images(video, row, stream, t)

    def __getitem__(self, key):
        self.frames, self.fields = [], []
        return super().__getitem__(key)


def make_training(store, seconds, segments=3, kind=WindowDataset, **options):
    options = {"crops": MultiScaleCrop(size=8), "as_bytes": True, **options}
    return kind(store, "train", segments, seconds=seconds, training=True, **options)


# --- what a window is -----------------------------------------------------------------------------

times = st.integers(0, 29).map(lambda tenths: tenths / FPS)
intervals = st.tuples(st.sampled_from(CLASSES), times, times).map(
    lambda drawn: (drawn[0], min(drawn[1:]), max(drawn[1:]))
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
@given(
    st.lists(intervals, max_size=4),
    st.floats(0.01, 5),
    st.integers(1, 9),
    st.sampled_from([("rgb",), ("flow",), ("rgb", "flow")]),
    st.integers(1, 6),
)
def test_labels_are_those_of_the_window_and_frames_lie_in_it(
    store, labels, seconds, segments, streams, flow_length
):
    dataset = make_training(
        label(store, labels), seconds, segments, Watched, streams=streams, flow_length=flow_length
    )
    for epoch in range(3):
        sample = dataset[epoch, 0]
        first, stop = dataset.window((epoch, 0))
        least = flow_length + 1 if "flow" in streams else 1
        assert stop - first == min(30, max(least, round(seconds * FPS)))
        assert first >= 0 and stop <= 30
        assert dataset.frames and all(first <= t < stop for t in dataset.frames)
        # On a grid of tenths of a second, an interval and a window overlap if one of its own
        # tenths is a frame of the window.
        happening = {
            name
            for name, start, end in labels
            if set(range(round(start * FPS), round(end * FPS) + 1)) & set(range(first, stop))
        }
        assert sample["label"].dtype == torch.float32
        assert sample["label"].tolist() == [name in happening for name in CLASSES]


def test_times_are_counted_at_the_rate_of_the_stored_frames(make_store, tmp_path):
    # One and the same video, extracted at two rates: a window of 0.4 s, a label of all of 2–4 s.
    for fps, frames in ((10.0, 60), (5.0, 30)):
        root = make_store(IDS, root=tmp_path / f"{fps}", frames=frames, fps=fps, streams=("rgb",))
        store = label(root, [("walk", 2.0, 4.0)])
        dataset = make_training(store, 0.4, streams=("rgb",))
        for epoch in range(40):
            first, stop = dataset.window((epoch, 0))
            assert stop - first == 0.4 * fps
            inside = first / fps <= 4 and stop / fps > 2
            assert dataset[epoch, 0]["label"][2] == inside


def test_every_place_is_drawn(store):
    dataset = make_training(label(store), 2.8)
    firsts = [dataset.window((epoch, 0))[0] for epoch in range(60)]
    assert set(firsts) == {0, 1, 2}


def test_labels_without_times_count_everywhere(store):
    store = label(store, [("walk",), ("sit", 1.0, None), ("wave", None, 1.0)])
    dataset = make_training(store, 0.6)
    for epoch in range(20):
        first, stop = dataset.window((epoch, 0))
        assert dataset[epoch, 0]["label"].tolist() == [stop > 10, 0, 1, first <= 10]


def test_a_label_belongs_to_the_window_that_it_ends_in_and_not_to_one_that_it_begins_after(store):
    store = label(store, [("sit", 1.0, 1.0), ("stand", 0.0, 1.0), ("walk", 2.0, 2.9)])
    dataset = make_training(store, 1.0, streams=("rgb",))
    seen = {}
    for epoch in range(200):
        seen[dataset.window((epoch, 0))] = dataset[epoch, 0]["label"].tolist()
    assert seen[0, 10] == [0, 1, 0, 0]
    assert seen[10, 20] == [1, 1, 0, 0]
    assert seen[11, 21] == [0, 0, 1, 0]


def test_a_window_without_labels_is_a_sample(store):
    store = label(store, [], [("walk", 0.0, 0.1)])
    dataset = make_training(store, 0.6)
    assert not dataset[0, 0]["label"].any()
    labels = {
        (dataset.window((e, 1))[0] <= 1, dataset[e, 1]["label"].sum().item()) for e in range(40)
    }
    assert labels == {(True, 1), (False, 0)}


def test_a_shorter_video_is_one_window_as_snippets_have_it(store):
    store = label(store, [("walk", 1.0, 3.0 + OVERRUN)], [("sit", 0.0, 0.0), ("wave",)])
    windows = make_training(store, 60)
    snippets = SnippetDataset(
        store,
        "train",
        3,
        training=True,
        crops=MultiScaleCrop(size=8),
        multi_label=True,
        as_bytes=True,
    )
    for key in ((epoch, index) for epoch in range(2) for index in range(4)):
        assert windows.window(key) == (0, 30 + key[1])
        assert_equal(windows[key], snippets[key])


def test_testing_is_the_whole_video_as_snippets_have_it(store):
    store = label(store, [("walk", 1.0, 1.2), ("sit", 2.0, 2.9)])
    windows = Watched(store, "train", 4, seconds=0.5, crops=CentreCrop(8))
    snippets = SnippetDataset(store, "train", 4, multi_label=True, crops=CentreCrop(8))
    for index in range(4):
        assert_equal(windows[index], snippets[index])
        assert windows.window(index) == (0, 30 + index)
    assert windows[0]["label"].tolist() == [1, 0, 1, 0]
    assert [fields[0] for fields in windows.fields] == sample_middles(25, 4).tolist()


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0)


# --- snippets in a window -------------------------------------------------------------------------


def test_more_segments_than_places_share_them(store):
    # 8 frames have 7 fields, and so 3 places for snippets of 5.
    dataset = make_training(label(store), 0.8, 7, Watched)
    for epoch in range(5):
        assert dataset[epoch, 0]["flow"].shape == (7, 10, 8, 8)
        first, _ = dataset.window((epoch, 0))
        assert [fields[0] - first for fields in dataset.fields] == [0, 0, 0, 1, 1, 2, 2]


def test_a_window_shorter_than_a_snippet_is_as_long_as_one(store):
    dataset = make_training(label(store, [("walk", 0.0, 2.9)]), 0.01, 2, Watched)
    first, stop = dataset.window((3, 0))
    assert stop - first == 6
    sample = dataset[3, 0]
    assert dataset.fields == [list(range(first, first + 5))] * 2
    assert sample["label"].tolist() == [0, 0, 1, 0]


def test_videos_shorter_than_a_snippet_repeat_their_last_field(make_store, tmp_path):
    store = label(make_store(IDS, root=tmp_path / "short", frames=3, fps=FPS), [("walk", 0.0, 0.2)])
    dataset = make_training(store, 1.0, 2, Watched)
    sample = dataset[0, 0]
    assert dataset.window((0, 0)) == (0, 3)
    assert dataset.fields == [[0, 1, 1, 1, 1]] * 2
    assert sample["label"].tolist() == [0, 0, 1, 0]


def test_one_draw_moves_rgb_and_flow_together(store):
    store = label(store, [("walk", 1.0, 2.0)])
    both = make_training(store, 1.5, kind=Watched)
    flow = make_training(store, 1.5, streams=("flow",))
    for epoch in range(4):
        sample = both[epoch, 0]
        assert both.frames[::7] == [fields[0] for fields in both.fields]  # RGB, then 5 + 1
        assert flow.window((epoch, 0)) == both.window((epoch, 0))
        torch.testing.assert_close(flow[epoch, 0]["flow"], sample["flow"])


def test_training_draws_anew_each_epoch_and_the_same_in_each_worker(store):
    dataset = make_training(label(store, [("walk", 1.0, 2.0)], [("sit",)]), 0.8)
    keys = [(epoch, index) for epoch in range(3) for index in range(4)]
    assert len({dataset.window((epoch, 0)) for epoch in range(12)}) > 6
    assert dataset.window((0, 0)) != make_training(dataset.subset.store, 0.8, seed=1).window((0, 0))
    expected = [dataset[key] for key in keys]
    copy = pickle.loads(pickle.dumps(dataset))
    for key, wanted in zip(keys, expected, strict=True):
        assert_equal(copy[key], wanted)
    loader = DataLoader(dataset, sampler=keys[::-1], batch_size=None, num_workers=2)
    for sample, wanted in zip(loader, expected[::-1], strict=True):
        assert_equal(sample, wanted)


def test_windows_fill_batches(store):
    dataset = make_training(label(store, [("walk", 1.0, 2.0)]), 0.8)
    batch = Batches(dataset)[[(1, 0), (1, 2)]]
    assert batch["label"].shape == (2, 4) and batch["flow"].shape == (2, 3, 10, 8, 8)
    for i, index in enumerate((0, 2)):
        assert_equal({name: values[i] for name, values in batch.items()}, dataset[1, index])


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, -1.5, np.nan, np.inf])
def test_windows_have_a_length(store, seconds):
    with pytest.raises(UsageError, match=f"windows of more than 0 seconds.*got {seconds}"):
        make_training(store, seconds)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("start", "end"),
    [
        (3.1, 3.2),  # begins where the video ends
        (2.0, 1.0),
        (-1.0, 1.0),
        (1.0, 3.2 + OVERRUN),
        (None, -0.1),
        (9.0, None),
        (1.0, np.nan),
        (np.nan, 1.0),
    ],
)
def test_labels_at_times_that_are_not_in_their_video_are_errors(
    store, start, end, training, monkeypatch
):
    # Older versions also stored times that are not numbers.
    monkeypatch.setattr(annotations, "check_annotation_rows", lambda rows: None)
    store = label(store, [("walk", 1.0, 2.0)], [("sit", 0.0, 3.1 + OVERRUN), ("wave", start, end)])
    text = r"end at most 2 s after the video; 1 of 4 videos of subset 'train' have others " + (
        r"\('video 1' of 3.10 s has 'wave' from "
    )
    with pytest.raises(StoreError, match=text):
        WindowDataset(store, "train", 3, seconds=1, training=training)


def test_five_videos_are_named_and_others_counted(make_store, tmp_path):
    ids = [f"v{number}" for number in range(8)]
    root = make_store(ids, root=tmp_path / "eight", frames=3)
    rows = [
        Annotation(
            id, (Label("a", 7.0, 8.0), Label("a", 8.0, 9.0)), (("train", "test")[id == "v1"],)
        )
        for id in ids
    ]
    write_annotations(root, AnnotationTable(("a",), tuple(rows)))
    rebuild_index(root)
    with pytest.raises(StoreError) as caught:
        WindowDataset(root, "train", 3, seconds=1)
    text = str(caught.value)
    assert "7 of 7 videos" in text and "; and 2 more)" in text and "\n" not in text
    assert [id for id in ids if repr(id) in text] == ["v0", "v2", "v3", "v4", "v5"]
    assert text.count("from 7.00 to 8.00 s") == 5


def test_a_video_without_a_frame_rate_is_an_error(make_store, tmp_path):
    store = make_store(IDS, root=tmp_path / "still", fps=0.0)
    with pytest.raises(StoreError, match=r"have no frame rate.*\('video 1', 'video 2'\)"):
        WindowDataset(store, "train", 3, seconds=1)


def test_what_snippets_refuse_is_refused(store):
    with pytest.raises(UsageError, match="got 0 and 3"):
        make_training(store, 1, flow_length=0)
    with pytest.raises(UsageError, match="expected a subset"):
        WindowDataset(store, "val", 3, seconds=1)
