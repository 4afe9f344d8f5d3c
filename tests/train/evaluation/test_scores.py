import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from train.evaluation.scores import (
    Scores,
    combine_views,
    count_confusions,
    fuse_scores,
    load_scores,
    measure,
    measure_class_accuracies,
)  # fmt: skip
from train.runs.run import RunError

LABELS = np.array([0, 0, 0, 1, 2, 2])
SCORES = np.array(
    [[3, 1, 0], [2, 1, 0], [0, 1, 2], [0, 5, 1], [9, 1, 8], [0, 1, 2]], np.float32
)  # right: 1, 1, 0, 1, 0, 1


def make_scores(rng, ids=("a", "b", "c")):
    logits = rng.standard_normal((len(ids), 4)).astype(np.float32)
    return Scores(ids, np.arange(len(ids)), logits, np.abs(logits))


def test_accuracies_by_hand():
    metrics = measure(SCORES, LABELS)
    assert metrics["top1"] == pytest.approx(4 / 6)
    assert metrics["mean_class"] == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert metrics["top5"] == 1
    assert metrics["n"] == 6


def test_top5_counts_the_fifth_and_not_the_sixth():
    scores = np.tile(np.arange(8, dtype=np.float32)[::-1], (2, 1))
    assert measure(scores, np.array([4, 5]))["top5"] == 0.5


def test_a_network_that_says_the_same_of_all_classes_is_never_right():
    metrics = measure(np.zeros((6, 3), np.float32), LABELS)
    assert metrics["top1"] == metrics["mean_class"] == 0


def test_class_accuracies_average_to_the_class_mean_also_with_ties():
    scores = np.array([[1, 1, 0], [2, 1, 0], [0, 2, 2]], np.float32)
    labels = np.array([0, 0, 1])
    assert count_confusions(scores, labels).tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    accuracy = measure_class_accuracies(scores, labels)
    assert measure(scores, labels)["mean_class"] == pytest.approx(np.nanmean(accuracy))


def test_classes_without_videos_do_not_count_in_the_mean():
    labels = np.array([0, 0, 2])
    scores = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    assert measure(scores, labels)["mean_class"] == pytest.approx((0.5 + 1) / 2)
    accuracy = measure_class_accuracies(scores, labels)
    np.testing.assert_array_equal(accuracy, [0.5, np.nan, 1])
    assert count_confusions(scores, labels).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


@given(
    arrays(np.float32, (9, 6), elements=st.integers(-4, 4).map(float)),
    arrays(np.int64, 9, elements=st.integers(0, 5)),
)
def test_metrics_agree_with_a_sort(scores, labels):
    metrics = measure(scores, labels)
    worse = [
        [s for c, s in enumerate(row) if c != k] for row, k in zip(scores, labels, strict=True)
    ]
    own = scores[np.arange(9), labels]
    rank = np.array([sum(s >= o for s in row) for row, o in zip(worse, own, strict=True)])
    assert metrics["top1"] == pytest.approx((rank < 1).mean())
    assert metrics["top5"] == pytest.approx((rank < 5).mean())
    classes = [(rank[labels == k] < 1).mean() for k in np.unique(labels)]
    assert metrics["mean_class"] == pytest.approx(np.mean(classes))


def test_fusing_frame_by_frame_is_fusing_the_means():
    """§4.4 of the paper sums the scores of each frame, and then averages."""
    torch.manual_seed(0)
    rgb, flow = torch.randn(2, 7, 4)
    for over in ("logits", "softmax"):
        frames = [rgb, flow] if over == "logits" else [rgb.softmax(1), flow.softmax(1)]
        expected = (5 * frames[0] + frames[1]).mean(0)
        videos = [
            Scores(("a",), np.array([0]), *(kind[None] for kind in combine_views(views)))
            for views in (rgb, flow)
        ]
        fused = fuse_scores(*videos, (5, 1), over)
        np.testing.assert_allclose(fused.get_averages(over)[0], expected, rtol=1e-5, atol=1e-6)


def test_scores_of_other_videos_are_not_fused():
    rng = np.random.default_rng(0)
    with pytest.raises(RunError, match="different videos cannot be fused"):
        fuse_scores(make_scores(rng), make_scores(rng, ("a", "b", "d")), (1, 1))


def test_scores_come_back_from_their_file(tmp_path):
    scores = make_scores(np.random.default_rng(0), ("a/ü 1", "b", "c"))
    path = tmp_path / "iter_1" / "rgb.npz"
    scores.save(path)
    back = load_scores(path)
    assert back.ids == scores.ids
    for name in ("labels", "logits", "softmax"):
        np.testing.assert_array_equal(getattr(back, name), getattr(scores, name))
    path.write_bytes(b"no")
    for broken in (path, tmp_path / "absent.npz"):
        with pytest.raises(RunError, match=r"run flowkit evaluate (first|again)"):
            load_scores(broken)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.99])
def test_damaged_scores_end_in_one_line(tmp_path, share):
    path = tmp_path / "rgb.npz"
    make_scores(np.random.default_rng(0)).save(path)
    data = bytearray(path.read_bytes())
    bzip2 = bytearray(data)
    bzip2[data.index(b"PK\x01\x02") + 10] = 12  # a method of compression that is not theirs
    headers = data.replace(b"PK", b"\xff\x00", 2)
    for damaged in (data[: int(share * len(data))], headers, bzip2):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match="run flowkit evaluate again") as error:
            load_scores(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("pathlib.Path.read_bytes", PermissionError(13, "Permission denied"), "cannot read"),
        ("pathlib.Path.read_bytes", MemoryError(), "not enough memory"),
        ("numpy.load", MemoryError("Unable to allocate"), "not enough memory"),
    ],
)
def test_intact_scores_that_cannot_be_read_are_not_to_be_removed(
    tmp_path, monkeypatch, function, error, message
):
    def fail(*arguments, **options):
        raise error

    make_scores(np.random.default_rng(0)).save(tmp_path / "rgb.npz")
    monkeypatch.setattr(function, fail)
    with pytest.raises(RunError, match=message) as raised:
        load_scores(tmp_path / "rgb.npz")
    assert "remove" not in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"logits": np.zeros((2, 4), np.float32)},
        {"labels": np.arange(2)},
        {"softmax": np.zeros((3, 5), np.float32)},
        {"labels": np.array(["x", "y", "z"])},
        {"logits": np.zeros((3, 4), np.int64)},
    ],
)
def test_scores_that_do_not_fit_one_another(tmp_path, changes):
    path = tmp_path / "rgb.npz"
    scores = make_scores(np.random.default_rng(0))
    np.savez(path, **({name: getattr(scores, name) for name in
                       ("ids", "labels", "logits", "softmax")} | changes))  # fmt: skip
    with pytest.raises(RunError, match="expected scores"):
        load_scores(path)
