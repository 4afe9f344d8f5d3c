"""The Numba solver against plain NumPy, whole and kernel by kernel."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flowkit.flow import PRESETS, TVL1Params, quantize, tvl1
from flowkit.flow.cpu.iterate import DEPTH, iterate, sweep
from flowkit.flow.cpu.state import INV, IX, IY, LEFT, P11, P22, RHO, U1, U2, make_state
from flowkit.flow.cpu.tvl1 import quantize_planes
from flowkit.flow.cpu.warp import make_warpable, warp

FLT_EPSILON = 2.0**-23


def texture(height, width, shift=(0.0, 0.0), seed=0):
    """A smooth random texture in 0–255, sampled at x + shift."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x + shift[0], y + shift[1]
    random = np.random.default_rng(seed)
    out = np.zeros((height, width))
    for _ in range(12):
        kx, ky, phase = random.normal(0, 0.35), random.normal(0, 0.35), random.uniform(0, 6.3)
        out += np.cos(kx * x + ky * y + phase)
    return np.clip(128 + 20 * out, 0, 255).astype(np.float32)


# --- the plain solver, float64, one array operation a line --------------------------------


def gradient_forward(u):
    ux, uy = np.zeros_like(u), np.zeros_like(u)
    ux[:, :-1] = u[:, 1:] - u[:, :-1]
    uy[:-1] = u[1:] - u[:-1]
    return ux, uy


def divergence(px, py):
    return np.diff(px, axis=1, prepend=0) + np.diff(py, axis=0, prepend=0)


def gradient_central(image):
    padded = np.pad(image, 1, mode="edge")
    dx = 0.5 * (padded[1:-1, 2:] - padded[1:-1, :-2])
    dy = 0.5 * (padded[2:, 1:-1] - padded[:-2, 1:-1])
    return dx, dy


def cubic(distance):
    d, a = np.abs(distance), -0.75
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def warp_reference(image, u, v):
    height, width = image.shape
    y, x = np.mgrid[:height, :width] + np.stack([v, u])
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    out = np.zeros((height, width))
    for j in range(-1, 3):
        for i in range(-1, 3):
            tx, ty = x0 + i, y0 + j
            inside = (tx >= 0) & (tx < width) & (ty >= 0) & (ty < height)
            tap = image[ty.clip(0, height - 1), tx.clip(0, width - 1)]
            out += cubic(x - tx) * cubic(y - ty) * np.where(inside, tap, 0)
    return out


def iterate_once(u, p, linear, params):
    """One iteration; u: two arrays, p: two pairs of arrays; returns the new ones and Σ|Δu|²."""
    ix, iy, rho0 = linear
    square = ix**2 + iy**2
    rho = rho0 + ix * u[0] + iy * u[1]
    bound = params.lambda_ * params.theta
    slope = np.where(square > FLT_EPSILON, -rho / np.maximum(square, FLT_EPSILON), 0)
    slope = slope.clip(-bound, bound)
    v = [u[0] + slope * ix, u[1] + slope * iy]
    new_u = [v[i] + params.theta * divergence(*p[i]) for i in range(2)]
    change = sum(((new_u[i] - u[i]) ** 2).sum() for i in range(2))
    new_p, taut = [], params.tau / params.theta
    for i in range(2):
        ux, uy = gradient_forward(new_u[i])
        norm = 1 + taut * np.hypot(ux, uy)
        new_p.append(((p[i][0] + taut * ux) / norm, (p[i][1] + taut * uy) / norm))
    return new_u, new_p, change


def iterate_reference(u, p, linear, params):
    """OpenCV's CUDA schedule, as its loop counts it."""
    tolerance = params.epsilon**2 * u[0].size
    previous, n = 0.0, 0
    while n < params.iterations:
        u, p, change = iterate_once(u, p, linear, params)
        if n % 2 == 1 and previous < tolerance:
            previous = change
            if change <= tolerance:
                return u, p, n + 1
        else:
            previous -= tolerance
        n += 1
    return u, p, n


