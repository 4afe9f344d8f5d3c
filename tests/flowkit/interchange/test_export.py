import csv
import errno
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from flowkit.commands.options import EXPORT_FORMATS, IMAGE_FOLDERS
from flowkit.errors import DiskFullError, LockedError, UsageError
from flowkit.interchange import export as exporting
from flowkit.interchange.export import choose_ids, export, lock_folder
from flowkit.interchange.file_names import encode_id
from flowkit.interchange.folders import FORMATS as IMPORT_FORMATS
from flowkit.interchange.formats.export_format import ExportOptions
from flowkit.interchange.formats.image_folders import Denseflow
from flowkit.interchange.formats.registry import FORMATS
from flowkit.store import rebuild_index
from flowkit.store.format.jpeg import encode_rgb
from flowkit.store.reader import Store

IDS = ("a", "b/ü #1", "c")
STEP = 2 * 20 / 255  # pixels per grey value in the written flow


def load_rawframes(folder: Path, template: str, index: int, modality: str) -> np.ndarray:
    """What mmaction2's RawFrameDecode does for one index: format the name, read it with OpenCV."""
    if modality == "RGB":
        return cv2.imread(str(folder / template.format(index)))[..., ::-1]
    planes = [
        cv2.imread(str(folder / template.format(axis, index)), cv2.IMREAD_GRAYSCALE)
        for axis in "xy"
    ]
    return np.stack(planes, -1)


def normalize(q: np.ndarray) -> np.ndarray:
    """mmaction2's normalization of flow (mean 128, std 128), times the bound."""
    return (q.astype(np.float32) - 128) / 128 * 20


def dequantize(q: np.ndarray) -> np.ndarray:
    return q.astype(np.float32) * STEP - 20


@pytest.mark.parametrize(("format", "start"), [("denseflow", 0), ("mmaction2", 1)])
def test_their_loaders_read_it(make_store, tmp_path, format, start):
    store = Store(make_store(IDS))
    report = export(store, tmp_path / "out", format)
    assert (report.written, report.skipped, report.failures) == (3, 0, {})
    settings = json.loads((tmp_path / "out/export.json").read_text())
    assert settings["start_index"] == start
    for id in IDS:
        video, folder = store[id], tmp_path / "out" / encode_id(id)
        assert len(list(folder.glob("img_*.jpg"))) == video.num_frames
        assert len(list(folder.glob("flow_x_*.jpg"))) == video.num_frames - 1
        for t in range(video.num_frames):
            name = settings["rgb_template"].format(start + t)
            assert (folder / name).read_bytes() == video.rgb_bytes(t)
            seen = load_rawframes(folder, settings["rgb_template"], start + t, "RGB")
            # OpenCV's libjpeg may round chroma otherwise than simplejpeg's
            assert abs(seen.astype(int) - video.rgb(t)).mean() < 1
        for t in range(video.num_flow):
            q = load_rawframes(folder, settings["flow_template"], start + t, "Flow")
            error = abs(dequantize(q) - video.flow(t))
            assert error.mean() <= STEP
            assert error.max() <= report.added_error_max + 3 * STEP  # JPEG may move a value by some
            # their normalization knows no half step: zero is 128, and the scale 128 per 127.5
            assert abs(normalize(q) - video.flow(t)).mean() <= 1.5 * STEP


def test_values_without_jpeg_are_within_half_a_step(make_store, tmp_path):
    target = Denseflow(Store(make_store()), tmp_path, ExportOptions())
    error = abs(target.written_pixels[target.table] - target.stored_pixels)[1:]
    assert error.max() <= STEP / 2 + 1e-5
    assert target.table[128] == 128


def test_another_bound_is_written(make_store, tmp_path):
    store = Store(make_store(("a",)))
    export(store, tmp_path / "out", "denseflow", bound=32.0)
    q = load_rawframes(tmp_path / "out/a", "flow_{}_{:05d}.jpg", 0, "Flow")
    error = abs(q.astype(np.float32) * 64 / 255 - 32 - store["a"].flow(0))
    assert error.mean() < 64 / 255


