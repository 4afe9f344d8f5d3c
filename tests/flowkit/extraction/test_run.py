"""Whole runs in this process: counts, streams, refusals, bad videos."""

import io
import json
import os
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from flowkit.annotations import FORMATS, explicit_files
from flowkit.decode import VideoReader, read_video
from flowkit.errors import LockedError, RecipeError, UsageError
from flowkit.extraction import Options, RecipeOverrides, choose_recipe, extract
from flowkit.extraction.run import ExtractionRun
from flowkit.extraction.summary import describe_failure
from flowkit.extraction.tasks import ExtractionTask
from flowkit.flow import quantize, tvl1_video
from flowkit.recipe import LogMelRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store import Store, hold_store
from flowkit.store.failures import read_failures
from flowkit.store.format.jpeg import encode_grey, encode_rgb

HERE = Options(workers=0)


def test_rows_are_what_the_parts_compute(tmp_path, make_clip, recipe):
    """The store's bytes are resize, TV-L1, quantization and JPEG of exactly these frames."""
    import cv2

    clip = make_clip(tmp_path / "a.mp4", frames=37)  # more than two chunks
    summary = extract(explicit_files([clip]), tmp_path / "S", recipe, HERE)
    assert (summary.extracted, summary.frames, summary.pairs) == (1, 37, 36)
    frames = read_video(clip, recipe.resize)
    greys = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    flow = quantize(tvl1_video(greys, recipe.flow.tvl1, "numba"), recipe.flow.bound)
    video = Store(tmp_path / "S")["a.mp4"]
    assert (video.num_frames, video.num_flow) == (37, 36)
    for t in range(36):
        want = tuple(encode_grey(flow[t, ..., axis], recipe.flow.quality) for axis in (0, 1))
        assert video.flow_bytes(t) == want, t
        want_rgb = encode_rgb(frames[t], recipe.rgb.quality, recipe.rgb.subsampling)
        assert video.rgb_bytes(t) == want_rgb, t


def test_a_second_run_does_nothing(tmp_path, make_clip, recipe, contents):
    clips = [make_clip(tmp_path / f"{i}.mp4", seed=i) for i in range(3)]
    extract(explicit_files(clips), tmp_path / "S", recipe, HERE)
    before = sorted(path.name for path in (tmp_path / "S" / "frames").iterdir())
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, HERE)
    assert (summary.extracted, summary.done_before) == (0, 3)
    assert sorted(path.name for path in (tmp_path / "S" / "frames").iterdir()) == before


def test_streams_are_added_later(tmp_path, make_clip, recipe, contents):
    from dataclasses import replace

    clips = [make_clip(tmp_path / "a.mp4"), make_clip(tmp_path / "b.mp4", sound=True)]
    root, located = tmp_path / "S", explicit_files(clips)
    only_rgb = replace(recipe, flow=None)
    extract(located, root, only_rgb, Options(workers=0, streams=("rgb",)))
    assert Store(root)["a.mp4"].streams == ("rgb",)
    extract(located, root, recipe, HERE)
    with_audio = replace(recipe, audio=LogMelRecipe())
    extract(located, root, with_audio, Options(workers=0, streams=("audio",)))
    store = Store(root)
    assert store["a.mp4"].audio().shape == (0, 96, 64)
    assert store["b.mp4"].audio().shape == (2, 96, 64)
    once = tmp_path / "once"
    extract(located, once, recipe, HERE)
    assert contents(root) == contents(once)
    again = extract(located, root, with_audio, Options(workers=0, streams=("rgb", "flow", "audio")))
    assert (again.extracted, again.done_before) == (0, 2)  # no sound is an answer, too


def test_a_changed_source_is_redone_with_update(tmp_path, make_clip, recipe):
    clip = make_clip(tmp_path / "a.mp4", frames=9)
    root = tmp_path / "S"
    extract(explicit_files([clip]), root, recipe, HERE)
    make_clip(clip, frames=12, seed=5)
    summary = extract(explicit_files([clip]), root, recipe, HERE)
    assert summary.changed == ["a.mp4"]
    assert Store(root)["a.mp4"].num_frames == 9
    summary = extract(explicit_files([clip]), root, recipe, Options(workers=0, update=True))
    assert summary.extracted == 1
    assert Store(root)["a.mp4"].num_frames == 12
    assert extract(explicit_files([clip]), root, recipe, HERE).done_before == 1


def test_an_update_redoes_streams_that_were_not_asked_for(tmp_path, make_clip, recipe):
    """RGB of the new file beside flow of the old one would be no store of anything."""
    clip = make_clip(tmp_path / "a.mp4", frames=9)
    root = tmp_path / "S"
    extract(explicit_files([clip]), root, recipe, HERE)
    make_clip(clip, frames=12, seed=5)
    options = Options(workers=0, streams=("rgb",), update=True)
    summary = extract(explicit_files([clip]), root, recipe, options)
    assert (summary.extracted, summary.pairs) == (1, 11)
    video = Store(root)["a.mp4"]
    assert (video.num_frames, video.num_flow) == (12, 11)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_patience_is_positive(seconds):
    with pytest.raises(UsageError, match="stall-seconds must be positive"):
        Options(stall_seconds=seconds)


