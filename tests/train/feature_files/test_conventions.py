"""Conventions: rows and frames equal those of the public code that each one names.

Each replica below restates the window arithmetic of one source in other words, usually as a loop
over frames. It returns None where the source stops with an error or writes no row.
"""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from flowkit.errors import UsageError
from train.feature_files.conventions import CONVENTIONS, describe_convention, find_convention
from train.feature_files.request import make_resize_options

LENGTHS = range(1, 2001)
PAGE = Path(__file__).resolve().parents[3] / "docs" / "feature_conventions.md"

# Frames of the 44 anomalous test videos of ShanghaiTech, in the order of RTFM's test list: the
# lengths of its files list/test_frame_mask/*.npy.
SHANGHAI_FRAMES = """
    433 601 409 457 337 337 457 313 529 289 409 529 217 313 193 317 337 529 409 313 433 865
    313 361 529 433 649 769 241 217 385 457 241 337 457 289 313 337 241 433 601 289 217 337
"""


def list_chunks_of_images(images: int, stride: int) -> list[list[int]] | None:
    """Finspire13/pytorch-i3d-feature-extraction, GowthamGottimukkala/I3D_..._resnet.

    Chunks of 16 images of a folder, one every `stride` images, as long as they fit. More than 16
    images are required.
    """
    if images <= 16:
        return None
    return [list(range(s, s + 16)) for s in range(0, images, stride) if s + 16 <= images]


def replicate_thumos14(frames):
    return list_chunks_of_images(frames - 1, 4)  # one flow image for each pair of frames


def replicate_activitynet(frames):
    return list_chunks_of_images(frames - 1, 16)


def replicate_rtfm_extractor(frames):
    return list_chunks_of_images(frames, 16)


def replicate_activitynet_tsp(frames):
    """HumamAlwassel/TSP: a clip starts at each 16th resampled frame that 15 others follow."""
    starts = [frame for frame in range(0, frames, 16) if frames - frame > 15]
    return [list(range(start, start + 16)) for start in starts] or None


def replicate_rtfm(frames):
    """MagazzuGaetano/Feature-Extraction-...: frames from 1, bounded by their number."""
    starts = range(1, frames + 1, 16)
    snippets = [[*range(n, min(n + 16, frames + 1))] for n in starts]
    snippets[-1] += [frames] * (16 - len(snippets[-1]))
    return [[number - 1 for number in snippet] for snippet in snippets]


def replicate_xd_violence(frames):
    """Roc-Ng/XDVioDet: the labels lose the last frame, then what does not fill 16 frames."""
    labels = list(range(frames))[:-1]
    while len(labels) % 16:
        labels.pop()
    return np.array(labels).reshape(-1, 16).tolist() or None


