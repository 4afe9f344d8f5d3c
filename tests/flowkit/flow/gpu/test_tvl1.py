# ruff: noqa: N803
"""The Triton solver against plain PyTorch and against Numba's, kernel by kernel and whole.

Without a GPU all of this runs in Triton's interpreter, which takes 0.1 ms for an operation:
images are small, and where only the whole matters, iterations are done one at a time.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flowkit.errors import DeviceError, DeviceMemoryError, FlowError
from flowkit.flow import PRESETS, TVL1Params, quantize, tvl1, tvl1_video, tvl1_video_quantized
from flowkit.flow.backends import BACKENDS, count_gpus
from flowkit.flow.pyramid import build_pyramid, enlarge_flow, filter_flow

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

DEVICE = "cuda" if count_gpus() else "cpu"
PAPER = PRESETS["paper"]
CONSTANTS = (PAPER.lambda_ * PAPER.theta, PAPER.tau, PAPER.tau / PAPER.theta)


@pytest.fixture(scope="module")
def solver():
    """The backend's module, its kernels defined for what this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == "cpu":
            patch.setenv("TRITON_INTERPRET", "1")
        obstacle = BACKENDS["triton"].find_obstacle()
        if obstacle is not None:
            pytest.skip(obstacle)
        from flowkit.flow.gpu import tvl1 as tvl1_triton

        yield tvl1_triton


