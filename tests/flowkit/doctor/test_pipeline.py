"""The steps of the pipeline: that they run, and that each one notices what is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import flowkit.flow
from flowkit.cli import main
from flowkit.decode import VideoReader
from flowkit.doctor.clip_checks import check_tone
from flowkit.doctor.finding import Finding
from flowkit.doctor.pipeline import LAST_TOPIC, TrialExtraction
from flowkit.doctor.steps import WrongResultError, run_steps
from flowkit.extraction import Options
from flowkit.store import Store

TOPICS = [
    "open", "decode", "resize", "compute flow", "encode", "sound", "write store", "verify store",
    "read store",
]  # fmt: skip


def try_out(folder: Path) -> dict[str, Finding]:
    return {finding.topic: finding for finding in run_steps(TrialExtraction(folder).list_steps())}


def assert_fails(findings: dict[str, Finding], topic: str, reason: str) -> None:
    """That a step fails for a reason, all before it are good, and the last one is skipped."""
    before = TOPICS[: TOPICS.index(topic)]
    assert {findings[name].status for name in before} <= {"ok"}
    assert findings[topic].status == "fail"
    assert reason in findings[topic].message
    if topic != LAST_TOPIC:
        assert findings[LAST_TOPIC] == Finding(
            LAST_TOPIC, "skip", f"not tried, because '{topic}' failed"
        )


def test_all_steps_are_good_and_leave_the_store_that_they_promise(tmp_path: Path) -> None:
    findings = try_out(tmp_path)
    assert list(findings) == TOPICS
    assert {finding.status for finding in findings.values()} == {"ok"}, findings
    assert "8 frames of h264 128×96 in" in findings["decode"].message
    assert "expected +2.00" in findings["compute flow"].message
    assert Options().open_video is VideoReader  # what the first steps open the clip with
    store = Store(tmp_path / "store")
    assert store.classes == ("left", "right")
    assert store.subsets() == {"test": 2, "train": 2}
    assert {store[id].streams for id in store} == {("rgb", "flow", "audio")}


def test_an_av_that_does_not_take_our_arguments(
    monkeypatch: pytest.MonkeyPatch, by_topic: Callable[[list[Finding]], dict[str, Finding]]
) -> None:
    """As PyAV 19 did, while every package was within its range and every codec there."""

    def refuse(*_: object, **__: object) -> None:
        raise TypeError("open() got an unexpected keyword argument 'metadata_errors'")

    monkeypatch.setattr("av.open", refuse)
    result = CliRunner().invoke(main, ["doctor", "--quick", "--json"])
    assert result.exit_code == 1
    findings = by_topic([Finding(**item) for item in json.loads(result.stdout)])
    assert_fails(findings, "open", "unexpected TypeError: open() got an unexpected keyword")
    assert "called from flowkit/decode/container.py:" in findings["open"].message
    assert findings["codecs"].status == "fail"
    assert findings["flow"].status == "ok"


def test_swapped_colours_and_lost_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = VideoReader.__iter__

    def swap(self: VideoReader) -> Any:
        return (np.ascontiguousarray(frame[..., ::-1]) for frame in everything(self))

    def lose(self: VideoReader) -> Any:
        return iter(list(everything(self))[:-1])

    monkeypatch.setattr(VideoReader, "__iter__", swap)
    assert_fails(try_out(tmp_path), "decode", "wrong colours: expected a mean RGB of")
    monkeypatch.setattr(VideoReader, "__iter__", lose)
    assert_fails(try_out(tmp_path), "decode", "expected 8 frames, got 7")


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda flow: np.negative(flow), "got (-2."),  # turned around
        (lambda flow: np.full_like(flow, 128), "got (+0.00, +0.00)"),  # nothing moves
        (lambda flow: flow[..., ::-1], "got (+0.00, +2."),  # x and y exchanged
    ],
)
def test_flow_that_is_silently_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], Any],
    got: str,
) -> None:
    true = flowkit.flow.tvl1_video_quantized

    def compute(*arguments: Any) -> Any:
        return change(true(*arguments))

    monkeypatch.setattr(flowkit.flow, "tvl1_video_quantized", compute)
    assert_fails(try_out(tmp_path / "here"), "compute flow", got)
    monkeypatch.undo()
    monkeypatch.setattr("flowkit.extraction.frame_pairs.tvl1_video_quantized", compute)
    findings = try_out(tmp_path / "in the worker")
    assert_fails(findings, "read store", "wrong flow: expected a median of")


def test_one_wrong_field_of_many_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = flowkit.flow.tvl1_video_quantized

    def compute(*arguments: Any) -> Any:
        flow = true(*arguments).copy()
        flow[3] = 128
        return flow

    monkeypatch.setattr(flowkit.flow, "tvl1_video_quantized", compute)
    assert_fails(try_out(tmp_path), "compute flow", "and up to 2.0")


def test_an_encoder_that_spoils_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowkit.store.format import jpeg

    true = jpeg.encode_rgb
    monkeypatch.setattr(jpeg, "encode_rgb", lambda frame, *more: true(255 - frame, *more))
    assert_fails(try_out(tmp_path), "encode", "JPEG changes pixels by")


def test_sound_of_another_pitch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import flowkit.decode.audio

    true = flowkit.decode.audio.make_mel_bands
    monkeypatch.setattr(
        flowkit.decode.audio, "make_mel_bands", lambda recipe: true(recipe)[:, ::-1]
    )
    assert_fails(try_out(tmp_path), "sound", "wrong sound: expected the tone in mel band 19")
    with pytest.raises(WrongResultError, match="expected 1 log-mel patch"):
        check_tone(np.zeros((0, 96, 64)))


def test_an_extraction_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no such subsampling")

    monkeypatch.setattr("flowkit.extraction.frame_rows.encode_rgb", refuse)
    assert_fails(try_out(tmp_path), "write store", "ValueError at test_pipeline.py:")


def test_a_store_that_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = TrialExtraction.write_store

    def damage(self: TrialExtraction) -> str:
        done = write(self)
        shard = next((self.store_path / "frames").glob("*.arrow"))
        data = bytearray(shard.read_bytes())
        data[data.index(b"\xff\xd8\xff") + 200] ^= 255  # in an image, not in padding
        shard.write_bytes(data)
        return done

    monkeypatch.setattr(TrialExtraction, "write_store", damage)
    assert_fails(try_out(tmp_path), "verify store", "has changed bytes")


def test_ctrl_c_while_it_extracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Extraction takes the signal to end in good order; then the check ends too."""
    import signal

    from flowkit.extraction.worker import Worker

    true = Worker.extract

    def interrupt(self: Worker, task: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return true(self, task)

    monkeypatch.setattr(Worker, "extract", interrupt)
    with pytest.raises(KeyboardInterrupt):
        try_out(tmp_path)
