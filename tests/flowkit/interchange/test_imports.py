import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.errors import LockedError, RecipeError, UsageError
from flowkit.flow.quantization import dequantize, from_denseflow, quantize, to_denseflow
from flowkit.interchange.export import export
from flowkit.interchange.import_recipe import estimate_quality
from flowkit.interchange.imports import import_folders, make_requantization_table
from flowkit.store.failures import read_failures
from flowkit.store.format.locks import hold_store
from flowkit.store.integrity.verify import verify
from flowkit.store.reader import Store

IDS = ("a", "b/ü #1", "c")


@pytest.fixture
def folders(tmp_path, make_store) -> Path:
    """What another tool would have left: plain folders, without our tables."""
    export(Store(make_store(("x", "y"))), tmp_path / "frames" / "class", "denseflow")
    for path in [*(tmp_path / "frames/class").iterdir()]:
        if path.is_file():
            path.unlink()
    return tmp_path / "frames"


@pytest.mark.parametrize("format", ["denseflow", "mmaction2"])
def test_export_and_import_give_the_store_again(make_store, tmp_path, format):
    first = Store(make_store(IDS))
    export(first, tmp_path / "out", format)
    report = import_folders(tmp_path / "out", tmp_path / "again", format)
    assert (report.imported, report.failures) == (3, {})
    again = Store(tmp_path / "again")
    assert list(again) == list(first)
    for id in IDS:
        old, new = first[id], again[id]
        assert (new.num_frames, new.num_flow, new.fps) == (old.num_frames, old.num_flow, 25.0)
        assert (new.width, new.height) == (old.width, old.height)
        for t in range(old.num_frames):
            assert new.rgb_bytes(t) == old.rgb_bytes(t)
        for t in range(old.num_flow):
            error = abs(new.flow(t) - old.flow(t))
            # two roundings of up to half a step each, and two JPEGs
            assert error.mean() <= 1.5 * 20 / 127
            assert error.max() < 8 * 20 / 127
    assert verify(tmp_path / "again", deep=True).clean


@given(st.sampled_from([15.0, 20.0, 32.0]), st.integers(0, 255))
def test_a_value_is_within_half_a_step(bound, q):
    seen = dequantize(make_requantization_table(bound)[np.array([q], np.uint8)], bound)
    assert abs(seen - from_denseflow(np.array([q], np.uint8), bound)) <= bound / 254 * 1.001


@given(st.integers(1, 255))
def test_there_and_back_is_the_same_value(q):
    """The steps 2B/255 and B/127 are so near that rounding twice comes back to within one."""
    stored = dequantize(np.array([q], np.uint8))
    again = quantize(from_denseflow(to_denseflow(stored)))
    assert abs(int(again[0]) - q) <= 1
    if q == 128:
        assert again[0] == 128


def test_the_recipe_does_not_claim_our_solver(folders, tmp_path):
    import_folders(folders, tmp_path / "s", "denseflow", bound=32.0, fps=30.0)
    recipe = Store(tmp_path / "s").recipe
    assert recipe.flow.grey == "imported:denseflow"
    assert recipe.flow.bound == 32.0
    assert recipe.resize.mode == "none"
    assert (recipe.rgb.quality, recipe.rgb.subsampling) == (90, "4:2:0")


def test_ids_are_paths_and_fps_is_asked_for(folders, tmp_path):
    with pytest.raises(UsageError, match="--fps"):
        import_folders(folders, tmp_path / "s")
    import_folders(folders, tmp_path / "s", fps=30.0)
    store = Store(tmp_path / "s")
    assert list(store) == ["class/x", "class/y"]
    assert store["class/x"].fps == 30.0


def test_a_second_run_imports_only_what_is_new(folders, tmp_path):
    import_folders(folders, tmp_path / "s", fps=30.0)
    shutil.copytree(folders / "class/x", folders / "class/z")
    report = import_folders(folders, tmp_path / "s", fps=30.0)
    assert (report.imported, report.skipped) == (1, 2)
    assert len(Store(tmp_path / "s")) == 3


def lose_last_batch(folder: Path) -> None:
    for path in [*folder.glob("flow_?_0000[34].jpg")]:
        path.unlink()


def lose_y(folder: Path) -> None:
    next(folder.glob("flow_y_00004.jpg")).unlink()


def make_gap(folder: Path) -> None:
    (folder / "img_00002.jpg").unlink()