def write_bad_videos(folder, make_clip):
    """One file of each kind of bad input, with the word that it must be counted under."""
    whole = make_clip(folder / "whole.mp4", frames=30)
    data = whole.read_bytes()
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("I am not a video at all, and I say so at some length.")
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    (folder / "directory.mp4").mkdir()
    make_clip(folder / "single.mp4", frames=1)
    os.mkfifo(folder / "pipe.mp4")
    return {
        "empty.mp4": "empty",
        "text.mp4": "not-a-video",
        "cut.mp4": "broken",
        "directory.mp4": "not-a-file",
        "single.mp4": "too-short",
        "pipe.mp4": "not-a-file",
    }


def test_bad_videos_are_named_and_leave_the_others_untouched(tmp_path, make_clip, recipe):
    folder = tmp_path / "videos"
    expected = write_bad_videos(folder, make_clip)
    files = [folder / name for name in (*expected, "whole.mp4")]
    root = tmp_path / "S"
    summary = extract(explicit_files(files), root, recipe, HERE)
    assert {failure.id: failure.kind for failure in summary.failed} == expected
    assert (summary.extracted, summary.left) == (1, 0)
    assert list(Store(root)) == ["whole.mp4"]
    for failure in summary.failed:
        assert failure.id in failure.reason
        assert "\n" not in failure.reason
    assert read_failures(root).keys() == expected.keys()
    again = extract(explicit_files(files), root, recipe, HERE)
    assert {failure.id for failure in again.quarantined} == expected.keys()
    assert not again.failed


def test_strange_ids_round_trip(tmp_path, make_clip, recipe):
    names = ["../up", "a b#c;d!.mp4", "日本語 видео.mp4", "%2e%2e", "x" * 200, "…/..", "🎬.avi"]
    clip = make_clip(tmp_path / "clip.mp4")
    from flowkit.annotations import LocatedVideos, Source

    sources = tuple(Source(name, clip) for name in sorted(names))
    extract(LocatedVideos(sources), tmp_path / "S", recipe, HERE)
    assert sorted(Store(tmp_path / "S")) == sorted(names)


def test_labels_and_subsets_come_from_folders(tmp_path, make_clip, recipe):
    for subset in ("train", "val"):
        for name in ("run", "jump"):
            make_clip(tmp_path / "videos" / subset / name / "1.mp4")
    table = FORMATS["folder"].read_table(tmp_path / "videos", None)
    located = FORMATS["folder"].locate_videos(tmp_path / "videos", table)
    extract(located, tmp_path / "S", recipe, HERE, table=table)
    store = Store(tmp_path / "S")
    assert store.classes == ("jump", "run")
    video = store["val/run/1.mp4"]
    assert [label.name for label in video.labels] == ["run"]
    assert video.subsets == ("val",)


def test_files_added_to_a_labelled_store_keep_its_labels(tmp_path, make_clip, recipe):
    make_clip(tmp_path / "videos" / "run" / "1.mp4")
    table = FORMATS["folder"].read_table(tmp_path / "videos", None)
    located = FORMATS["folder"].locate_videos(tmp_path / "videos", table)
    extract(located, tmp_path / "S", recipe, HERE, table=table)
    extract(explicit_files([make_clip(tmp_path / "new.mp4")]), tmp_path / "S", recipe, HERE)
    store = Store(tmp_path / "S")
    assert [label.name for label in store["run/1.mp4"].labels] == ["run"]
    assert store["new.mp4"].labels == ()


def test_another_recipe_is_refused_naming_the_difference(tmp_path, make_clip, recipe):
    from dataclasses import replace

    clip = make_clip(tmp_path / "a.mp4")
    extract(explicit_files([clip]), tmp_path / "S", recipe, HERE)
    other = replace(recipe, resize=Resize(width=48, height=48))
    with pytest.raises(RecipeError, match=r"resize\.width: 32 ≠ 48"):
        extract(explicit_files([clip]), tmp_path / "S", other, HERE)


def test_a_second_extract_is_refused_while_one_runs(tmp_path, make_clip, recipe):
    clip = make_clip(tmp_path / "a.mp4")
    extract(explicit_files([clip]), tmp_path / "S", recipe, HERE)
    with hold_store(tmp_path / "S"), pytest.raises(LockedError, match="writing all of it"):
        extract(explicit_files([clip]), tmp_path / "S", recipe, HERE)


