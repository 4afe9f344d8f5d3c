"""Flow from frame t to frame t + K: the pairs, the rows, and what becomes of them in a store."""

from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from flowkit.annotations import explicit_files
from flowkit.cli import main
from flowkit.decode import VideoFrame, read_video
from flowkit.errors import RecipeError, UsageError
from flowkit.extraction import Options, RecipeOverrides, choose_recipe, extract
from flowkit.extraction import chunks as chunks_module
from flowkit.extraction.chunks import read_chunks
from flowkit.extraction.frame_pairs import FramePairs
from flowkit.extraction.frame_rows import FrameRows
from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.extraction.stage_timer import StageTimer
from flowkit.extraction.tasks import WorkerSettings
from flowkit.store import Store
from flowkit.store.format.header import read_header
from flowkit.store.integrity import inspection
from flowkit.store.integrity.verify import verify
from flowkit.streams import find_rows

HERE = Options(workers=0)
STEPS = [1, -1, 2, -2, 3, -5, 7, 30, -30]


class ListReader:
    """A reader of frames that are in memory."""

    def __init__(self, frames):
        self.frames, self.warnings, self.frame_rate = frames, [], 25.0
        self.height, self.width = frames[0].shape[:2]

    def read_frames(self):
        yield from (VideoFrame(frame, 40_000 * t) for t, frame in enumerate(self.frames))


def compute_rows(frames, recipe, step, streams=("rgb", "flow"), root=None):
    recipe = replace(recipe, flow=replace(recipe.flow, step=step))
    settings = WorkerSettings(root=root, recipe=recipe, backend="numba")
    rows = FrameRows(settings, streams, StageTimer(GpuTimer()), lambda frames: None, Event())
    return list(rows.compute(read_chunks(ListReader(frames), settings, lambda frames: None)))


def list_fields(rows):
    return [(row.get("flow_x"), row.get("flow_y")) for row in rows]


@pytest.fixture(scope="module")
def frames(make_clip, tmp_path_factory):
    """38 frames, more than two chunks."""
    clip = make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", frames=38, width=40, height=24)
    return read_video(clip)


# --- pairs ----------------------------------------------------------------------------------------


@given(
    st.integers(-9, 9).filter(bool),
    st.lists(st.integers(1, 6), max_size=12),
)
def test_every_frame_is_paired_with_the_one_that_is_step_later(step, chunk_lengths):
    pairs, total = FramePairs(step), sum(chunk_lengths)
    frames = iter(range(total))
    first, second = [], []
    for length in chunk_lengths:
        new_first, new_second = pairs.add([next(frames) for _ in range(length)])
        first += new_first
        second += new_second
        assert len(pairs._kept) <= abs(step)
    expected = [t for t in range(total) if 0 <= t + step < total]
    assert first == expected == list(find_rows("flow", total, step))
    assert second == [t + step for t in expected]


@given(st.integers(0, 20), st.integers(-25, 25).filter(bool))
def test_the_rows_with_flow_are_those_with_a_partner(rows, step):
    expected = [t for t in range(rows) if 0 <= t + step < rows]
    assert list(find_rows("flow", rows, step)) == expected
    assert find_rows("rgb", rows, step) == find_rows("audio", rows, step) == range(rows)


# --- rows -----------------------------------------------------------------------------------------


def test_backward_flow_is_the_flow_of_the_reversed_video(frames, recipe):
    for step in (1, 2, 20):
        backward = list_fields(compute_rows(frames, recipe, -step))
        reversed_fields = list_fields(compute_rows(frames[::-1], recipe, step))
        assert backward == reversed_fields[::-1], step


def test_step_2_is_the_flow_of_every_other_frame(frames, recipe):
    fields = list_fields(compute_rows(frames, recipe, 2))
    for start in (0, 1):
        other = list_fields(compute_rows(frames[start::2], recipe, 1))
        assert fields[start::2] == other


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("chunk", [2, 5, 16])
def test_rows_are_in_order_whatever_the_chunks_are(frames, recipe, monkeypatch, step, chunk):
    monkeypatch.setattr(chunks_module, "choose_chunk_length", lambda *_: chunk)
    rows = compute_rows(frames, recipe, step)
    assert [row["time"] for row in rows] == [40_000 * t for t in range(38)]
    rgb = compute_rows(frames, recipe, step, streams=("rgb",))
    assert [row["rgb"] for row in rows] == [row["rgb"] for row in rgb]
    has_flow = [t for t, (x, y) in enumerate(list_fields(rows)) if x and y]
    assert has_flow == [t for t in range(38) if 0 <= t + step < 38]
    assert list_fields(rgb) == [(None, None)] * 38
    if chunk != 16:
        monkeypatch.undo()
        assert list_fields(rows) == list_fields(compute_rows(frames, recipe, step))


