"""Check that the usual video and audio codecs can be decoded, by decoding a tiny file of each."""

from collections.abc import Callable, Mapping
from pathlib import Path

from flowkit.doctor import clips
from flowkit.doctor.clip_checks import decode_frames, decode_sound
from flowkit.doctor.finding import Finding
from flowkit.doctor.steps import GENERAL_ADVICE, describe_error

NO_DECODER = "the FFmpeg in this build of PyAV has no decoder for it"
"""Message for a codec without decoder; `report_codecs` recognizes it, to give its own advice."""
INSTALL_WHEELS = "pip install --force-reinstall av (the wheels from PyPI have all decoders)"
"""Advice if the message is `NO_DECODER`."""


def check_codecs() -> list[Finding]:
    """Check that FFmpeg, which is a part of PyAV, decodes the codecs that datasets use."""
    from flowkit.decode import find_codec_support

    return report_codecs(find_codec_problems(find_codec_support()))


def find_codec_problems(has_decoder: Mapping[str, bool]) -> dict[str, str | None]:
    """Decode a tiny file of each codec for which there is a decoder.

    Args:
        has_decoder: Whether this build of FFmpeg has a decoder, by name of the codec.

    Returns:
        Why each codec cannot be decoded; None for a codec that can.
    """
    problems: dict[str, str | None] = {}
    for name, is_supported in has_decoder.items():
        decode = decode_sound if name in clips.AUDIO_CODECS else decode_frames
        problems[name] = try_decoding(decode, clips.BY_CODEC[name]) if is_supported else NO_DECODER
    return problems


def try_decoding(decode: Callable[[Path], object], clip: Path) -> str | None:
    """Decode a tiny file, and turn any exception into a problem.

    Args:
        decode: `decode_frames` or `decode_sound`.
        clip: File to decode.

    Returns:
        The problem in one line; None if there is none.
    """
    try:
        decode(clip)
    except Exception as error:  # noqa: BLE001
        return describe_error(error)
    return None


def report_codecs(problems: Mapping[str, str | None]) -> list[Finding]:
    """Report which codecs can be decoded.

    Args:
        problems: Why each codec cannot be decoded, by name; None for a codec that can.

    Returns:
        One finding for all codecs that can be decoded, and one for each distinct problem: ``fail``
        if it affects a video codec, ``warn`` if it affects audio codecs only.
    """
    findings = []
    decoded = [name for name, problem in problems.items() if problem is None]
    if decoded:
        findings.append(Finding("codecs", "ok", f"decodes {', '.join(decoded)}"))
    for reason in dict.fromkeys(problem for problem in problems.values() if problem is not None):
        names = [name for name, problem in problems.items() if problem == reason]
        affects_video = any(name not in clips.AUDIO_CODECS for name in names)
        message = f"cannot decode {', '.join(names)}: {reason}"
        advice = INSTALL_WHEELS if reason == NO_DECODER else GENERAL_ADVICE
        findings.append(Finding("codecs", "fail" if affects_video else "warn", message, advice))
    return findings