def start_late(folder: Path) -> None:
    for path in sorted(folder.iterdir(), reverse=True):
        stem, number = path.stem.rsplit("_", 1)
        path.rename(folder / f"{stem}_{int(number) + 2:05d}.jpg")


def mix_bases(folder: Path) -> None:
    for path in sorted(folder.glob("flow_*"), reverse=True):
        stem, number = path.stem.rsplit("_", 1)
        path.rename(folder / f"{stem}_{int(number) + 1:05d}.jpg")


def shrink(folder: Path) -> None:
    picture = cv2.imread(str(folder / "img_00003.jpg"))
    cv2.imwrite(str(folder / "img_00003.jpg"), picture[:-8])


def cut(folder: Path) -> None:
    path = folder / "flow_x_00001.jpg"
    path.write_bytes(path.read_bytes()[:150])


def empty(folder: Path) -> None:
    (folder / "img_00001.jpg").write_bytes(b"")


def twice(folder: Path) -> None:
    shutil.copy(folder / "img_00001.jpg", folder / "img_1.jpg")


@pytest.mark.parametrize(
    ("break_folder", "kind", "reason"),
    [
        (lose_last_batch, "count", "6 frames need 5 flow fields, found 3"),
        (lose_y, "count", "5 flow_x but 4 flow_y"),
        (make_gap, "gap", "img lacks 1 of 6 numbers: 2"),
        (start_late, "gap", "starts at 2, expected 0 or 1"),
        (mix_bases, "numbering", "different numbers"),
        (shrink, "size-change", "40×16, the files before it 40×24"),
        (cut, "broken", "flow_x_00001.jpg is not a complete JPEG"),
        (empty, "broken", "img_00001.jpg is not a complete JPEG"),
        (twice, "gap", "have the same number"),
    ],
)
def test_a_bad_folder_is_listed_and_the_others_imported(
    folders, tmp_path, break_folder, kind, reason
):
    break_folder(folders / "class/y")
    report = import_folders(folders, tmp_path / "s", fps=30.0)
    assert report.imported == 1
    assert reason in report.failures["class/y"]
    failure = read_failures(tmp_path / "s")["class/y"]
    assert (failure.kind, failure.attempts) == (kind, 1)
    assert list(Store(tmp_path / "s")) == ["class/x"]
    assert verify(tmp_path / "s", deep=True).clean
    import_folders(folders, tmp_path / "s", fps=30.0)
    assert read_failures(tmp_path / "s")["class/y"].attempts == 2


def test_an_image_that_cannot_be_read_does_not_hide_the_recipe(folders, tmp_path):
    (folders / "class/a").mkdir()
    (folders / "class/a/img_00001.jpg").symlink_to("nowhere")
    report = import_folders(folders, tmp_path / "s", fps=30.0)
    assert report.imported == 2
    assert list(report.failures) == ["class/a"]


def test_one_based_folders_are_understood(folders, tmp_path):
    for folder in (folders / "class").iterdir():
        for path in sorted(folder.iterdir(), reverse=True):
            stem, number = path.stem.rsplit("_", 1)
            path.rename(folder / f"{stem}_{int(number) + 1:05d}.jpg")
    assert import_folders(folders, tmp_path / "s", "mmaction2", fps=30.0).imported == 2


@pytest.mark.parametrize(("keep", "streams"), [("img_*", ("rgb",)), ("flow_*", ("flow",))])
def test_one_stream_alone(folders, tmp_path, keep, streams):
    for folder in (folders / "class").iterdir():
        for path in set(folder.iterdir()) - set(folder.glob(keep)):
            path.unlink()
    import_folders(folders, tmp_path / "s", fps=30.0)
    store = Store(tmp_path / "s")
    assert store["class/x"].streams == streams
    assert store["class/x"].num_frames == 5
    assert verify(tmp_path / "s", deep=True).clean


def test_a_single_video_folder_is_named_after_itself(folders, tmp_path):
    import_folders(folders / "class/x", tmp_path / "s", fps=30.0)
    assert list(Store(tmp_path / "s")) == ["x"]


def test_nothing_to_import(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="img_00000"):
        import_folders(tmp_path / "none", tmp_path / "s")
    with pytest.raises(UsageError, match="format"):
        import_folders(tmp_path / "none", tmp_path / "s", "tsn")


def test_an_extracted_store_takes_no_imported_flow(make_store, folders, tmp_path):
    root = make_store(("a",), root=tmp_path / "own")
    with pytest.raises(RecipeError, match="imported:denseflow"):
        import_folders(folders, root, fps=30.0)