# --- stores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-1, 3, -4])
def test_a_store_respects_its_step(tmp_path, make_clip, recipe, step):
    clip = make_clip(tmp_path / "a.mp4", frames=12)
    root = tmp_path / "S"
    recipe = replace(recipe, flow=replace(recipe.flow, step=step))
    only_rgb = replace(recipe, flow=None)
    extract(explicit_files([clip]), root, only_rgb, Options(workers=0, streams=("rgb",)))
    summary = extract(explicit_files([clip]), root, recipe, HERE)
    assert summary.pairs == 12 - abs(step)
    store = Store(root)
    video = store["a.mp4"]
    assert store.flow_step == step
    assert video.flow_frames == find_rows("flow", 12, step) and video.num_flow == 12 - abs(step)
    first, last = video.flow_frames[0], video.flow_frames[-1]
    assert video.flow(first).shape == video.flow(last).shape == (32, 32, 2)
    # The texture moves by a pixel to the left in each frame, here by half a pixel.
    assert np.median(video.flow(last)[8:24, 8:24, 0]) * -step > 0
    for t in (first - 1, last + 1):
        with pytest.raises(
            UsageError, match=rf"{first} ≤ t < {last + 1}, since .* frame t\{step:+}"
        ):
            video.flow(t)
    assert verify(root, deep=True).clean


def test_deep_finds_flow_of_another_step(tmp_path, make_clip, recipe, monkeypatch):
    clip, root = make_clip(tmp_path / "a.mp4", frames=6), tmp_path / "S"
    recipe = replace(recipe, flow=replace(recipe.flow, step=-2))
    extract(explicit_files([clip]), root, recipe, HERE)
    text = (root / "store.json").read_text()
    (root / "store.json").write_text(text.replace('"step":-2', '"step":2'))
    (problem,) = verify(root).problems
    assert "(flow.step: 2 ≠ -2)" in problem.what
    # As if the shard, of another program, said so too.
    monkeypatch.setattr(inspection, "list_recipe_differences", lambda *arguments: [])
    findings = [problem.what for problem in verify(root, deep=True).problems]
    assert findings[:3] == [
        "frame 0: flow_x is missing", "frame 1: flow_x is missing", "frame 4: flow_x is not null",
    ]  # fmt: skip


def test_a_video_that_is_shorter_than_the_step_is_refused(tmp_path, make_clip, recipe):
    clips = [make_clip(tmp_path / f"{n}.mp4", frames=n) for n in (5, 6)]
    recipe = replace(recipe, flow=replace(recipe.flow, step=5))
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, HERE)
    assert [(failure.id, failure.kind) for failure in summary.failed] == [("5.mp4", "too-short")]
    assert "has 5 frames, expected at least 6 for flow with step 5" in summary.failed[0].reason
    assert Store(tmp_path / "S")["6.mp4"].flow_frames == range(1)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_records_the_step(tmp_path, make_clip):
    clip, root = make_clip(tmp_path / "a.mp4"), tmp_path / "S"
    command = ("extract", clip, "--store", root, "--workers", 0, "--preset", "fast")
    result = run(*command, "--size", "32x32", "--step", -1)
    assert result.exit_code == 0, result.output
    assert read_header(root).recipe.flow.step == -1
    assert "to frame t-1" in " ".join(run("status", root).output.split())
    result = run(*command, "--step", 2)
    assert result.exit_code != 0 and "flow.step: -1 ≠ 2" in result.output
    assert "1 videos done before" in " ".join(run(*command).output.split())  # the store's step
    result = run(*command, "--step", 0)
    assert result.exit_code != 0 and "flow step must be a number of frames" in result.output


def test_the_step_is_that_of_the_store_unless_it_is_set(tmp_path, make_clip, recipe):
    root = tmp_path / "S"
    chosen = choose_recipe(root, ("flow",), RecipeOverrides(step=3), recipe)
    assert chosen.flow == replace(recipe.flow, step=3)
    extract(explicit_files([make_clip(tmp_path / "a.mp4")]), root, chosen, Options(
        workers=0, streams=("flow",)
    ))  # fmt: skip
    assert choose_recipe(root, ("flow",), RecipeOverrides()) == chosen
    other = choose_recipe(root, ("flow",), RecipeOverrides(step=1))
    with pytest.raises(RecipeError, match=r"flow\.step: 3 ≠ 1"):
        extract(explicit_files([tmp_path / "a.mp4"]), root, other, Options(
            workers=0, streams=("flow",)
        ))  # fmt: skip