def filter_reference(plane, side):
    padded = np.pad(plane, side // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    return np.median(windows, axis=(2, 3))


def tvl1_reference(frame0, frame1, params):
    levels0, levels1 = [frame0.astype(np.float32)], [frame1.astype(np.float32)]
    while len(levels0) < params.scales:
        height, width = (round(side * params.scale_step) for side in levels0[-1].shape)
        if min(height, width) < params.min_side:
            break
        for levels in (levels0, levels1):
            s = params.scale_step
            levels.append(cv2.resize(levels[-1], None, fx=s, fy=s, interpolation=cv2.INTER_LINEAR))
    u = [np.zeros(levels0[-1].shape)] * 2
    finest = levels0[0]
    for i0, i1 in zip(levels0[::-1], levels1[::-1], strict=True):
        if u[0].shape != i0.shape:
            u = [cv2.resize(x, i0.shape[::-1]) / params.scale_step for x in u]
        i1 = i1.astype(np.float64)
        dx, dy = gradient_central(i1)
        p = [(np.zeros(i0.shape), np.zeros(i0.shape))] * 2
        warps, side = params.warps, params.median_side
        if i0 is finest:
            warps = params.finest_warps or warps
            side = params.finest_median_side or side
        for _ in range(warps):
            ix, iy = warp_reference(dx, *u), warp_reference(dy, *u)
            rho0 = warp_reference(i1, *u) - ix * u[0] - iy * u[1] - i0
            u, p, _ = iterate_reference(u, p, (ix, iy, rho0), params)
        u = [filter_reference(x, side) for x in u]
    return np.stack(u, axis=-1)


# --- the whole ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(33, 20), (16, 90), (30, 41)])
@pytest.mark.parametrize("preset", PRESETS)
def test_solver_is_the_reference(size, preset):
    frame0, frame1 = texture(*size), texture(*size, shift=(-1.3, 0.6))
    # A fixed number of iterations: near ε, float32 and float64 may stop at different ones.
    # The stops themselves are tested below. Sizes of few levels: over six and more, noise of
    # 1e-5 grey levels moves the reference itself by 0.01 px on average, at pixels without a match.
    params = replace(PRESETS[preset], epsilon=1e-9, finest_epsilon=None, iterations=30)
    expected = tvl1_reference(frame0, frame1, params)
    actual = tvl1(frame0, frame1, params, "numba")
    distance = np.linalg.norm(actual - expected, axis=-1)
    assert np.median(distance) < 1e-4
    assert distance.mean() < 2e-3


def test_finds_a_known_shift():
    flow = tvl1(texture(64, 64), texture(64, 64, shift=(-2.5, 1.5)), backend="numba")
    assert flow[8:-8, 8:-8, 0].mean() == pytest.approx(2.5, abs=0.05)
    assert flow[8:-8, 8:-8, 1].mean() == pytest.approx(-1.5, abs=0.05)


# --- the kernels ----------------------------------------------------------------------------


def random_state(height, width, seed=0):
    random = np.random.default_rng(seed)
    state = make_state(random.normal(size=(2, height, width)).astype(np.float32))
    image = state[1:, :, LEFT : LEFT + width]
    image[:, IX : RHO + 1] = 10 * random.normal(size=(height, 3, width))
    image[:, IX : IY + 1, : width // 3] = 0  # a part without gradient
    square = image[:, IX] ** 2 + image[:, IY] ** 2
    image[:, INV] = np.where(square > FLT_EPSILON, 1 / np.maximum(square, FLT_EPSILON), 0)
    return state


def planes_of(state, width):
    return state[1:, :, LEFT : LEFT + width].transpose(1, 0, 2).astype(np.float64)


def run_sweep(state, width, depth, params=PRESETS["paper"]):
    bound, tau = params.lambda_ * params.theta, params.tau
    return sweep(
        state, width, depth, np.float32(bound), np.float32(tau), np.float32(tau / params.theta)
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 8), (13, 31), (40, 64)])
def test_sweep_is_the_reference(size):
    params, iterations = PRESETS["paper"], 6
    state = random_state(*size)
    planes = planes_of(state, size[1])
    u, linear = [planes[U1], planes[U2]], (planes[IX], planes[IY], planes[RHO])
    p = [(np.zeros(size), np.zeros(size))] * 2
    for _ in range(iterations):
        u, p, change = iterate_once(u, p, linear, params)
    measured = run_sweep(state, size[1], iterations)
    after = planes_of(state, size[1])
    np.testing.assert_allclose(after[U1 : U2 + 1], u, atol=2e-5)
    np.testing.assert_allclose(
        after[P11 : P22 + 1], params.theta * np.array(p).reshape(4, *size), atol=2e-5
    )
    assert measured == pytest.approx(change, rel=1e-3, abs=1e-8)