def test_an_extraction_at_work_is_not_disturbed(folders, tmp_path):
    import_folders(folders, tmp_path / "s", fps=30.0)
    with hold_store(tmp_path / "s"), pytest.raises(LockedError):
        import_folders(folders, tmp_path / "s", fps=30.0)


@pytest.mark.parametrize("quality", [1, 25, 49, 50, 75, 90, 95, 100])
def test_quality_is_read_from_the_tables(quality):
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    assert estimate_quality(data) == quality


@pytest.mark.parametrize(
    ("name", "step"), [("flow_x_p2_00000.jpg", "2"), ("flow_y_m1_00001.jpg", "-1")]
)
def test_flow_of_another_step_is_refused(folders, tmp_path, name, step):
    (folders / "class" / "x" / name).write_bytes(b"")
    report = import_folders(folders, tmp_path / "S", fps=25)
    assert (report.imported, list(report.failures)) == (1, ["class/x"])
    assert (
        f"{name} is flow with step {step}, and only flow to the next frame"
        in (report.failures["class/x"])
    )


def test_the_bound_of_an_export_is_kept(make_store, tmp_path):
    root = make_store(("a",), bound=32.0)
    export(Store(root), tmp_path / "out", "denseflow")
    import_folders(tmp_path / "out", tmp_path / "s")
    first, again = Store(root), Store(tmp_path / "s")
    assert again.recipe.flow.bound == 32
    assert abs(again["a"].flow(0) - first["a"].flow(0)).mean() <= 1.5 * 32 / 127
    with pytest.raises(UsageError, match=r"export.json: .* bound 32, got --bound 20; leave out"):
        import_folders(tmp_path / "out", tmp_path / "t", bound=20.0)
    assert not (tmp_path / "t").exists()
    assert import_folders(tmp_path / "out", tmp_path / "s", bound=32.0).skipped == 1


def test_the_frame_rate_of_an_export_is_kept(make_store, tmp_path):
    export(Store(make_store(("a",))), tmp_path / "out", "denseflow")
    with pytest.raises(UsageError, match=r"a: videos.csv records 25 .*, got --fps 30; leave out"):
        import_folders(tmp_path / "out", tmp_path / "s", fps=30.0)
    import_folders(tmp_path / "out", tmp_path / "rounded", fps=25.01)
    assert Store(tmp_path / "rounded")["a"].fps == 25
    table = tmp_path / "unknown/videos.csv"
    shutil.copytree(tmp_path / "out", table.parent)
    header, row = table.read_text().splitlines()
    values = dict(zip(header.split(","), row.split(","), strict=True)) | {"fps": "0"}
    table.write_text(f"{header}\n{','.join(values.values())}\n")
    import_folders(table.parent, tmp_path / "stated", fps=30.0)
    assert Store(tmp_path / "stated")["a"].fps == 30
    shutil.copytree(tmp_path / "out/a", tmp_path / "out/b")
    import_folders(tmp_path / "out", tmp_path / "s", fps=30.0)
    store = Store(tmp_path / "s")
    assert {id: store[id].fps for id in store} == {"a": 25, "b": 30}


def test_two_folders_of_one_id_are_refused(make_store, tmp_path):
    export(Store(make_store(("v 1",))), tmp_path / "out", "denseflow")
    shutil.copytree(tmp_path / "out/v%201", tmp_path / "out/v 1")
    with pytest.raises(UsageError, match=r"v 1 and .*v%201 both have the id 'v 1'; rename"):
        import_folders(tmp_path / "out", tmp_path / "s", fps=25.0)
    assert not (tmp_path / "s").exists()


def test_ids_that_differ_only_by_normalization_are_refused(make_store, tmp_path):
    """A store with both could not be indexed."""
    export(Store(make_store(("a",))), tmp_path / "out", "denseflow")
    shutil.copytree(tmp_path / "out/a", tmp_path / "frames/caf\u00e9")
    import_folders(tmp_path / "frames", tmp_path / "s", fps=25)
    (tmp_path / "frames/caf\u00e9").rename(tmp_path / "frames/cafe\u0301")
    with pytest.raises(UsageError, match=r"'cafe\\u0301' differs from 'caf\\xe9' .*; rename"):
        import_folders(tmp_path / "frames", tmp_path / "s", fps=25)
    assert list(Store(tmp_path / "s")) == ["caf\u00e9"]
    shutil.copytree(tmp_path / "out/a", tmp_path / "frames/caf\u00e9")
    with pytest.raises(UsageError, match="both have the id"):
        import_folders(tmp_path / "frames", tmp_path / "other", fps=25)


