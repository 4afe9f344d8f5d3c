import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowkit.errors import FlowError
from flowkit.flow import dequantize, from_denseflow, quantize, to_denseflow

BOUNDS = st.sampled_from([1.0, 15.0, 20.0, 32.0, 0.37])
FLOWS = hnp.arrays(
    np.float32, hnp.array_shapes(max_dims=3, max_side=6), elements=st.floats(-100, 100, width=32)
)


def quantize_reference(flow, bound):
    """One value at a time, in exact rational steps of Python."""
    out = []
    for v in flow.ravel().tolist():
        x = 127 * min(max(v, -bound), bound) / bound
        out.append(128 + (int(x + 0.5) if x >= 0 else -int(-x + 0.5)))
    return np.array(out, np.int64).reshape(flow.shape)


@given(FLOWS, BOUNDS)
def test_quantize_is_the_reference_but_for_ties_in_float32(flow, bound):
    q = quantize(flow, bound)
    assert q.dtype == np.uint8
    assert q.shape == flow.shape
    exact = 127 * np.clip(flow.astype(np.float64), -bound, bound) / bound
    tie = np.abs(np.abs(exact % 1) - 0.5) < 1e-4
    np.testing.assert_array_equal(q[~tie], quantize_reference(flow, bound)[~tie])
    assert (np.abs(q.astype(int) - quantize_reference(flow, bound)) <= 1).all()


@given(FLOWS, BOUNDS)
def test_restores_within_half_a_step(flow, bound):
    restored = dequantize(quantize(flow, bound), bound)
    assert restored.dtype == np.float32
    clipped = np.clip(flow, -bound, bound)
    assert np.abs(restored - clipped).max() <= bound / 254 * (1 + 1e-4)


@given(FLOWS, BOUNDS)
def test_a_flip_of_direction_is_256_minus_q(flow, bound):
    q = quantize(flow, bound)
    np.testing.assert_array_equal(quantize(-flow, bound), 256 - q.astype(int))
    np.testing.assert_array_equal(
        dequantize((256 - q.astype(int)).astype(np.uint8), bound), -dequantize(q, bound)
    )


@given(BOUNDS)
def test_every_byte_comes_back_as_itself(bound):
    q = np.arange(1, 256, dtype=np.uint8)
    np.testing.assert_array_equal(quantize(dequantize(q, bound), bound), q)
    q = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_denseflow(from_denseflow(q, bound), bound), q)


@given(st.floats(0.01, 1000))
def test_zero_is_128_for_every_bound(bound):
    zero = np.zeros(1, np.float32)
    assert quantize(zero, bound) == to_denseflow(zero, bound) == 128
    assert dequantize(quantize(zero, bound), bound) == 0


def test_landmarks():
    flow = np.array([0, -0.0, 20, -20, 1e9, -np.inf, 10, -10], np.float32)
    assert quantize(flow).tolist() == [128, 128, 255, 1, 255, 1, 192, 64]  # 63.5 rounds away from 0
    assert dequantize(np.array([128, 0, 1, 255], np.uint8)).tolist() == [0, -20, -20, 20]
    assert to_denseflow(np.array([0, 20, -20, 25, -25], np.float32)).tolist() == [
        128,
        255,
        0,
        255,
        0,
    ]
    assert from_denseflow(np.array([128], np.uint8))[0] == pytest.approx(20 / 255)


@pytest.mark.parametrize("function", [quantize, to_denseflow])
@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (np.array([[0, np.nan]], np.float32), "NaN, got 1 of 2"),
        (np.zeros(3), "float32 array, got float64"),
        ([0.0], "float32 array, got list"),
    ],
)
def test_refuses_what_is_no_flow(function, flow, message):
    with pytest.raises(FlowError, match=message):
        function(flow)


@pytest.mark.parametrize("function", [dequantize, from_denseflow])
def test_refuses_what_are_no_bytes(function):
    with pytest.raises(FlowError, match="uint8 array, got int64"):
        function(np.array([1, 2]))


@pytest.mark.parametrize("bound", [0, -1, float("nan"), float("inf")])
def test_refuses_senseless_bounds(bound):
    with pytest.raises(FlowError, match="bound must be positive"):
        quantize(np.zeros(1, np.float32), bound)
    with pytest.raises(FlowError, match="bound must be positive"):
        dequantize(np.zeros(1, np.uint8), bound)


def test_input_stays_as_it_was():
    flow = np.array([3, 50], np.float32)
    quantize(flow)
    to_denseflow(flow)
    assert flow.tolist() == [3, 50]