@pytest.mark.parametrize("size", [(1, 5), (3, 17), (30, 50)])
def test_a_wavefront_is_bit_for_bit_its_single_sweeps(size):
    deep, single = random_state(*size), random_state(*size)
    change_deep = run_sweep(deep, size[1], 2 * DEPTH)
    for _ in range(2 * DEPTH):
        change_single = run_sweep(single, size[1], 1)
    np.testing.assert_array_equal(planes_of(deep, size[1]), planes_of(single, size[1]))
    assert change_deep == change_single


@pytest.mark.parametrize("epsilon", [0.3, 0.03, 0.01, 0.001])
@pytest.mark.parametrize("most", [1, 2, 7, 300])
def test_the_schedule_is_that_of_opencvs_cuda_class(epsilon, most):
    size = (20, 30)
    params = TVL1Params(epsilon=epsilon, iterations=most)
    state = random_state(*size)
    planes = planes_of(state, size[1])
    start = [planes[U1], planes[U2]], [(np.zeros(size), np.zeros(size))] * 2
    *_, expected = iterate_reference(*start, (planes[IX], planes[IY], planes[RHO]), params)
    done = iterate(state, size[1], most, epsilon**2 * 600, params.tau, params.lambda_, params.theta)
    assert done == expected


@pytest.mark.parametrize("reach", [0.4, 3, 50])
def test_warp_is_the_reference(reach):
    size = (21, 34)
    frame0, frame1 = texture(*size), texture(*size, seed=1)
    flow = np.random.default_rng(2).uniform(-reach, reach, (2, *size)).astype(np.float32)
    flow[:, 3] = np.round(flow[:, 3])  # whole pixels too
    state = make_state(flow)
    warp(state, frame0, make_warpable(frame1))
    planes, u = planes_of(state, size[1]), flow.astype(np.float64)
    dx, dy = gradient_central(frame1.astype(np.float64))
    ix, iy = warp_reference(dx, *u), warp_reference(dy, *u)
    rho0 = warp_reference(frame1, *u) - ix * u[0] - iy * u[1] - frame0
    np.testing.assert_allclose(planes[IX], ix, atol=1e-2)
    np.testing.assert_allclose(planes[IY], iy, atol=1e-2)
    np.testing.assert_allclose(planes[RHO], rho0, atol=5e-2 + 2e-2 * reach)
    outside = (ix == 0) & (iy == 0)
    assert (planes[INV][outside] == 0).all()
    assert outside.any() or reach < 1


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float32, (2, 5, 9), elements=st.floats(-300, 300, width=32)),
    st.floats(0.125, 200, width=32),
)
def test_planes_are_quantized_as_by_quantize(flow, bound):
    made = np.empty((5, 9, 2), np.uint8)
    quantize_planes(flow, np.float32(bound), made)
    expected = quantize(np.ascontiguousarray(flow.transpose(1, 2, 0)), bound)
    np.testing.assert_array_equal(made, expected)
