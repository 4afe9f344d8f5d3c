"""Codecs: each is really decoded, and what is wrong is said once for each reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowkit.decode import VideoReader, find_codec_support
from flowkit.doctor import clips
from flowkit.doctor import codecs as checks


def test_every_codec_that_datasets_use_has_a_clip_that_is_decoded() -> None:
    assert set(find_codec_support()) == set(clips.BY_CODEC)
    (finding,) = checks.check_codecs()
    assert finding.status == "ok"
    assert finding.message == f"decodes {', '.join(find_codec_support())}"


def test_a_clip_is_of_the_codec_that_it_stands_for() -> None:
    import av

    for name, path in clips.BY_CODEC.items():
        with av.open(str(path)) as container:
            kind = (
                container.streams.audio if name in clips.AUDIO_CODECS else container.streams.video
            )
            assert kind[0].codec_context.codec.canonical_name == name


def test_absent_video_codecs_fail_and_absent_audio_codecs_warn() -> None:
    known = dict.fromkeys(clips.BY_CODEC, True)
    decoded, absent = checks.report_codecs(checks.find_codec_problems({**known, "av1": False}))
    assert decoded.status == "ok" and "av1" not in decoded.message
    assert absent.status == "fail"
    assert (
        absent.message
        == "cannot decode av1: the FFmpeg in this build of PyAV has no decoder for it"
    )
    assert "wheels from PyPI" in absent.advice
    silent = checks.report_codecs({"h264": None, "aac": checks.NO_DECODER})
    assert [finding.status for finding in silent] == ["ok", "warn"]


def test_a_reason_that_codecs_share_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise TypeError("open() got an unexpected keyword argument")

    monkeypatch.setattr("av.open", refuse)
    (finding,) = checks.check_codecs()
    assert finding.status == "fail"
    assert finding.message.startswith(
        f"cannot decode {', '.join(find_codec_support())}: unexpected TypeError"
    )
    assert "tested versions" in finding.advice


def test_missing_frames_and_wrong_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = VideoReader.__iter__

    def swap(self: VideoReader) -> Any:
        return (np.ascontiguousarray(frame[..., ::-1]) for frame in everything(self))

    def lose(self: VideoReader) -> Any:
        return iter(list(everything(self))[1:])

    def decode(path: Path) -> str | None:
        return checks.try_decoding(checks.decode_frames, path)

    assert decode(clips.RIGHT) is None
    monkeypatch.setattr(VideoReader, "__iter__", swap)
    assert "wrong colours" in str(decode(clips.RIGHT))
    monkeypatch.setattr(VideoReader, "__iter__", lose)
    assert decode(clips.RIGHT) == "expected 8 frames, got 7"
