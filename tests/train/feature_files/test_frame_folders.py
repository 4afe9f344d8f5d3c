"""Features of frame folders, whose frame rates options and labels state."""

import cv2
import numpy as np
import pytest

from flowkit.annotations.table import Annotation, AnnotationTable
from flowkit.errors import UsageError
from tests.train.feature_files.conftest import compute, locate, read_info

pytestmark = pytest.mark.usefixtures("mirrors")


@pytest.fixture
def folders(tmp_path):
    """Two frame folders of 12 and 14 images."""
    paths = []
    for n in range(2):
        folder = tmp_path / "frames" / f"f{n}"
        folder.mkdir(parents=True)
        for t in range(12 + 2 * n):
            image = np.random.default_rng([n, t]).integers(0, 255, (16, 20, 3), np.uint8)
            cv2.imwrite(str(folder / f"img_{t + 1:05d}.png"), image)
        paths.append(folder)
    return paths


def make_rates(**rates):
    rows = [Annotation(id, (), (), {"FPS": rate}) for id, rate in rates.items()]
    return AnnotationTable((), tuple(rows))


def test_frame_folders_have_the_rates_that_options_and_labels_state(folders, make_request):
    request = make_request(streams=("rgb",))
    table = make_rates(f1="10")
    compute(locate(*folders), request, frame_rate=5.0, table=table)
    infos = [read_info(request.out, name) for name in ("f0", "f1")]
    assert [info["frame_rate"] for info in infos] == [5.0, 10.0]
    assert [info["source_frame_rate"] for info in infos] == [5.0, 10.0]
    assert [info["duration"] for info in infos] == pytest.approx([12 / 5, 14 / 10])
    assert infos[1]["start_seconds"][1] == pytest.approx(0.3)
    again = compute(locate(*folders), request, frame_rate=5.0, table=table)
    assert (again.done_before, again.computed) == (2, 0)
    # Another rate moves the rows in time.
    changed = compute(locate(*folders), request, frame_rate=6.0, table=table)
    assert (changed.changed, changed.done_before) == (["f0"], 1)
    compute(locate(*folders), request, frame_rate=6.0, table=table, update=True)
    assert read_info(request.out, "f0")["frame_rate"] == 6.0


def test_frame_folders_are_resampled_from_stated_rates(folders, make_request):
    request = make_request(streams=("rgb",), fps=10.0)
    with pytest.raises(UsageError, match=r"2 folders of images are to be resampled"):
        compute(locate(*folders), request)
    compute(locate(*folders), request, table=make_rates(f0="5", f1="20"))
    assert [read_info(request.out, name)["frames"] for name in ("f0", "f1")] == [24, 7]


def test_an_unknown_rate_is_said(folders, make_request):
    request = make_request(streams=("rgb",))
    summary = compute(locate(*folders), request)
    assert "25 frames per second are assumed" in summary.warned[0]
    assert "25 frames per second are assumed" in read_info(request.out, "f0")["warnings"][0]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), 1e9])
def test_bad_frame_rates(folders, make_request, rate):
    with pytest.raises(UsageError, match="--frame-rate must be above 0"):
        compute(locate(*folders), make_request(streams=("rgb",)), frame_rate=rate)