@pytest.fixture(scope="module")
def kernels(solver):
    """Device functions as kernels of their own."""
    # Not at the top: the interpreter must be chosen before Triton sees a kernel.
    path = Path(__file__).with_name("kernels.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texture(height, width, shift=(0.0, 0.0), seed=0):
    """A smooth random texture of bytes, sampled at x + shift."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x + shift[0], y + shift[1]
    random = np.random.default_rng(seed)
    waves = (random.normal(0, 0.35, (12, 2)), random.uniform(0, 6.3, 12))
    out = sum(np.cos(kx * x + ky * y + phase) for (kx, ky), phase in zip(*waves, strict=True))
    return np.clip(128 + 40 * out, 0, 255).astype(np.uint8)


# --- the state ------------------------------------------------------------------------------


def find_places(height, width, planes):
    """Index of each number of the state, (planes, H, W), as the picture in state.py."""
    y, x = np.mgrid[:height, :width]
    blocks = -(-width // 64)
    first = (y * blocks + x // 64) * planes * 64 + x % 2 * 32 + x % 64 // 2
    return first[None] + 64 * np.arange(planes)[:, None, None]


def pack(planes_PHW):
    """Planes as the kernels hold them, on the device."""
    count, height, width = planes_PHW.shape
    out = np.zeros(height * -(-width // 64) * count * 64, np.float32)
    out[find_places(height, width, count)] = planes_PHW
    return torch.tensor(out, device=DEVICE)


def unpack(state, planes, height, width):
    return state.cpu().numpy()[find_places(height, width, planes)]


@pytest.mark.parametrize("size", [(1, 1), (3, 64), (2, 65), (3, 131)])
def test_every_number_has_a_place_of_its_own(size, solver):
    from flowkit.flow.gpu.state import count_blocks

    for planes in (4, 6):
        places = find_places(*size, planes)
        assert len(np.unique(places)) == places.size
        assert places.max() < size[0] * count_blocks(size[1]) * planes * 64


# --- iterations -----------------------------------------------------------------------------


def iterate_reference(u_2HW, p_4HW, linear, params):
    """One iteration in plain PyTorch; p times θ, as everywhere. Returns u, p and Σ|Δu|²."""
    ix, iy, rho, inv = linear
    bound, zero = params.lambda_ * params.theta, torch.zeros_like(rho)

    def divergence(px, py):
        left = torch.cat([zero[:, :1], px[:, :-1]], dim=1)
        up = torch.cat([zero[:1], py[:-1]], dim=0)
        return px - left + py - up

    slope = (-(rho + ix * u_2HW[0] + iy * u_2HW[1]) * inv).clamp(-bound, bound)
    fresh = torch.stack(
        [
            u_2HW[0] + slope * ix + divergence(p_4HW[0], p_4HW[1]),
            u_2HW[1] + slope * iy + divergence(p_4HW[2], p_4HW[3]),
        ]
    )
    dual = []
    for u, px, py in ((fresh[0], *p_4HW[:2]), (fresh[1], *p_4HW[2:])):
        ux = torch.cat([u[:, 1:] - u[:, :-1], zero[:, :1]], dim=1)
        uy = torch.cat([u[1:] - u[:-1], zero[:1]], dim=0)
        norm = 1 + params.tau / params.theta * torch.hypot(ux, uy)
        dual += [(px + params.tau * ux) / norm, (py + params.tau * uy) / norm]
    return fresh, torch.stack(dual), ((fresh - u_2HW) ** 2).sum()


def random_planes(height, width, seed=0):
    """Moving and frozen planes, a third of the image without gradient."""
    random = np.random.default_rng(seed)
    moving = random.normal(size=(6, height, width)).astype(np.float32)
    moving[2:] *= 0.2
    moving[[2, 4], :, -1] = 0  # as forward differences leave p at the last column and row
    moving[[3, 5], -1] = 0
    frozen = 10 * random.normal(size=(4, height, width)).astype(np.float32)
    frozen[:2, :, : width // 3] = 0
    square = frozen[0] ** 2 + frozen[1] ** 2
    frozen[3] = np.where(square > 0, 1 / np.where(square > 0, square, 1), 0)
    return moving, frozen


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize(
    ("size", "chunks", "items"),
    [
        ((1, 1), 1, 4),
        ((1, 70), 1, 2),
        ((9, 1), 3, 4),
        ((5, 64), 2, 2),
        ((6, 65), 1, 4),
        ((7, 131), 3, 4),  # more strips and chunks than are done at a time
        ((12, 30), 12, 16),
    ],
)
def test_a_sweep_is_the_reference(size, chunks, items, depth, kernels):
    moving, frozen = random_planes(*size)
    source, target = pack(moving), pack(np.zeros_like(moving))
    change = torch.zeros(1, device=DEVICE)
    blocks = -(-size[1] // 64)
    kernels.run_sweep[(1,)](
        source, target, pack(frozen), change, *size, blocks, chunks, *CONSTANTS,
        DEPTH=depth, ITEMS=items, num_warps=items, enable_fp_fusion=True,
    )  # fmt: skip
    u, p = torch.tensor(moving[:2]).double(), torch.tensor(moving[2:]).double()
    for _ in range(depth):
        u, p, expected = iterate_reference(u, p, torch.tensor(frozen).double(), PAPER)
    after = unpack(target, 6, *size)
    np.testing.assert_allclose(after[:2], u, atol=2e-5)
    np.testing.assert_allclose(after[2:], p, atol=2e-5)
    assert change.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-8)
    np.testing.assert_array_equal(unpack(source, 6, *size), moving)


def test_how_a_sweep_is_cut_changes_no_pixel(kernels):
    size = (4, 130)
    moving, frozen = random_planes(*size)
    results = []
    for chunks, items in ((1, 4), (2, 2), (4, 16)):
        target, change = pack(np.zeros_like(moving)), torch.zeros(1, device=DEVICE)
        kernels.run_sweep[(1,)](
            pack(moving), target, pack(frozen), change, *size, 3, chunks, *CONSTANTS,
            DEPTH=4, ITEMS=items, num_warps=items, enable_fp_fusion=True,
        )  # fmt: skip
        results.append(unpack(target, 6, *size))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.skipif(DEVICE != "cpu", reason="compiled kernels do not show their addresses")
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("width", [1, 2, 3, 64, 65, 131])
def test_what_the_compiler_is_told_of_addresses_is_true(width, depth, kernels, monkeypatch):
    checked = []

    def check(offsets, name, values):
        assert name == "tt.contiguity"
        groups = offsets.data.reshape(-1, *values)
        np.testing.assert_array_equal(np.diff(groups, axis=-1), 1)
        checked.append(values[-1])

    monkeypatch.setattr(triton.runtime.interpreter.TensorHandle, "set_attr", check)
    moving, frozen = random_planes(2, width)
    change, blocks = torch.zeros(1, device=DEVICE), -(-width // 64)
    kernels.run_sweep[(1,)](
        pack(moving), pack(moving), pack(frozen), change, 2, width, blocks, 1, *CONSTANTS,
        DEPTH=depth, ITEMS=4, num_warps=4,
    )  # fmt: skip
    assert min(checked) > 1


# --- warps and levels -------------------------------------------------------------------------


@pytest.mark.parametrize("reach", [0.4, 3, 50])
def test_a_warp_is_numbas(reach, solver, kernels):
    from flowkit.flow.cpu.state import INV, IX, LEFT, RHO, make_state
    from flowkit.flow.cpu.warp import make_warpable, warp

    height, width = 21, 70
    frame0, frame1 = (texture(height, width, seed=s).astype(np.float32) for s in (0, 1))
    flow = np.random.default_rng(2).uniform(-reach, reach, (2, height, width)).astype(np.float32)
    flow[:, 3] = np.round(flow[:, 3])  # whole pixels too
    state = make_state(flow)
    warp(state, frame0, make_warpable(frame1))
    expected = state[1:, IX : INV + 1, LEFT : LEFT + width].transpose(1, 0, 2)

    levels = solver.plan_levels(height, width, replace(PAPER, scales=1))
    frames = torch.tensor(np.stack([frame0, frame1]), device=DEVICE)
    pyramids = solver.build_pyramids(frames, levels, PAPER)
    frozen = pack(np.zeros((4, height, width), np.float32))
    moving = pack(np.concatenate([flow, np.zeros((4, height, width), np.float32)]))
    kernels.run_warp[(1,)](pyramids[0], pyramids[1], moving, frozen, height, width, 2, ITEMS=8)
    actual = unpack(frozen, 4, height, width)
    np.testing.assert_allclose(actual[:2], expected[:2], atol=1e-3)
    np.testing.assert_allclose(actual[2], expected[RHO - IX], atol=1e-2 + 1e-3 * reach)
    np.testing.assert_allclose(actual[3], expected[INV - IX], rtol=2e-2, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [(40, 61), (33, 20), (1, 7), (5, 1)])
def test_pyramids_are_those_of_opencv(size, dtype, solver):
    frames = np.stack([texture(*size, seed=s) for s in range(3)]).astype(dtype)
    levels = solver.plan_levels(*size, PAPER)
    pyramids = solver.build_pyramids(torch.tensor(frames, device=DEVICE), levels, PAPER)
    for frame, pyramid in zip(frames, pyramids.cpu().numpy(), strict=True):
        expected = build_pyramid(frame, PAPER)
        assert len(expected) == len(levels.table)
        for level, (height, width, _, _, offset) in zip(expected, levels.table, strict=True):
            planes = pyramid[offset : offset + 3 * height * width].reshape(3, height, width)
            padded = np.pad(level, 1, mode="edge")
            np.testing.assert_allclose(planes[0], level, atol=1e-4)
            dx = 0.5 * (padded[1:-1, 2:] - padded[1:-1, :-2])
            dy = 0.5 * (padded[2:, 1:-1] - padded[:-2, 1:-1])
            np.testing.assert_allclose(planes[1], dx, atol=1e-4)
            np.testing.assert_allclose(planes[2], dy, atol=1e-4)
        np.testing.assert_array_equal(pyramid[: frame.size].reshape(size), frame)


@pytest.mark.parametrize("sizes", [((16, 52), (20, 66)), ((1, 5), (1, 6)), ((9, 9), (9, 9))])
def test_a_level_starts_from_the_coarser_ones_flow(sizes, kernels):
    (coarse, fine), random = sizes, np.random.default_rng(0)
    flow = random.normal(size=(2, *coarse)).astype(np.float32)
    source = pack(np.concatenate([flow, np.ones((4, *coarse), np.float32)]))
    target = pack(np.full((6, *fine), 7, np.float32))
    kernels.run_start_level[(1,)](
        source, *coarse, -(-coarse[1] // 64), target, *fine, -(-fine[1] // 64), 1.25, ITEMS=4
    )
    actual = unpack(target, 6, *fine)
    np.testing.assert_allclose(actual[:2], enlarge_flow(flow, *fine, 0.8), atol=1e-4)
    np.testing.assert_array_equal(actual[2:], 0)


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 2), (9, 11), (5, 70)])
def test_filtered_flow_has_the_bits_of_opencvs_median(size, side, kernels):
    random = np.random.default_rng(0)
    moving = random.normal(size=(6, *size)).astype(np.float32).round(1)  # some values are equal
    source, target = pack(moving), pack(np.zeros_like(moving))
    kernels.run_filter_flow[(1,)](
        source, target, *size, -(-size[1] // 64), SIDE=side, ITEMS=4, num_warps=4
    )
    actual = unpack(target, 6, *size)
    np.testing.assert_array_equal(actual[:2], filter_flow(moving[:2], side))
    np.testing.assert_array_equal(unpack(source, 6, *size), moving)


@pytest.mark.parametrize("bound", [20.0, 7.3])
def test_bytes_are_those_of_quantize(bound, kernels):
    steps = np.arange(-150, 151, dtype=np.float32) * np.float32(0.5) * np.float32(bound / 127)
    values = np.concatenate([steps, np.nextafter(steps, 99), np.nextafter(steps, -99)])
    flow = np.stack([values, -values])[:, None]
    height, width = flow.shape[1:]
    moving = pack(np.concatenate([flow, np.zeros((4, height, width), np.float32)]))
    out = torch.zeros(1, 2, height, width, dtype=torch.uint8, device=DEVICE)
    blocks = -(-width // 64)
    kernels.run_write_flow[(1,)](moving, out, height, width, blocks, bound, QUANTIZED=True, ITEMS=1)
    np.testing.assert_array_equal(out[0].cpu().numpy(), quantize(flow, bound))


# --- the whole ------------------------------------------------------------------------------


@pytest.fixture
def shallow(solver, monkeypatch):
    """One iteration a sweep: for the interpreter the cheapest way through many of them."""
    if DEVICE == "cpu":
        monkeypatch.setattr(solver, "DEPTH", 1)
    return solver


def measure_distance(frames0, frames1, params):
    flows = [tvl1(frames0, frames1, params, name) for name in ("triton", "numba")]
    return np.linalg.norm(flows[0] - flows[1], axis=-1).mean(axis=(-2, -1))


def test_pairs_that_converge_at_different_times_agree_with_numba(shallow):
    # Odd sides; at once, and after some 70 iterations.
    size, pairs = (17, 23), ((0, (0, 0)), (3, (0.02, 0.01)))
    frames0 = np.stack([texture(*size, seed=seed) for seed, _ in pairs])
    frames1 = np.stack([texture(*size, shift, seed) for seed, shift in pairs])
    assert (measure_distance(frames0, frames1, replace(PAPER, warps=2)) <= 1e-3).all()


def test_accurate_agrees_with_numba(shallow):
    frame0, frame1 = texture(17, 23, seed=3), texture(17, 23, (0.02, 0.01), seed=3)
    assert measure_distance(frame0, frame1, replace(PRESETS["accurate"], warps=2)) <= 1e-3


def test_fast_agrees_with_numba(shallow):
    frame0, frame1 = texture(33, 41, seed=3), texture(33, 41, (0.02, 0.01), seed=3)
    assert len(shallow.plan_levels(33, 41, PRESETS["fast"]).table) == 2
    assert measure_distance(frame0, frame1, PRESETS["fast"]) <= 1e-3


@pytest.mark.parametrize("sides", [(5, 1), (1, 3), (3, 5)])
def test_schedules_by_level_agree_with_numba(sides, shallow):
    params = TVL1Params(
        scales=3, warps=2, iterations=3, finest_warps=1, median_side=sides[0],
        finest_median_side=sides[1],
    )  # fmt: skip
    distance = measure_distance(texture(26, 35), texture(26, 35, (0.6, -0.4)), params)
    assert distance <= 1e-3


def test_the_finest_level_has_warps_and_a_bound_of_its_own(shallow):
    size, still = (33, 40), TVL1Params(scales=2, scale_step=0.5, warps=2, finest_warps=1)
    frames = np.full((2, *size), 90, np.uint8)  # at rest after the first two iterations of a warp
    levels, batch = (
        shallow.plan_levels(*size, still),
        shallow.Batch(frames, np.array([0]), np.array([1])),
    )
    _, work = shallow.solve_batch(batch, levels, still, None)
    assert work.tolist() == [2 * 2 * 16 * 20 + 2 * 33 * 40]
    moving = np.stack([texture(*size), texture(*size, (0.3, 0))])
    loose = replace(still, epsilon=9.0, iterations=8)
    work = [
        shallow.solve_batch(
            shallow.Batch(moving, np.array([0]), np.array([1])), levels, params, None
        )[1].item()
        for params in (loose, replace(loose, finest_epsilon=1e-9))
    ]
    assert work == [2 * 2 * 16 * 20 + 2 * 33 * 40, 2 * 2 * 16 * 20 + 8 * 33 * 40]


@pytest.mark.parametrize("size", [(20, 25), (16, 70), (17, 16)])
def test_agrees_with_numba_in_deep_sweeps(size, solver):
    params = replace(PAPER, iterations=7, warps=1)
    assert measure_distance(texture(*size), texture(*size, (0.6, -0.4)), params) <= 1e-3


def test_stops_where_numba_does(shallow):
    from flowkit.flow.cpu.state import make_state
    from flowkit.flow.cpu.tvl1 import solve_level
    from flowkit.flow.cpu.warp import make_warpable

    params = replace(PAPER, scales=1, warps=1)
    size, shifts = (9, 12), ((0, 0), (0.01, 0), (0.03, 0))
    frames0 = np.stack([texture(*size, seed=s) for s in range(3)])
    frames1 = np.stack([texture(*size, shift, seed=s) for s, shift in enumerate(shifts)])
    expected = []
    for frame0, frame1 in zip(frames0.astype(np.float32), frames1.astype(np.float32), strict=True):
        state, schedule = make_state(np.zeros((2, *size), np.float32)), params.get_schedule(True)
        expected.append(solve_level(state, frame0, make_warpable(frame1), params, schedule))
    batch = shallow.Batch(np.concatenate([frames0, frames1]), np.arange(3), np.arange(3) + 3)
    _, work = shallow.solve_batch(batch, shallow.plan_levels(*size, params), params, None)
    assert len(set(expected)) > 2
    np.testing.assert_array_equal(work, np.array(expected) * size[0] * size[1])


def test_a_pair_gives_the_same_bits_anywhere_in_any_batch(shallow):
    params = replace(PAPER, iterations=2, warps=1)
    frames = np.stack([texture(9, 11, (0.3 * t, 0)) for t in range(4)])
    together = tvl1(frames[:3], frames[1:], params, "triton")
    order = [2, 0, 1]
    shuffled = tvl1(frames[:3][order], frames[1:][order], params, "triton")
    np.testing.assert_array_equal(shuffled, together[order])
    np.testing.assert_array_equal(tvl1(frames[1], frames[2], params, "triton"), together[1])
    np.testing.assert_array_equal(tvl1_video(frames, params, "triton"), together)


def test_quantized_is_quantize(shallow):
    params = replace(PAPER, iterations=4, warps=1, scales=1)
    frames = np.stack([texture(16, 19, (0.4 * t, 0)) for t in range(3)])
    expected = quantize(tvl1_video(frames, params, "triton"), 3.0)
    np.testing.assert_array_equal(tvl1_video_quantized(frames, params, 3.0, "triton"), expected)
    assert tvl1_video_quantized(frames[:1], params, 3.0, "triton").shape == (0, 16, 19, 2)


# --- memory ---------------------------------------------------------------------------------


def test_a_batch_that_does_not_fit_is_halved(shallow, monkeypatch):
    params = replace(PAPER, iterations=1, warps=1, scales=1)
    frames = np.stack([texture(5, 6, (0.2 * t, 0)) for t in range(8)])
    expected = tvl1_video(frames, params, "triton")
    solve_batch, sizes = shallow.solve_batch, []

    def solve_small(batch, *rest):
        sizes.append(len(batch.first))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return solve_batch(batch, *rest)

    monkeypatch.setattr(shallow, "solve_batch", solve_small)
    np.testing.assert_array_equal(tvl1_video(frames, params, "triton"), expected)
    assert sizes == [7, 4, 2, 2, 2, 1]


def test_a_pair_that_does_not_fit_is_an_error(shallow, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(shallow, "solve_batch", fail)
    frames = np.zeros((3, 30, 40), np.uint8)
    with pytest.raises(DeviceMemoryError, match=r"pair of 40×30 needs 0 MiB.*--backend numba"):
        tvl1_video(frames, PAPER, "triton")
    with pytest.raises(MemoryError):
        tvl1_video(frames, PAPER, "triton")


def test_frames_beyond_all_reason_are_refused(solver):
    with pytest.raises(FlowError, match=r"20000×20000 are too large.*--backend numba"):
        solver.plan_levels(20000, 20000, PAPER)
    assert solver.plan_levels(12000, 12000, PAPER).pyramid_size < 1 << 31


def test_large_frames_stay_within_the_grids_of_cuda(solver, monkeypatch):
    grids = []

    class Launcher:
        def __getitem__(self, grid):
            grids.append(grid)
            return lambda *arguments, **options: None

    monkeypatch.setattr(solver, "build_level", Launcher())
    frames = torch.empty(2, 12000, 12000, dtype=torch.uint8, device="meta")
    solver.build_pyramids(frames, solver.plan_levels(12000, 12000, PAPER), PAPER)
    assert grids[0] == (-(-12000 * 12000 // solver.BLOCK), 2)
    assert {grid[1:] for grid in grids} == {(2,)}


def test_memory_decides_how_many_pairs_are_solved_at_once(solver, monkeypatch):
    levels = solver.plan_levels(256, 256, PAPER)
    assert levels.bytes_per_pair == pytest.approx(
        16 * 65536 * 4 + 2 * 2.48 * 3 * 65536 * 4, rel=0.1
    )
    monkeypatch.setattr(solver, "is_interpreted", lambda: False)
    size = levels.bytes_per_pair
    for free, reserved, expected in ((100, 0, 50), (1.5, 0, 1), (0, 60, 30)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda f=free: (int(f * size), 0))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda r=reserved: r * size)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 0)
        assert solver.count_pairs_in_memory(levels) == expected


def test_a_failure_of_the_gpu_is_told_from_other_errors(solver, monkeypatch):
    monkeypatch.setattr(solver, "is_interpreted", lambda: False)
    illegal = pytest.raises(DeviceError, match="RuntimeError: CUDA error: an illegal memory")
    with illegal, solver.convert_cuda_errors():
        raise RuntimeError("CUDA error: an illegal\nmemory access")
    with pytest.raises(torch.OutOfMemoryError), solver.convert_cuda_errors():
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(KeyError), solver.convert_cuda_errors():
        raise KeyError("no concern of the GPU")


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (256, 256), (256, 340), (2160, 3840)])
def test_chunks_leave_no_row_out(size, solver):
    from flowkit.flow.gpu.layout import choose_chunks

    chunks = choose_chunks(*size)
    assert 1 <= chunks <= size[0]
    assert chunks * -(-size[0] // chunks) >= size[0]


def test_defaults_reach_the_kernels(solver):
    """A constant image is at rest after its first measurement, at every level and warp."""
    params = TVL1Params(scales=2, warps=2)
    frames = np.full((2, 20, 20), 90, np.uint8)
    levels = solver.plan_levels(20, 20, params)
    batch = solver.Batch(frames, np.array([0]), np.array([1]))
    flow, work = solver.solve_batch(batch, levels, params, None)
    np.testing.assert_array_equal(flow, 0)
    assert work.tolist() == [2 * 2 * (20 * 20 + 16 * 16)]
