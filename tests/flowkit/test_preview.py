import av
import cv2
import numpy as np
import pytest

from flowkit.errors import StoreError, UsageError
from flowkit.flow.color import flow_to_color
from flowkit.preview import (
    GRID_TILE,
    TILE,
    choose_video_per_class,
    describe_radius,
    measure_radius,
    preview,
    preview_grid,
    preview_sheet,
    space_evenly,
)
from flowkit.preview.canvas import GAP, MARGIN, resize
from flowkit.store.reader import Store


def read_png(path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def holds(canvas: np.ndarray, tile: np.ndarray) -> bool:
    """Whether a tile is somewhere in a picture, its outermost pixels aside."""
    match = cv2.matchTemplate(canvas, np.ascontiguousarray(tile), cv2.TM_SQDIFF)
    return bool(match.min() <= tile.size * 0.5)


def test_a_strip_shows_the_frames_and_the_flow(make_store, tmp_path):
    video = Store(make_store(("a",), frames=9))["a"]
    canvas = read_png(preview(video, tmp_path / "a.png", count=4))
    radius = measure_radius(video)
    size = (round(TILE * video.width / video.height), TILE)
    for t in space_evenly(video.num_flow, 4):
        assert holds(canvas, resize(video.rgb(t), *size)[1:-1, 1:-1])
        colours = resize(flow_to_color(video.flow(t), radius), *size)
        assert holds(canvas, colours[1:-1, 1:-1])
    assert (canvas[: MARGIN // 2] == 255).all()
    assert (canvas[:, -MARGIN // 2 :] == 255).all()


@pytest.mark.parametrize("step", [3, -3])
def test_frames_without_flow_are_not_drawn(make_store, tmp_path, step):
    video = Store(make_store(("a",), frames=8, step=step))["a"]
    canvas = read_png(preview(video, tmp_path / "a.png", count=2))
    size, radius = (round(TILE * video.width / video.height), TILE), measure_radius(video)
    for t in (1 + max(0, -step), 3 + max(0, -step)):  # of 5 fields
        assert holds(canvas, resize(video.rgb(t), *size)[1:-1, 1:-1])
        colours = resize(flow_to_color(video.flow(t), radius), *size)
        assert holds(canvas, colours[1:-1, 1:-1])
    preview_grid(Store(video._store.path), ["a"], tmp_path / "grid.png")
    with av.open(str(preview(video, tmp_path / "a.mp4"))) as film:
        assert sum(1 for _ in film.decode(video=0)) == 8


def test_captions_have_the_true_times(make_store, tmp_path, monkeypatch):
    from flowkit import preview as drawing

    texts = []
    original = drawing.write_text

    def note(canvas, text, *arguments, **options):
        texts.append(text)
        return original(canvas, text, *arguments, **options)

    monkeypatch.setattr(drawing, "write_text", note)
    root = make_store(("a",), frames=3, times=lambda t: 1_500_000 * t)
    drawing.preview(Store(root)["a"], tmp_path / "a.png", count=2)
    assert [text for text in texts if text.endswith(" s")] == ["frame 0   0.00 s", "1   1.50 s"]


def test_the_scale_is_that_of_the_video(make_store):
    video = Store(make_store(("a",)))["a"]
    lengths = np.concatenate(
        [np.hypot(*video.flow(t).transpose(2, 0, 1)).ravel() for t in range(video.num_flow)]
    )
    assert measure_radius(video) == pytest.approx(np.percentile(lengths, 99))


@pytest.mark.parametrize(
    ("length", "count", "times"),
    [(1, 8, [0]), (3, 8, [0, 1, 2]), (8, 4, [1, 3, 5, 7]), (100, 2, [25, 75]), (0, 3, [])],
)
def test_times_are_evenly_spread(length, count, times):
    assert space_evenly(length, count) == times


@pytest.mark.parametrize("streams", [("rgb",), ("flow",)])
@pytest.mark.parametrize("ending", ["png", "mp4"])
def test_one_stream_alone(make_store, tmp_path, streams, ending):
    video = Store(make_store(("a",), streams=streams))["a"]
    out = preview(video, tmp_path / f"a.{ending}")
    assert out.stat().st_size > 500


def test_a_film_has_every_frame_beside_its_flow(make_store, tmp_path):
    video = Store(make_store(("a",), frames=7, width=65, height=49))["a"]
    out = preview(video, tmp_path / "a.mp4")
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 25
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 7
    assert frames[0].shape == (50, 132, 3)
    radius = measure_radius(video)
    for t in range(6):
        assert abs(frames[t][:49, :65].astype(int) - video.rgb(t)).mean() < 8
        colours = flow_to_color(video.flow(t), radius)
        assert abs(frames[t][:49, 66:131].astype(int) - colours).mean() < 12


def test_a_sheet_has_a_strip_for_each_video(make_store, tmp_path):
    store = Store(make_store(("a", "b", "手 #2")))
    one = read_png(preview_sheet(store, ["a"], tmp_path / "one.png", count=3))
    three = read_png(preview_sheet(store, store, tmp_path / "three.png", count=3))
    strip = one.shape[0] - 2 * MARGIN
    assert three.shape[0] == 3 * strip + 4 * MARGIN
    wide = read_png(preview_sheet(store, store, tmp_path / "wide.png", count=3, columns=3))
    assert wide.shape[0] == one.shape[0]
    assert wide.shape[1] > 2.5 * one.shape[1]


def test_a_sheet_shows_each_class(make_store):
    store = Store(make_store(("a", "b", "c", "d", "e")))  # wave, jump high, wave, …
    assert choose_video_per_class(store) == ["a", "b"]
    assert choose_video_per_class(store, 1) == ["a"]
    bare = Store(make_store(("x", "y", "z"), root=store.path.parent / "bare", annotated=False))
    assert choose_video_per_class(bare, 2) == ["x", "y"]


def test_what_cannot_be_drawn(make_store, tmp_path):
    store = Store(make_store())
    with pytest.raises(UsageError, match=r"\.png"):
        preview(store["a"], tmp_path / "a.gif")
    with pytest.raises(UsageError, match="at least one"):
        preview_sheet(store, [], tmp_path / "a.png")
    with pytest.raises(UsageError, match="expected the id"):
        preview_sheet(store, ["nobody"], tmp_path / "a.png")


def test_text_without_a_typeface(make_store, tmp_path, monkeypatch):
    """OpenCV 4 has no FontFace: its own strokes are used, and other letters become ``?``."""
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    out = preview(Store(make_store(("ü",)))["ü"], tmp_path / "a.png")
    assert (read_png(out)[:60] < 128).any()


def test_a_grid_has_one_frame_of_each_video_above_its_flow(make_store, tmp_path):
    store = Store(make_store(("a", "b", "c"), frames=9))
    canvas = read_png(preview_grid(store, list(store), tmp_path / "grid.png"))
    side, step = GRID_TILE, GRID_TILE + GAP
    for n, id in enumerate(store):
        video = store[id]
        column = canvas[MARGIN:, MARGIN + n * step :][:, :side]
        t = video.num_flow // 2
        middle = np.s_[:, 8:32]  # the videos are 40×24
        assert (column[:side] == resize(video.rgb(t)[middle], side, side)).all()
        colours = flow_to_color(video.flow(t), measure_radius(video))[middle]
        assert (column[step : step + side] == resize(colours, side, side)).all()
    without = Store(make_store(("a",), tmp_path / "rgb", streams=("rgb",)))
    with pytest.raises(UsageError, match="videos with RGB and flow"):
        preview_grid(without, ["a"], tmp_path / "grid.png")


@pytest.mark.parametrize("ending", ["png", "mp4"])
def test_folders_are_made_and_what_cannot_be_written_is_named(make_store, tmp_path, ending):
    video = Store(make_store(("a",)))["a"]
    assert preview(video, tmp_path / "new" / "folder" / f"a.{ending}").exists()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write"):
        preview(video, tmp_path / "file" / f"a.{ending}")


def test_the_legend_says_how_many_frames_a_displacement_spans():
    assert describe_radius(2.44, 1) == "rim: 2.4 px per frame"
    assert describe_radius(12.0, 3) == "rim: 12 px in 3 frames"
