"""What a run shows while it lasts: videos that are done, and shares of those in progress."""

import io
import threading

import pytest
from rich.console import Console

from flowkit.annotations import explicit_files
from flowkit.decode import VideoReader
from flowkit.extraction import Options, extract, in_process, progress
from flowkit.extraction.progress import Meter
from flowkit.extraction.readers import StoredRGBReader, estimate_frames
from flowkit.extraction.tasks import Outcome
from flowkit.extraction.worker import Worker
from flowkit.recipe import Resize, RGBRecipe, StoreRecipe
from flowkit.store import Store

RECIPE = StoreRecipe(resize=Resize(width=16, height=16), rgb=RGBRecipe())


@pytest.fixture
def clock(monkeypatch):
    """``clock.now`` is the time of the meter."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_video_in_progress_counts_by_its_share(clock):
    text = io.StringIO()
    meter = Meter({"long": 900, "short": 100}, Console(file=text, width=200))
    clock.now += 60
    meter.show_share("long", 0.5)
    clock.now += 60
    meter.count(Outcome(id="short", status="done", pairs=240))
    meter.show_share("short", 0.9)  # a report that came late counts no more
    clock.now += 60
    meter.show_share("long", 7.0)  # the container promised fewer frames
    clock.now += 60
    meter.count(Outcome(id="long", status="done", pairs=240))
    assert text.getvalue().splitlines() == [
        "0/2 videos, ETA 1 min",  # 45 % in one minute
        "1/2 videos, 2.0 pairs/s, ETA 2 min",  # 55 % in two
        "1/2 videos, 1.3 pairs/s, ETA 0 min",
        "2/2 videos, 2.0 pairs/s, ETA 0 min",
    ]


def test_a_run_without_ray_shows_the_share_of_the_current_video(tmp_path, make_clip, monkeypatch):
    """The worker goes on only when half of the second video has been shown."""
    shown: dict[str, set[float]] = {}
    half = threading.Event()

    def show_share(self, id, share):
        shown.setdefault(id, set()).add(share)
        if id == "b.mp4" and share == 0.5:
            half.set()

    class Waiting(VideoReader):
        def read_frames(self):
            for number, frame in enumerate(super().read_frames()):
                if number == 32:  # of the second video; the rows of the first 32 will be written
                    assert half.wait(60)
                yield frame

    monkeypatch.setattr(in_process, "PROGRESS_SECONDS", 0.01)
    monkeypatch.setattr(Meter, "show_share", show_share)
    clips = [make_clip(tmp_path / f"{n}.mp4", frames=f) for n, f in (("a", 4), ("b", 64))]
    options = Options(workers=0, streams=("rgb",), open_video=Waiting)
    summary = extract(
        explicit_files(clips), tmp_path / "S", RECIPE, options, console=Console(quiet=True)
    )
    assert (summary.extracted, half.is_set()) == (2, True)
    assert not [t for t in threading.enumerate() if t.name == "progress"]


def test_a_terminal_without_a_bar_shows_lines(clock):
    text = io.StringIO()
    console = Console(file=text, width=200, force_terminal=True, _environ={"TERM": "dumb"})
    with Meter({"a": 1, "b": 1}, console) as meter:
        clock.now += 60
        meter.count(Outcome(id="a", status="done", pairs=240))
    assert text.getvalue().splitlines() == ["1/2 videos, 4.0 pairs/s, ETA 1 min"]


def test_a_video_begins_with_a_share_of_zero(tmp_path, make_clip, monkeypatch):
    shares = []

    class Recording(VideoReader):
        def __init__(self, *arguments):
            shares.append(workers[0].share)
            super().__init__(*arguments)

    workers = []
    init = Worker.__init__
    monkeypatch.setattr(
        Worker, "__init__", lambda self, *args: workers.append(self) or init(self, *args)
    )
    clips = [make_clip(tmp_path / f"{n}.mp4", frames=4) for n in "ab"]
    options = Options(workers=0, streams=("rgb",), open_video=Recording)
    extract(explicit_files(clips), tmp_path / "S", RECIPE, options, console=Console(quiet=True))
    assert shares == [0.0, 0.0]


def test_all_of_a_video_is_a_share_of_one(tmp_path, make_clip, monkeypatch):
    workers = []
    close = Worker.close
    monkeypatch.setattr(Worker, "close", lambda self: workers.append(self) or close(self))
    clip = make_clip(tmp_path / "a.mp4", frames=20)
    options = Options(workers=0, streams=("rgb",))
    extract(explicit_files([clip]), tmp_path / "S", RECIPE, options, console=Console(quiet=True))
    assert workers[0].share == pytest.approx(1.0)


@pytest.mark.parametrize(("fps", "frames"), [(None, 50), (5.0, 10), (50.0, 100)])
def test_the_expected_frames_are_those_after_resampling(tmp_path, make_clip, fps, frames):
    clip = make_clip(tmp_path / "a.mp4", frames=50)
    with VideoReader(clip, Resize(mode="none"), fps) as reader:
        assert estimate_frames(reader) == frames == len(list(reader))


def test_a_reader_that_knows_no_duration_expects_nothing(tmp_path, make_clip):
    clip = make_clip(tmp_path / "a.mp4", frames=4)
    options = Options(workers=0, streams=("rgb",))
    extract(explicit_files([clip]), tmp_path / "S", RECIPE, options, console=Console(quiet=True))
    assert estimate_frames(StoredRGBReader(Store(tmp_path / "S")["a.mp4"])) == 0