def test_lists_are_those_of_rawframe_dataset(make_store, tmp_path):
    store = Store(make_store(IDS))
    export(store, tmp_path / "out", "mmaction2")
    found = {}
    for stream in ("rgb", "flow"):
        for subset in store.subsets():
            for line in (tmp_path / f"out/{subset}_{stream}.txt").read_text().splitlines():
                folder, total, label = line.split()
                files = list(
                    (tmp_path / "out" / folder).glob(f"{'img' if stream == 'rgb' else 'flow_x'}_*")
                )
                assert len(files) == int(total)
                found[folder, stream] = int(label)
    assert found == {
        (encode_id(id), stream): n % 2 for n, id in enumerate(IDS) for stream in ("rgb", "flow")
    }
    assert (tmp_path / "out/classes.txt").read_text() == "wave\njump high\n"
    # The list of a subset that is gone is removed; a user's own list is not.
    rows = (tmp_path / "out/videos.csv").read_text()
    (tmp_path / "out/videos.csv").write_text(rows.replace("train", "before"))
    for name in ("before", "own"):
        (tmp_path / f"out/{name}_rgb.txt").write_text("a 5 0\n")
    export(store, tmp_path / "out", "mmaction2")
    lists = {path.name for path in (tmp_path / "out").glob("*_rgb.txt")}
    assert lists == {"own_rgb.txt", *(f"{subset}_rgb.txt" for subset in store.subsets())}


def test_unlabelled_videos_are_in_no_list_but_in_the_table(make_store, tmp_path):
    store = Store(make_store(IDS, annotated=False))
    report = export(store, tmp_path / "out", "mmaction2")
    assert report.unlabelled == 3
    assert not list((tmp_path / "out").glob("*_rgb.txt"))
    with (tmp_path / "out/videos.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert {id: rows[id]["name"] for id in IDS} == {id: encode_id(id) for id in IDS}
    assert rows["a"]["fps"] == "25.0"


def test_a_second_run_redoes_nothing(make_store, tmp_path):
    store = Store(make_store(IDS))
    export(store, tmp_path / "out", "denseflow", ["a"])
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/a").iterdir()}
    report = export(store, tmp_path / "out", "denseflow")
    assert (report.written, report.skipped) == (2, 1)
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "out/a").iterdir()}


def test_an_interrupted_run_is_finished(make_store, tmp_path, monkeypatch):
    store = Store(make_store(IDS))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(store, tmp_path / "out", "denseflow", progress=stop)
    # what a kill in the midst of a video leaves
    shutil.copytree(tmp_path / "out" / "a", tmp_path / "out" / ".part-dead")
    report = export(store, tmp_path / "out", "denseflow")
    assert report.written + report.skipped == 3
    assert report.skipped >= 1
    assert not list((tmp_path / "out").glob(".part-*"))


def test_a_video_that_was_extracted_again_is_written_again(make_store, tmp_path):
    """It has as many frames as before, and the folder as many files."""
    old, out = Store(make_store(IDS)), tmp_path / "out"
    export(old, out, "denseflow")
    rows = (out / "videos.csv").read_text()
    digest = old["a"].fingerprint.digest
    (out / "videos.csv").write_text(rows.replace(digest, "another digest", 1))
    assert export(old, out, "denseflow").written == 1
    assert (out / "videos.csv").read_text() == rows


def test_a_folder_with_files_missing_is_redone(make_store, tmp_path):
    store = Store(make_store(IDS))
    export(store, tmp_path / "out", "denseflow")
    (tmp_path / "out/c/flow_x_00002.jpg").unlink()
    assert export(store, tmp_path / "out", "denseflow").written == 1
    assert (tmp_path / "out/c/flow_x_00002.jpg").exists()


