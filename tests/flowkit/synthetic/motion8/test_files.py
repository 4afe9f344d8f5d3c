"""The dataset on disk: complete, repeatable, completed after an interruption, never mixed."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from flowkit.decode import probe_video, read_video
from flowkit.errors import UsageError
from flowkit.synthetic.motion8 import (
    Motion8,
    files,
    load_clip,
    make_clips,
    render_clip,
    write_dataset,
)
from flowkit.synthetic.motion8.files import read_record

CONFIG = Motion8(videos=8, test_videos=2, frames=5, width=64, height=48)


def read_all(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_what_is_written(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert write_dataset(tmp_path, CONFIG, lambda done, total: seen.append((done, total))) == 10
    assert seen == [(i, 10) for i in range(1, 11)]
    assert not list(tmp_path.rglob("*.part"))
    rows = {}
    for subset in ("train", "test"):
        with (tmp_path / "annotations" / f"{subset}.csv").open(newline="") as file:
            rows[subset] = list(csv.DictReader(file))
    assert [r["label"] for r in rows["test"]] == ["left", "right"]
    assert len(rows["train"]) == 8
    for row in rows["train"] + rows["test"]:
        assert row["id"].startswith(row["label"] + "/")
        path = tmp_path / "videos" / row["id"]
        info = probe_video(path)
        assert (info.codec, info.width, info.height, info.fps) == ("h264", 64, 48, 25)
        clip = load_clip(tmp_path, row["id"])
        assert clip.label == row["label"]
        video = read_video(path)
        expected = np.stack(list(render_clip(clip)))
        assert video.shape == expected.shape
        # Luma is what 4:2:0 keeps; 4 levels are the codec's.
        assert np.abs(video.mean(-1) - expected.mean(-1)).mean() < 6


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    write_dataset(tmp_path, CONFIG)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert write_dataset(tmp_path, CONFIG) == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == times


def test_two_writings_have_the_same_bytes(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a", CONFIG)
    write_dataset(tmp_path / "b", CONFIG)
    assert read_all(tmp_path / "a") == read_all(tmp_path / "b")


def test_one_clip_has_the_same_bytes_wherever_memory_lies(tmp_path: Path) -> None:
    """x264 with AVX-512 gave other bytes in 1 to 13 of 100 encodings of these."""
    rng = np.random.default_rng(0)
    clips = [
        clip for clip in make_clips(CONFIG) if clip.label in ("up", "expanding", "contracting")
    ]
    for clip in clips:
        pictures = list(render_clip(clip))
        seen = set()
        for _ in range(40):
            sizes = rng.integers(1, 200_000, 30)
            held = [np.full(size, 7, np.uint8) for size in sizes][::2]
            files.encode_video(tmp_path / "v.mp4", iter(pictures), CONFIG)
            seen.add((tmp_path / "v.mp4").read_bytes())
            del held
        assert len(seen) == 1, clip.id


@pytest.mark.parametrize("instructions", ["0", "sse2", "avx2", "avx512"])
def test_bytes_do_not_depend_on_the_processor(
    instructions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``asm`` limits x264 to what an older processor has; for more it takes our word."""
    processor = Path("/proc/cpuinfo")
    if instructions not in ("0", "sse2") and (
        not processor.exists() or f" {instructions}" not in processor.read_text()
    ):
        pytest.skip(f"this processor has no {instructions}, which x264 would use all the same")
    clips = list(make_clips(CONFIG))

    def encode_all() -> list[bytes]:
        made = []
        for clip in clips:
            files.encode_video(tmp_path / "v.mp4", render_clip(clip), CONFIG)
            made.append((tmp_path / "v.mp4").read_bytes())
        return made

    whole = encode_all()
    options = dict(files.ENCODING[files.GENERATOR])
    options["x264-params"] += f":asm={instructions}"
    monkeypatch.setitem(files.ENCODING, files.GENERATOR, options)
    assert encode_all() == whole


def test_a_video_does_not_name_the_version_of_its_muxer(tmp_path: Path) -> None:
    write_dataset(tmp_path, CONFIG)
    assert not [path for path in tmp_path.rglob("*.mp4") if b"Lavf" in path.read_bytes()]


def test_a_folder_of_the_first_generator_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is complete as it is, and what it lacks is encoded as it was."""
    with monkeypatch.context() as patch:
        patch.setattr(files, "GENERATOR", 1)
        write_dataset(tmp_path, CONFIG)
    before = read_all(tmp_path)
    assert json.loads(before["motion8.json"])["generator"] == 1
    assert write_dataset(tmp_path, CONFIG) == 0
    assert read_all(tmp_path) == before
    assert load_clip(tmp_path, "up/train_00002.mp4").label == "up"

    (tmp_path / "videos" / "up" / "train_00002.mp4").unlink()
    encode, asked = files.encode_video, []

    def watch(path: Path, frames: object, config: Motion8, generator: int) -> None:
        asked.append(generator)
        encode(path, frames, config, generator)

    monkeypatch.setattr(files, "encode_video", watch)
    assert write_dataset(tmp_path, CONFIG) == 1
    assert asked == [1]
    assert json.loads((tmp_path / "motion8.json").read_text())["generator"] == 1


def test_an_interrupted_writing_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(tmp_path / "whole", CONFIG)
    encode = files.encode_video
    calls = 0

    def interrupted(*args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            (tmp_path / "cut" / "videos" / "down").mkdir()
            (tmp_path / "cut" / "videos" / "down" / "train_00003.mp4.part").write_bytes(b"half")
            raise KeyboardInterrupt
        encode(*args)

    with monkeypatch.context() as patch:
        patch.setattr(files, "encode_video", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_dataset(tmp_path / "cut", CONFIG)
    assert write_dataset(tmp_path / "cut", CONFIG) == 7
    assert read_all(tmp_path / "cut") == read_all(tmp_path / "whole")


def test_damaged_and_missing_videos_are_rendered_again(tmp_path: Path) -> None:
    write_dataset(tmp_path, CONFIG)
    before = read_all(tmp_path)
    (tmp_path / "videos" / "up" / "train_00002.mp4").unlink()
    path = tmp_path / "videos" / "left" / "test_00000.mp4"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    (tmp_path / "annotations" / "test.csv").write_text("id,label\n")
    assert write_dataset(tmp_path, CONFIG) == 2
    assert read_all(tmp_path) == before


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, CONFIG)
    with pytest.raises(
        UsageError, match=r"holds motion8 with other settings \(seed: 0 ≠ 1, videos: 8 ≠ 16\)"
    ):
        write_dataset(tmp_path, Motion8(test_videos=2, frames=5, width=64, height=48, seed=1))
    record = json.loads((tmp_path / "motion8.json").read_text())
    (tmp_path / "motion8.json").write_text(json.dumps(record | {"generator": 99}))
    with pytest.raises(UsageError, match=r"generator 99 .* knows generators 1 to 2; update"):
        load_clip(tmp_path, "left/train_00000.mp4")


def test_foreign_videos_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "mine.mp4").touch()
    with pytest.raises(UsageError, match="motion8 did not write them"):
        write_dataset(tmp_path, CONFIG)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"generator": 1, "config": 3, "videos": {}}',
        '{"generator": [1], "config": {}, "videos": {}}',
    ],
)
def test_a_damaged_record_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "motion8.json").write_text(text)
    for config in (None, CONFIG):
        with pytest.raises(UsageError, match="damaged"):
            read_record(tmp_path, config)


def test_no_motion8_here(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no motion8\.json"):
        load_clip(tmp_path, "left/train_00000.mp4")