def test_an_interrupt_commits_what_is_complete(tmp_path, make_clip, recipe):
    clips = [make_clip(tmp_path / f"{i}.mp4", frames=40, seed=i) for i in range(6)]
    opened = []

    def open_and_interrupt(path, resize, fps):
        opened.append(path)
        if len(opened) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return VideoReader(path, resize, fps)

    options = Options(workers=0, open_video=open_and_interrupt)
    assert threading.current_thread() is threading.main_thread()
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert summary.interrupted
    assert summary.extracted == 2
    assert summary.left == 4
    assert not summary.complete
    rest = extract(explicit_files(clips), tmp_path / "S", recipe, HERE)
    assert (rest.extracted, rest.done_before, rest.left) == (4, 2, 0)


def test_the_summary_is_json_and_text(tmp_path, make_clip, recipe):
    from rich.console import Console

    bad = tmp_path / "bad.mp4"
    bad.touch()
    clip = make_clip(tmp_path / "a.mp4")
    summary = extract(explicit_files([clip, bad]), tmp_path / "S", recipe, HERE)
    values = json.loads(json.dumps(summary.to_dict()))
    assert values["extracted"] == 1
    assert values["failed"][0]["kind"] == "empty"
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(summary.render())
    text = console.export_text()
    assert "1  videos extracted" in text
    assert "failed and quarantined (1 empty)" in text
    assert "bad.mp4" in text


@pytest.mark.parametrize(
    ("id", "reason", "line"),
    [
        ("v/a.mp4", "a.mp4: no video", "v/a.mp4: no video"),
        ("a.mp4", "/in/a.mp4 has 1 frame", "a.mp4: /in/a.mp4 has 1 frame"),
        ("a.mp4", "cannot be read: two\nlines", "a.mp4: cannot be read: two lines"),
        ("a\n\x1b.mp4", "a\\n\\x1b.mp4: no video", "a\\n\\x1b.mp4: no video"),
    ],
)
def test_a_failure_is_one_printable_line(id, reason, line):
    assert describe_failure(id, reason) == line


def test_overrides_that_are_not_given_come_from_the_store(tmp_path, make_clip, recipe):
    root = tmp_path / "S"
    extract(explicit_files([make_clip(tmp_path / "a.mp4")]), root, recipe, HERE)
    assert choose_recipe(root, ("rgb", "flow"), RecipeOverrides()) == recipe
    assert choose_recipe(root, ("rgb",), RecipeOverrides(short_side=64)).resize.mode == "short-side"
    new = choose_recipe(tmp_path / "T", ("rgb",), RecipeOverrides(rgb_quality=80, size="320×240"))
    assert new.streams == ("rgb",)
    assert (new.rgb, new.resize) == (RGBRecipe(quality=80), Resize(width=320, height=240))
    square = RecipeOverrides(no_resize=True, square_pixels=True)
    assert choose_recipe(tmp_path / "T", ("rgb",), square).resize.square_pixels
    base = StoreRecipe(fps=24, resize=Resize(mode="short-side", side=256))
    assert choose_recipe(tmp_path / "T", ("rgb",), RecipeOverrides(), base).fps == 24


@pytest.mark.parametrize(
    "overrides",
    [
        RecipeOverrides(size="256x256", short_side=256),
        RecipeOverrides(short_side=256, no_resize=True),
        RecipeOverrides(upsize=True),
        RecipeOverrides(square_pixels=True),  # by default, all frames get one size
        RecipeOverrides(square_pixels=True, size="64x64"),
        RecipeOverrides(size="256"),
        RecipeOverrides(size="0x256"),
        RecipeOverrides(fps=-1.0),
    ],
)
def test_overrides_that_make_no_sense_are_refused(tmp_path, overrides):
    with pytest.raises(UsageError):
        choose_recipe(tmp_path / "S", ("rgb",), overrides)


def test_flow_is_not_added_to_imported_flow(tmp_path, make_clip, recipe):
    from flowkit.interchange.export import export
    from flowkit.interchange.imports import import_folders

    clip = make_clip(tmp_path / "a.mp4")
    extract(explicit_files([clip]), tmp_path / "S", recipe, HERE)
    export(Store(tmp_path / "S"), tmp_path / "folders", "denseflow")
    import_folders(tmp_path / "folders", tmp_path / "T", "denseflow")
    assert Store(tmp_path / "T").recipe.flow.tvl1 is None
    with pytest.raises(RecipeError, match="its solver is unknown"):
        choose_recipe(tmp_path / "T", ("rgb", "flow"), RecipeOverrides())
    assert (
        choose_recipe(tmp_path / "T", ("rgb",), RecipeOverrides()) == Store(tmp_path / "T").recipe
    )