def test_other_settings_want_another_folder(make_store, tmp_path):
    store = Store(make_store())
    export(store, tmp_path / "out", "denseflow")
    with pytest.raises(UsageError, match="another flow_quality"):
        export(store, tmp_path / "out", "denseflow", quality=80)
    with pytest.raises(UsageError, match="format"):
        export(store, tmp_path / "out", "mmaction2")


def test_two_exports_at_once_are_refused(make_store, tmp_path):
    with lock_folder(tmp_path), pytest.raises(LockedError, match="another export"):
        export(Store(make_store()), tmp_path, "denseflow")


def test_a_video_with_changed_bytes_is_listed(make_store, tmp_path):
    root = make_store(IDS)
    store = Store(root)
    (shard,) = (root / "frames").glob("*.arrow")
    data = bytearray(shard.read_bytes())
    at = data.index(store["c"].flow_bytes(1)[0])
    data[at : at + 40] = bytes(40)
    shard.write_bytes(data)
    report = export(Store(root), tmp_path / "out", "denseflow", workers=2)
    assert list(report.failures) == ["c"]
    assert report.written == 2
    assert not (tmp_path / "out/c").exists()


@pytest.mark.parametrize("streams", [("rgb",), ("flow",)])
def test_one_stream_alone(make_store, tmp_path, streams):
    store = Store(make_store(("a",), streams=streams))
    export(store, tmp_path / "out", "mmaction2")
    names = {path.name.split("_")[0] for path in (tmp_path / "out/a").iterdir()}
    assert names == ({"img"} if streams == ("rgb",) else {"flow"})
    lists = {path.name for path in (tmp_path / "out").glob("*_*.txt")}
    assert lists == {f"test_{streams[0]}.txt"}


def test_no_id_leaves_the_folder(make_store, tmp_path):
    evil = ("../../up", "..", ".", "/etc", "x\ty", "n" * 300)
    export(Store(make_store(evil, frames=2)), tmp_path / "deep" / "out", "denseflow")
    made = {path.name for path in (tmp_path / "deep" / "out").iterdir() if path.is_dir()}
    assert made == {encode_id(id) for id in evil}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}


def test_case_collisions_are_noted_or_refused(make_store, tmp_path, monkeypatch):
    store = Store(make_store(("a", "A")))
    assert export(store, tmp_path / "one", "denseflow").case_collisions == [("A", "a")]
    monkeypatch.setattr(exporting, "is_case_insensitive", lambda folder: True)
    with pytest.raises(UsageError, match="ignores case"):
        export(store, tmp_path / "two", "denseflow")


def test_choices(make_store):
    store = Store(make_store(IDS))
    assert choose_ids(store) is None
    assert choose_ids(store, ["c"], ["test"]) == ["c", "a"]
    with pytest.raises(UsageError, match="subset"):
        choose_ids(store, (), ["tset"])
    with pytest.raises(UsageError, match="did you mean"):
        export(store, Path("out"), "denseflow", ["b/ü #2"])
    with pytest.raises(UsageError, match="format"):
        export(store, Path("out"), "tsn")


def test_a_full_disk_ends_the_export(make_store, tmp_path, monkeypatch):
    root, out = make_store(IDS), tmp_path / "out"
    write, written = Path.write_bytes, []

    def fill(path, data):
        written.append(path)
        if len(written) > 20:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(DiskFullError, match="run the same command again"):
        export(root, out, "denseflow")
    monkeypatch.undo()
    assert not list(out.glob(".part-*"))
    report = export(root, out, "denseflow")
    assert (report.written, report.skipped) == (2, 1)


def test_shard_size_is_refused_where_there_are_no_shards(make_store, tmp_path):
    with pytest.raises(UsageError, match="--shard-size means nothing to denseflow"):
        export(make_store(), tmp_path / "out", "denseflow", shard_bytes=1)