def test_links_to_folders_are_followed(folders, tmp_path):
    (folders / "class").rename(tmp_path / "elsewhere")
    (folders / "class").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/loop").symlink_to(folders)
    assert import_folders(folders, tmp_path / "s", fps=25.0).imported == 2
    assert list(Store(tmp_path / "s")) == ["class/x", "class/y"]


def test_a_folder_that_cannot_be_listed_is_named(folders, tmp_path, monkeypatch):
    def scan(path, scandir=os.scandir):
        if Path(path).name == "y":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(UsageError, match=r"cannot list the folder .*class/y: Permission denied"):
        import_folders(folders, tmp_path / "s", fps=25.0)


@pytest.mark.parametrize("bound", [0.0, 1e30, float("inf"), float("nan")])
def test_a_bound_out_of_range_creates_no_store(folders, tmp_path, bound):
    with pytest.raises(UsageError, match="flow bound must be positive pixels below 1e"):
        import_folders(folders, tmp_path / "s", fps=25.0, bound=bound)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "content", ["{", "[1]", '{"flow_template": "x"}', '{"flow_template": "x", "bound": null}']
)
def test_a_damaged_record_of_an_export_is_named(folders, tmp_path, content):
    (folders / "export.json").write_text(content)
    with pytest.raises(UsageError, match=r"export.json: expected the record of an export"):
        import_folders(folders, tmp_path / "s", fps=25.0)


def test_the_record_of_another_tool_is_no_record_of_an_export(folders, tmp_path):
    (folders / "export.json").write_text('{"annotator": 3}')
    import_folders(folders, tmp_path / "s", fps=25.0, bound=32.0)
    assert Store(tmp_path / "s").recipe.flow.bound == 32


@pytest.mark.parametrize("fps", [0.0, -5.0, 1001.0, float("inf"), float("nan")])
def test_a_frame_rate_out_of_range_creates_no_store(folders, tmp_path, fps):
    with pytest.raises(UsageError, match="fps must be above 0 and at most 1000, got"):
        import_folders(folders, tmp_path / "s", fps=fps)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"path,label\nclass/x,1\n", ":1: .*column name is missing"),
        (b"name,id,frames,flow,fps,width,height,labels,subsets\nx,x,6\n", ":2: .*line is cut"),
        (
            b"name,id,frames,flow,fps,width,height,labels,subsets\nx,x,6,5,?,4,4,[],[]\n",
            ":2: .*could",
        ),
        (b"name,id,fps\nx,x,-5\n", ":2: .*fps is -5"),
        (b"name,id\n\xff\n", ":1: .*codec"),
    ],
)
def test_a_table_of_another_tool_is_ignored_and_a_damaged_one_named(
    folders, tmp_path, content, reason
):
    (folders / "videos.csv").write_bytes(content)
    assert import_folders(folders, tmp_path / "s", fps=25.0).imported == 2
    (folders / "export.json").write_text('{"bound": 20.0}')
    with pytest.raises(UsageError, match=rf"videos.csv{reason}"):
        import_folders(folders, tmp_path / "t", fps=25.0)


def test_a_folder_whose_name_is_not_utf8_is_listed(folders, tmp_path):
    (folders / "class/y").rename(folders / "class" / os.fsdecode(b"y\xff"))
    for attempts in (1, 2):
        report = import_folders(folders, tmp_path / "s", fps=25.0)
        assert report.imported == 2 - attempts
        assert list(report.failures) == ["class/y\\xff"]
        failure = read_failures(tmp_path / "s")["class/y\\xff"]
        assert (failure.kind, failure.attempts) == ("bad-name", attempts)
    assert list(Store(tmp_path / "s")) == ["class/x"]


def test_a_new_store_gets_the_name_of_its_dataset(folders, tmp_path):
    import_folders(folders, tmp_path / "s", fps=25.0, dataset="ucf101")
    assert Store(tmp_path / "s").header.dataset == "ucf101"
    import_folders(folders, tmp_path / "s", fps=25.0)
    assert Store(tmp_path / "s").header.dataset == "ucf101"
    with pytest.raises(RecipeError, match="expected dataset 'ucf101'"):
        import_folders(folders, tmp_path / "s", fps=25.0, dataset="hmdb51")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="rawframe: expected a folder with those of videos; check"):
        import_folders(tmp_path / "rawframe", tmp_path / "s", fps=25)
    assert not (tmp_path / "s").exists()
