import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from train.evaluation.average_precision import (
    compute_charades_precisions,
    convert_and_check,
    measure_average_precision,
)
from train.runs.run import RunError

# Five videos, three classes. Class 0, best first: video 0 (yes), 1 (no), 2 (yes), 3 (no), 4 (no);
# its precisions at positives are 1/1 and 2/3. Class 1 ranks 4 (no), 3 (yes), 2 (no), 1 (yes),
# 0 (yes): 1/2, 2/4, 3/5. Class 2 has no positive. Every video but the last has a label.
SCORES = np.array(
    [[9, 1, 0], [8, 2, 1], [7, 3, 2], [6, 4, 3], [5, 5, 4]], np.float32
)  # fmt: skip
TARGETS = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
FIRST = (1 + 2 / 3) / 2
SECOND = (1 / 2 + 2 / 4 + 3 / 5) / 3
# Official: video 4 has no label and so ranks last: 3 (yes), 2 (no), 1 (yes), 0 (yes), 4.
SECOND_CHARADES = (1 / 1 + 2 / 3 + 3 / 4) / 3


def transcribe(scores, targets):
    """The definition of Charades, word by word: (C,)."""
    scores = scores.astype(float)
    for n in range(len(scores)):
        if targets[n].sum() == 0:
            scores[n] = -np.inf
    result = []
    for c in range(scores.shape[1]):
        videos = sorted(range(len(scores)), key=lambda n: (-scores[n, c], targets[n, c]))
        hits, precisions = 0, []
        for rank, n in enumerate(videos, 1):
            if targets[n, c]:
                hits += 1
                precisions.append(hits / rank)
        result.append(sum(precisions) / len(precisions) if precisions else np.nan)
    return np.array(result)


def draw_targets():
    return arrays(np.int64, (7, 4), elements=st.integers(0, 1))


def test_both_definitions_by_hand():
    metrics = measure_average_precision(SCORES, TARGETS)
    assert metrics == {
        "mAP": pytest.approx((FIRST + SECOND_CHARADES) / 2),
        "wAP": pytest.approx((2 * FIRST + 3 * SECOND_CHARADES) / 5),
        "mAP_sklearn": pytest.approx((FIRST + SECOND) / 2),
        "wAP_sklearn": pytest.approx((2 * FIRST + 3 * SECOND) / 5),
        "n": 5,
        "classes": 2,
    }
    assert all(type(value) in (float, int) for value in metrics.values())  # as JSON wants


def test_a_class_without_positives_is_nan_and_does_not_count():
    precisions = compute_charades_precisions(*convert_and_check(SCORES, TARGETS))
    np.testing.assert_allclose(precisions, [FIRST, SECOND_CHARADES, np.nan])
    alone = measure_average_precision(SCORES[:, :2], TARGETS[:, :2])
    assert alone == pytest.approx(measure_average_precision(SCORES, TARGETS))


def test_a_video_without_labels_ranks_last_in_the_definition_of_charades_only():
    # Ranked first: it costs scikit-learn's half of the precision, and that of Charades nothing.
    metrics = measure_average_precision([[2.0], [1.0]], [[0], [1]])
    assert (metrics["mAP"], metrics["mAP_sklearn"]) == (1, 0.5)
    # With a label of another class, it counts in both.
    metrics = measure_average_precision([[2.0, 0], [1.0, 0]], [[0, 1], [1, 0]])
    assert (metrics["classes"], metrics["mAP"]) == (2, 0.5)  # the tie in class 1 is lost, too


def test_equal_scores_never_help():
    # Two of four are positive, and all score the same: the positives are at ranks 3 and 4, with
    # precisions 1/3 and 2/4. scikit-learn has one threshold, with a precision of 2/4.
    targets = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    for order in ([0, 1, 2, 3], [1, 3, 0, 2], [2, 0, 3, 1]):
        metrics = measure_average_precision(np.zeros((4, 2)), targets[order])
        assert metrics["mAP"] == pytest.approx((1 / 3 + 2 / 4) / 2)
        assert metrics["mAP_sklearn"] == pytest.approx(2 / 4)


def test_a_perfect_ranking_is_1():
    metrics = measure_average_precision(TARGETS, TARGETS.astype(bool))
    assert [metrics[name] for name in ("mAP", "wAP", "mAP_sklearn", "wAP_sklearn")] == [1] * 4


@given(arrays(np.float32, (7, 4), elements=st.integers(-3, 3).map(float)), draw_targets())
def test_it_is_the_definition(scores, targets):
    expected = transcribe(scores, targets)
    np.testing.assert_allclose(
        compute_charades_precisions(*convert_and_check(scores, targets)), expected
    )
    if not targets.any():
        return
    metrics = measure_average_precision(scores, targets)
    counts = targets.sum(axis=0)
    assert metrics["mAP"] == pytest.approx(np.nanmean(expected))
    assert metrics["wAP"] == pytest.approx(np.nansum(expected * counts) / counts.sum())
    assert metrics["classes"] == (counts > 0).sum()


@given(arrays(np.int64, (7, 4), elements=st.integers(-99, 99), unique=True), draw_targets())
def test_without_ties_and_unlabelled_videos_the_definitions_agree(scores, targets):
    targets[:, 0] |= targets.sum(axis=1) == 0
    metrics = measure_average_precision(scores, targets)
    assert metrics["mAP"] == pytest.approx(metrics["mAP_sklearn"])
    assert metrics["wAP"] == pytest.approx(metrics["wAP_sklearn"])


@given(arrays(np.float64, (7, 4), elements=st.integers(-5, 5).map(float)), draw_targets())
def test_only_the_order_of_scores_matters(scores, targets):
    targets[0, 0] = 1
    expected = measure_average_precision(scores, targets)
    for transformed in (1 / (1 + np.exp(-scores)), 3 * scores - 100, scores**3):
        assert measure_average_precision(transformed, targets) == expected


def test_other_input_is_refused():
    with pytest.raises(ValueError, match=r"same shape .*got \(5, 3\) and \(5,\)"):
        measure_average_precision(SCORES, np.zeros(5))
    with pytest.raises(ValueError, match="same shape"):
        measure_average_precision(np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"targets of 0 and 1, got 0\.5"):
        measure_average_precision(SCORES, TARGETS / 2)
    for value in (np.nan, np.inf):
        broken = SCORES.copy()
        broken[3, 1] = value
        with pytest.raises(
            RunError, match=rf"1 are not finite, such as {value} for video 3, class 1"
        ):
            measure_average_precision(broken, TARGETS)
    with pytest.raises(RunError, match="got 5 videos without any"):
        measure_average_precision(SCORES, np.zeros((5, 3)))
