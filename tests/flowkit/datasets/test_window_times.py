"""Windows of videos whose frame rate varies, and of flow of any step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from flowkit.annotations import explicit_files
from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.datasets.windows import OVERRUN, WindowDataset, draw_window
from flowkit.errors import StoreError
from flowkit.extraction import Options, extract
from flowkit.recipe import Resize, RGBRecipe, StoreRecipe
from flowkit.store import Store, rebuild_index, write_annotations
from tests.flowkit.datasets.test_windows import (
    CLASSES,
    FPS,
    IDS,
    Watched,
    assert_equal,
    label,
    make_training,
)

MILLISECONDS = [20 * k for k in range(50)] + [1000 + 200 * k for k in range(11)]
"""A second at 50 frames per second, then two seconds at 5, on average 20."""
CLIP = "variable.mkv"
"""Its header states 25 frames per second, as those of Matroska may."""


@pytest.fixture(scope="module")
def variable_root(tmp_path_factory, make_clip):
    """A store of a clip whose frame rate varies, as `flowkit extract` makes it."""
    folder = tmp_path_factory.mktemp("variable")
    clip = make_clip(folder / CLIP, times=MILLISECONDS, width=32, height=32)
    recipe = StoreRecipe(resize=Resize(mode="none"), rgb=RGBRecipe())
    options = Options(workers=0, streams=("rgb",))
    extract(explicit_files([clip]), folder / "S", recipe, options)
    return folder / "S"


def label_first(root, *labels):
    rows = (Annotation(CLIP, tuple(Label(*text) for text in labels), ("train",)),)
    write_annotations(root, AnnotationTable(CLASSES, rows))
    rebuild_index(root)
    return Store(root)


def test_a_label_at_two_seconds_is_at_the_frames_of_two_seconds(variable_root):
    store = label_first(variable_root, ("walk", 2.0, 2.0))
    assert store[CLIP].find_frame(2.0) == 55  # at the stated rate it would be frame 50
    dataset = make_training(store, 0.4, kind=Watched, streams=("rgb",))
    seen = set()
    for epoch in range(300):
        first, stop = dataset.window((epoch, 0))
        has_label = bool(dataset[epoch, 0]["label"][2])
        assert has_label == (54 <= first <= 55 or (first == 53 and stop == 56)), (first, stop)
        assert all(first <= t < stop for t in dataset.frames)
        seen.add(has_label)
    assert seen == {True, False}


def test_windows_last_their_seconds_whatever_the_frame_rate_is_there(variable_root):
    dataset = make_training(label_first(variable_root), 1.0, streams=("rgb",))
    lengths = dict(dataset.window((epoch, 0)) for epoch in range(400))
    assert set(lengths) == set(range(56))  # each frame from which a second remains
    assert (lengths[0], lengths[50], lengths[55]) == (50, 55, 60)
    bounds = np.array([*MILLISECONDS, 3050])
    for first, stop in lengths.items():
        assert abs(bounds[stop] - bounds[first] - 1000) <= 100


def test_labels_are_checked_against_the_true_duration(variable_root):
    # The average rate of a container can be wrong; the duration is that of the frames: 3.05 s.
    store = label_first(variable_root, ("walk", 3.04, 3.05 + OVERRUN))
    WindowDataset(store, "train", 3, seconds=1, streams=("rgb",))
    store = label_first(variable_root, ("walk", 3.06, 3.07))
    with pytest.raises(StoreError, match=r"of 3.05 s has 'walk' from 3.06 to 3.07 s"):
        WindowDataset(store, "train", 3, seconds=1, streams=("rgb",))


def test_true_times_of_a_constant_rate_change_nothing(make_store, tmp_path):
    """Samples of a store of an older version and of a newer one are the same."""
    labels = [("walk", 1.0, 2.0)], [("sit", 0.35, 0.5)]
    roots = [
        make_store(IDS, root=tmp_path / f"{n}", frames=30, fps=FPS, times=times)
        for n, times in enumerate((None, lambda t: 100_000 * t + t % 3 * 300))
    ]
    older, newer = (make_training(label(root, *labels), 0.75) for root in roots)
    for key in ((epoch, index) for epoch in range(20) for index in range(2)):
        assert older.window(key) == newer.window(key)
        assert_equal(older[key], newer[key])


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=30),
    st.floats(1e-3, 30),
    st.integers(1, 8),
    st.integers(0, 1000),
)
def test_drawn_windows_are_in_the_video(gaps, seconds, shortest, seed):
    bounds = np.concatenate([[0], np.cumsum(gaps)]) / 1e6
    first, stop = draw_window(bounds, seconds, shortest, np.random.default_rng(seed))
    assert 0 <= first < stop <= len(gaps)
    assert stop - first >= min(shortest, len(gaps) - first)
    if first:  # the whole window is in the video, and so are the shortest frames
        assert bounds[first] + seconds <= bounds[-1] + 1e-9 and first + shortest <= len(gaps)
    nearest = min(abs(bounds - bounds[first] - seconds))
    if stop - first > shortest:
        assert abs(bounds[stop] - bounds[first] - seconds) == nearest


@pytest.mark.parametrize("step", [3, -1, -2])
def test_flow_of_any_step_is_in_the_window(make_store, tmp_path, step):
    root = make_store(IDS, root=tmp_path / "step", frames=14, fps=FPS, step=step)
    dataset = make_training(label(root, [("walk", 0.5, 0.6)]), 0.8, 2, Watched, flow_length=2)
    for epoch in range(40):
        sample = dataset[epoch, 0]
        first, stop = dataset.window((epoch, 0))
        assert stop - first == 8
        for fields in dataset.fields:
            assert all(first <= t < stop and first <= t + step < stop for t in fields)
        assert bool(sample["label"][2]) == (first <= 6 and stop > 5)