def replicate_ucf_crime(frames):
    """The paper: each 16-frame clip."""
    return np.arange(frames // 16 * 16).reshape(-1, 16).tolist() or None


def replicate_video_features(frames):
    """v-iashin/video_features: a stack of 65 frames gives one row, and 64 of them go."""
    stack, rows = [], []
    for frame in range(frames):
        stack.append(frame)
        if len(stack) == 65:
            rows.append(stack[:-1])
            stack = stack[64:]
    return rows or None


def replicate_ms_tcn(frames):
    """The authors, yabufarha/ms-tcn issue 34: [t - 10, t + 10]; the ends as in their extractor."""
    padded = np.pad(np.arange(frames), 10, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 21)


def run_queue_of_ms_tcn(frames, batch):
    """ahsaniqbal/Kinetics-FeatureExtractor, LazyLoader.cpp: a queue, refilled after each batch."""
    video, rows = iter(range(frames)), []
    queue = [*[0] * 10, *islice(video, batch + 11)]
    queue += [queue[-1]] * (min(batch, frames) + 21 - len(queue))
    for left in range(frames, 0, -batch):
        rows += [queue[i : i + 21] for i in range(min(batch, left))]
        queue = [*queue[batch:], *islice(video, batch)]
        queue += queue[-1:] * (min(batch, left - batch) + 22 - len(queue))  # one more than before
    return rows


REPLICAS = {
    name.removeprefix("replicate_").replace("_", "-"): replica
    for name, replica in list(globals().items())
    if name.startswith("replicate_")
}


def test_every_convention_has_a_replica():
    assert sorted(REPLICAS) == sorted(CONVENTIONS)


@pytest.mark.parametrize("name", [name for name in CONVENTIONS if name != "ms-tcn"])
def test_rows_and_frames_equal_the_source(name):
    windows, replica = CONVENTIONS[name].windows, REPLICAS[name]
    without_rows = []
    for frames in LENGTHS:
        expected = replica(frames)
        if expected is None:
            without_rows.append(frames)
        else:
            assert windows.count_rows(frames) == len(expected), frames
            assert windows.list_frames(frames).tolist() == expected, frames
    # The lengths for which the source has no row are the shortest ones. We have one row there, and
    # it is padded unless it has exactly the 16 frames that the extractors refuse.
    assert without_rows == list(range(1, len(without_rows) + 1))
    for frames in without_rows:
        is_video = windows.count_usable(frames) > 0
        assert windows.count_rows(frames) == is_video
        fills_window = windows.count_usable(frames) == windows.length
        assert np.count_nonzero(windows.list_padding(frames)) == (is_video and not fills_window)
    assert len(without_rows) == {
        "thumos14": 17, "activitynet": 17, "activitynet-tsp": 15, "rtfm": 0, "rtfm-extractor": 16,
        "xd-violence": 16, "ucf-crime": 15, "video-features": 64,
    }[name]  # fmt: skip


def test_rows_of_ms_tcn_equal_the_source():
    windows = CONVENTIONS["ms-tcn"].windows
    for frames in LENGTHS:
        assert windows.count_rows(frames) == frames
        np.testing.assert_array_equal(windows.list_frames(frames), replicate_ms_tcn(frames))


@pytest.mark.parametrize("batch", [1, 4])
def test_the_queue_of_ms_tcn_repeats_one_frame(batch):
    windows = CONVENTIONS["ms-tcn"].windows
    repeated = 2 * batch + 10
    for frames in (*range(1, 70), 300):
        rows, ours = run_queue_of_ms_tcn(frames, batch), windows.list_frames(frames).tolist()
        assert len(rows) == len(ours)
        lag = repeated + 12  # the first row that has only frames after the repeated one
        assert rows[: batch + 1] == ours[: batch + 1]
        assert rows[lag:] == ours[lag - 1 : -1]
        if frames <= repeated + 1:
            assert rows == ours


def test_windows_of_thumos14_equal_those_of_rgb_features():
    """OpenGVLab/VideoMAEv2, extract_tad_feature.py, which has no flow: all frames are used."""
    windows = replace(CONVENTIONS["thumos14"].windows, last_frame="keep")
    for frames in range(16, 2001):
        assert windows.list_starts(frames).tolist() == list(range(0, frames - 15, 4))


@pytest.mark.parametrize("name", ["thumos14", "activitynet", "activitynet-tsp"])
def test_rows_lie_where_actionformer_places_them(name):
    """happyharrycn/actionformer_release, FAQ.md: row = (time · fps - window / 2) / stride."""
    windows, fps = CONVENTIONS[name].windows, 25.0
    middle = windows.compute_times(500, fps=fps).mean(axis=1)
    rows = (middle * fps - 0.5 * windows.length) / windows.stride
    np.testing.assert_allclose(rows, np.arange(windows.count_rows(500)), atol=1e-9)


def test_rows_of_shanghaitech_equal_the_published_labels():
    """tianyu0207/RTFM: list/gt-sh.npy has 16 labels for each row of the published features."""
    windows = CONVENTIONS["rtfm"].windows
    rows = [windows.count_rows(int(frames)) for frames in SHANGHAI_FRAMES.split()]
    assert sum(rows) * 16 == 17968


def test_shapes_of_files():
    shapes = {name: convention.list_shapes(1000) for name, convention in CONVENTIONS.items()}
    assert shapes == {
        "thumos14": ((246, 2048),),
        "activitynet": ((62, 2048),),
        "activitynet-tsp": ((62, 512),),
        "ms-tcn": ((1000, 2048),),
        "rtfm": ((63, 10, 2048),),
        "rtfm-extractor": ((62, 10, 2048),),
        "xd-violence": ((62, 10, 1024), (62, 10, 1024)),
        "ucf-crime": ((62, 4096),),
        "video-features": ((15, 1024), (15, 1024)),
    }


def test_frames_are_resized_as_the_sources_say():
    assert make_resize_options(CONVENTIONS["thumos14"]) == {"resize": "340x256"}
    resize = make_resize_options(CONVENTIONS["video-features"])
    assert resize == {"short_side": 256, "upscale": True}
    as_it_is = replace(CONVENTIONS["ms-tcn"], short_side=None)
    assert make_resize_options(as_it_is) == {"no_resize": True}
    for convention in CONVENTIONS.values():
        height = convention.short_side or convention.frame_size[1]
        assert convention.size <= height


@pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=CONVENTIONS)
def test_a_convention_describes_itself(convention):
    assert CONVENTIONS[convention.name] is convention
    assert convention.sources and all(s.startswith("https://") for s in convention.sources)
    lines = list(describe_convention(convention))
    for text in (*convention.sources, *convention.left_open, *convention.notes):
        assert any(line.endswith(f": {text}") for line in lines)
    assert lines[0].startswith(f"windows: {convention.windows.length} frames")


def test_the_page_has_a_row_for_each_convention():
    table = []
    for convention in CONVENTIONS.values():
        cells = [line.split(": ", 1)[1] for line in describe_convention(convention)][:3]
        table.append(f"| `{convention.name}` | {' | '.join(cells)} |")
    assert "\n".join(table) in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("thumos", "did you mean thumos14"),
        ("RTFM", "did you mean rtfm"),
        ("kinetics-700", "there are thumos14, activitynet"),
    ],
)
def test_an_unknown_convention_names_the_nearest(name, message):
    with pytest.raises(UsageError, match=message):
        find_convention(name)


def test_a_convention_is_found_by_its_name():
    assert find_convention("ms-tcn").windows.length == 21