def test_a_file_that_is_no_record_is_not_overwritten(make_store, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/export.json").write_text("[1, 2]")
    with pytest.raises(UsageError, match=r"export.json is not the record of an export"):
        export(make_store(), tmp_path / "out", "webdataset")
    assert (tmp_path / "out/export.json").read_text() == "[1, 2]"


def test_backward_flow_is_refused_where_the_first_frames_need_flow(make_store, tmp_path):
    root = make_store(IDS, step=-2)
    with pytest.raises(UsageError, match=r"mmaction2 holds flow to later frames only.* t-2;"):
        export(root, tmp_path / "out", "mmaction2")
    assert not (tmp_path / "out").exists()
    assert export(root, tmp_path / "shards", "webdataset").written == 3


@pytest.mark.parametrize(
    ("format", "step", "names"),
    [
        ("denseflow", 2, ["p2_00000", "p2_00001", "p2_00002"]),
        ("denseflow", -2, ["m2_00002", "m2_00003", "m2_00004"]),
        ("mmaction2", 2, ["00001", "00002", "00003"]),
    ],
)
def test_names_of_flow_state_its_step_where_the_format_does(
    make_store, tmp_path, format, step, names
):
    store = Store(make_store(("a",), frames=5, step=step))
    report = export(store, tmp_path / "out", format)
    assert (report.written, report.failures) == (1, {})
    for axis in "xy":
        files = sorted(path.name for path in (tmp_path / "out/a").glob(f"flow_{axis}_*"))
        assert files == [f"flow_{axis}_{name}.jpg" for name in names]
    template = json.loads((tmp_path / "out/export.json").read_text())["flow_template"]
    first = store["a"].flow_frames[0] + (format == "mmaction2")
    q = load_rawframes(tmp_path / "out/a", template, first, "Flow")
    assert abs(dequantize(q) - store["a"].flow(store["a"].flow_frames[0])).mean() < STEP
    assert export(store, tmp_path / "out", format).skipped == 1


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_continues_and_keeps_to_its_folder(make_store, tmp_path, format):
    root, out = make_store(("../../up", "/etc", "a")), tmp_path / "deep" / "out"
    assert export(root, out, format, ["a"]).written == 1
    report = export(root, out, format)
    assert (report.written, report.skipped, report.failures) == (2, 1, {})
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}
    with (out / "videos.csv").open(newline="", encoding="utf-8") as file:
        assert {row["id"] for row in csv.DictReader(file)} == {"../../up", "/etc", "a"}
    other = next(name for name in FORMATS if name != format)
    with pytest.raises(UsageError, match="was exported with another"):
        export(root, out, other)


def test_the_command_and_the_import_know_the_formats():
    assert list(EXPORT_FORMATS.choices) == list(FORMATS)
    assert list(IMAGE_FOLDERS.choices) == list(IMPORT_FORMATS)


def test_a_folder_of_other_things_or_of_another_store_is_refused(make_store, tmp_path):
    one = Store(make_store(("a",), tmp_path / "one"))
    two = Store(make_store(("b",), tmp_path / "two", bound=10.0))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "full" / ".part-of-a-download").touch()
    with pytest.raises(UsageError, match=r"it holds '(thesis.tex|.part-of-a-download)'"):
        export(one, tmp_path / "full", "denseflow")
    assert (tmp_path / "full" / ".part-of-a-download").exists()
    export(one, tmp_path / "out", "denseflow")
    with pytest.raises(UsageError, match="was exported with another"):
        export(two, tmp_path / "out", "denseflow", bound=20.0)


def test_a_video_of_features_alone_is_named_and_leaves_no_folder(stores, make_root, tmp_path):
    root = make_root({"a": [(encode_rgb(np.zeros((8, 8, 3), np.uint8), 90), None, None)]})
    stores.fill_features(root, {"a": stores.draw_features(1, 2), "b": stores.draw_features(2, 2)})
    rebuild_index(root)
    report = export(root, tmp_path / "out", "denseflow")
    assert report.written == 1
    assert report.failures == {"b": "it has no rgb or flow to write, only features/net"}
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["a"]