def test_imported_flow_is_not_redone(tmp_path, make_clip, recipe):
    from flowkit.interchange.export import export
    from flowkit.interchange.imports import import_folders

    clip = make_clip(tmp_path / "a.mp4")
    extract(explicit_files([clip]), tmp_path / "S", recipe, HERE)
    export(Store(tmp_path / "S"), tmp_path / "folders", "denseflow")
    import_folders(tmp_path / "folders", tmp_path / "T", "denseflow")
    options = Options(workers=0, streams=("rgb",), update=True)
    asked = choose_recipe(tmp_path / "T", ("rgb",), RecipeOverrides())
    with pytest.raises(RecipeError, match="cannot be computed again"):
        extract(explicit_files([clip]), tmp_path / "T", asked, options)
    assert len(Store(tmp_path / "T")) == 1


def test_signals_are_taken_back_from_a_library():
    """ray.init puts its own SIGTERM handler in place, which ends the process uncommitted."""
    from rich.console import Console

    from flowkit.extraction.interrupt import Interrupt

    former = signal.getsignal(signal.SIGTERM)
    with Interrupt(Console(file=io.StringIO())) as interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        interrupt.install_handlers()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.is_requested
    assert signal.getsignal(signal.SIGTERM) == former


def test_a_signal_in_the_middle_of_a_message_waits_for_its_end():
    """Such as in rich's lazy imports, of which a second one would find half a module."""
    from rich.console import Console

    from flowkit.extraction.interrupt import Interrupt

    class BusyConsole(Console):
        lock = threading.Lock()

        def print(self, *objects, **options):
            with self.lock:
                super().print(*objects, **options)

    console = BusyConsole(file=io.StringIO())
    with Interrupt(console) as interrupt, console.lock:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.is_requested
    assert "stopping: committing" in console.file.getvalue()


def test_a_video_whose_frames_alone_were_saved_is_not_complete(tmp_path):
    task = ExtractionTask(id="a", source=tmp_path, streams=("rgb", "flow", "audio"))
    run = SimpleNamespace(tasks={"a": task})
    assert not ExtractionRun.is_complete(run, "a", {"rgb", "flow"})
    assert ExtractionRun.is_complete(run, "a", {"rgb", "flow", "audio"})
    assert ExtractionRun.is_complete(run, "another", {"rgb"})


def test_a_store_gets_no_part_for_a_stream_that_nobody_asked_for(tmp_path, make_clip, recipe):
    from dataclasses import replace

    root = tmp_path / "S"
    only_rgb = replace(recipe, flow=None)
    clip = make_clip(tmp_path / "a.mp4")
    extract(explicit_files([clip]), root, only_rgb, Options(workers=0, streams=("rgb",)))
    assert choose_recipe(root, ("rgb",), RecipeOverrides(), base=recipe) == only_rgb
    assert choose_recipe(root, ("rgb", "flow"), RecipeOverrides(), base=recipe) == recipe


def test_two_sources_with_one_id_and_a_bad_name_leave_the_others_untouched(
    tmp_path, make_clip, recipe
):
    twins = [make_clip(tmp_path / folder / "a.mp4") for folder in ("p", "q")]
    other = make_clip(tmp_path / "b.mp4")
    odd = other.with_name("caf\udce9.mp4")
    os.link(other, odd)
    located = explicit_files([*twins, other, odd])
    summary = extract(located, tmp_path / "S", recipe, HERE)
    assert {failure.kind for failure in summary.failed} == {"duplicate-id", "bad-name"}
    assert (summary.extracted, summary.left) == (1, 0)
    assert read_failures(tmp_path / "S").keys() == {"a.mp4", r"caf\xe9.mp4"}
    again = extract(located, tmp_path / "S", recipe, HERE)
    assert (len(again.failed), len(again.quarantined)) == (0, 2)
    retried = extract(located, tmp_path / "S", recipe, Options(workers=0, retry_failed=True))
    assert [failure.attempts for failure in retried.failed] == [2, 2]
    assert retried.quarantined == []
    settled = explicit_files([twins[0], other])
    assert extract(settled, tmp_path / "S", recipe, HERE).extracted == 1


def test_a_stream_that_breaks_midway_keeps_its_frames_with_a_warning(tmp_path, make_clip, recipe):
    whole = make_clip(tmp_path / "whole.mkv", frames=60, width=160, height=128)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    located = explicit_files([cut])
    summary = extract(located, tmp_path / "S", recipe, HERE)
    assert (summary.extracted, summary.failed) == (1, [])
    video = Store(tmp_path / "S")["cut.mkv"]
    assert 2 <= video.num_frames < 60
    assert video.warnings == len(summary.warned) >= 1
    strict = Options(workers=0, min_frames=50)
    (failure,) = extract(located, tmp_path / "T", recipe, strict).failed
    assert failure.kind == "too-short"
    assert "expected at least 50 (" in failure.reason  # the decoder's warning
