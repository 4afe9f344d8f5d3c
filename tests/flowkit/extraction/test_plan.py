"""What a run decides to do, without doing it."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.annotations import explicit_files
from flowkit.errors import UsageError
from flowkit.extraction import Options, extract, parse_part
from flowkit.extraction.frame_rates import FrameRates
from flowkit.extraction.plan import belongs, make_plan
from flowkit.recipe import LogMelRecipe
from flowkit.store import Store, create_or_open, rebuild_index, recover
from flowkit.store.failures import read_failures
from flowkit.store.status import read_status


@given(st.lists(st.text(), unique=True), st.integers(1, 9))
def test_every_video_belongs_to_exactly_one_part(ids, n):
    for id in ids:
        assert sum(belongs(id, (i, n)) for i in range(n)) == 1


@pytest.mark.parametrize("text", ["", "1", "3/3", "-1/3", "a/b", "1/0", "1/2/3"])
def test_a_wrong_part_says_what_was_expected(text):
    with pytest.raises(UsageError, match="expected --shard i/n"):
        parse_part(text)


@pytest.fixture
def extracted(tmp_path, make_clip, recipe):
    clips = [make_clip(tmp_path / f"{name}.mp4", seed=ord(name)) for name in "abc"]
    extract(explicit_files(clips), tmp_path / "S", recipe, Options(workers=0))
    return tmp_path, clips


def plan_for(folder, clips, **options):
    root = folder / "S"
    sources, failures = explicit_files(clips).sources, read_failures(root)
    return make_plan(sources, Store(root), failures, FrameRates(), Options(**options))


def test_what_is_done_is_not_planned_again(extracted):
    folder, clips = extracted
    plan = plan_for(folder, clips)
    assert not plan.tasks
    assert plan.done == ["a.mp4", "b.mp4", "c.mp4"]


def test_each_video_is_planned_for_the_streams_that_it_lacks(extracted, recipe, make_clip):
    folder, clips = extracted
    more = [make_clip(folder / f"{name}.mp4", seed=ord(name)) for name in "0d"]
    extract(explicit_files(more), folder / "S", recipe, Options(workers=0, streams=("rgb",)))
    plan = plan_for(folder, clips + more)
    assert plan.done == ["a.mp4", "b.mp4", "c.mp4"]
    assert {task.id: task.streams for task in plan.tasks} == {
        "0.mp4": ("flow",),
        "d.mp4": ("flow",),
    }
    assert not plan_for(folder, clips + more, streams=("rgb",)).tasks


def test_an_empty_store_has_nothing(tmp_path, recipe, make_clip):
    create_or_open(tmp_path / "S", recipe)
    rebuild_index(tmp_path / "S")
    plan = plan_for(tmp_path, [make_clip(tmp_path / "a.mp4")])
    assert [(task.id, task.streams) for task in plan.tasks] == [("a.mp4", ("rgb", "flow"))]


def test_an_id_in_another_normalization_is_refused(tmp_path, recipe, make_clip):
    """Such as a copy from macOS: the store could not be indexed with both."""
    old = make_clip(tmp_path / "caf\u00e9.mp4")
    extract(explicit_files([old]), tmp_path / "S", recipe, Options(workers=0))
    new = tmp_path / "cafe\u0301.mp4"
    shutil.copy(old, new)
    others = [make_clip(tmp_path / "n\u00e9e.mp4"), old]
    assert len(plan_for(tmp_path, others).tasks) == 1
    with pytest.raises(UsageError, match=r"'cafe\\u0301.mp4'.*'caf\\xe9.mp4'.*rename"):
        plan_for(tmp_path, [new])


def test_a_new_stream_is_planned_with_the_frames_it_must_match(extracted):
    folder, clips = extracted
    tasks = plan_for(folder, clips, streams=("rgb", "flow", "audio")).tasks
    assert [task.streams for task in tasks] == [("audio",)] * 3
    assert {task.frames for task in tasks} == {9}


def test_a_copied_or_touched_source_has_not_changed(extracted):
    folder, clips = extracted
    os.utime(clips[0])
    moved = folder / "elsewhere" / "b.mp4"
    moved.parent.mkdir()
    shutil.copy(clips[1], moved)
    assert plan_for(folder, [clips[0], moved, clips[2]]).done == ["a.mp4", "b.mp4", "c.mp4"]


def test_a_changed_source_is_said_and_redone_only_with_update(extracted, make_clip):
    folder, clips = extracted
    make_clip(clips[0], frames=5, seed=99)
    plan = plan_for(folder, clips)
    assert plan.changed == ["a.mp4"]
    assert not plan.tasks
    (task,) = plan_for(folder, clips, update=True).tasks
    assert task.supersedes
    assert task.streams == ("rgb", "flow")
    assert task.frames is None


def test_an_update_that_was_killed_between_frames_and_audio_is_not_done(
    tmp_path, recipe, make_clip
):
    recipe = replace(recipe, audio=LogMelRecipe())
    clips = [make_clip(tmp_path / f"{name}.mp4", sound=True) for name in "ab"]
    options = Options(workers=0, streams=("rgb", "flow", "audio"))
    extract(explicit_files(clips), tmp_path / "S", recipe, options)
    make_clip(clips[0], frames=7, seed=5, sound=True)

    killed = (
        "import os, sys; from flowkit.cli import main; "
        "from flowkit.extraction.worker import Worker; "
        "Worker._extract_audio = lambda *_: os._exit(9); main()"
    )
    arguments = ["extract", *clips, "--store", "S", "--update", "--workers", "0"]
    arguments += ["--streams", "rgb,flow,audio", "--backend", "numba"]
    command = [sys.executable, "-c", killed, *map(str, arguments)]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 9
    recover(tmp_path / "S")
    rebuild_index(tmp_path / "S")
    video = Store(tmp_path / "S")["a.mp4"]
    assert video.num_frames == 7
    assert video.has_mixed_sources
    assert read_status(tmp_path / "S").mixed == 1
    plan = plan_for(tmp_path, clips, streams=options.streams)
    assert (plan.changed, plan.done, plan.tasks) == (["a.mp4"], ["b.mp4"], ())
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, replace(options, update=True))
    assert (summary.extracted, summary.done_before) == (1, 1)
    assert not Store(tmp_path / "S")["a.mp4"].has_mixed_sources
    assert read_status(tmp_path / "S").mixed == 0


def test_limit_takes_the_first_ids_and_counts_the_rest(extracted, make_clip):
    folder, clips = extracted
    new = [make_clip(folder / f"{name}.mp4", frames=4 + i) for i, name in enumerate("xyz")]
    plan = plan_for(folder, clips + new, limit=2)
    assert {task.id for task in plan.tasks} == {"x.mp4", "y.mp4"}
    assert plan.beyond == 1
    weights = [task.weight for task in plan.tasks]
    assert weights == sorted(weights, reverse=True)


def test_a_failure_is_kept_until_asked_or_its_source_is_replaced(extracted, recipe, make_clip):
    folder, _ = extracted
    bad = folder / "bad.mp4"
    bad.write_text("no video")
    extract(explicit_files([bad]), folder / "S", recipe, Options(workers=0))
    assert [f.id for f in plan_for(folder, [bad]).quarantined] == ["bad.mp4"]
    assert len(plan_for(folder, [bad], retry_failed=True).tasks) == 1
    make_clip(bad)
    assert len(plan_for(folder, [bad]).tasks) == 1


def test_parts_share_a_dataset_without_overlap(extracted):
    folder, clips = extracted
    sources = explicit_files(clips).sources
    renamed = tuple(replace(source, id=f"new {source.id}") for source in sources)
    store = Store(folder / "S")
    ids = [
        task.id
        for i in range(3)
        for task in make_plan(
            renamed, store, {}, FrameRates(), Options(streams=("rgb",), part=(i, 3))
        ).tasks
    ]
    assert sorted(ids) == sorted(source.id for source in renamed)
