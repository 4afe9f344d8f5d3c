"""Can videos and sound of the usual codecs be decoded: a tiny file of each is, as in extraction."""

from collections.abc import Callable, Mapping
from pathlib import Path

from flowkit.doctor import clips
from flowkit.doctor.finding import Finding
from flowkit.doctor.pipeline import check_colour, open_reader
from flowkit.doctor.steps import ADVICE, describe_error

NO_DECODER = "this build of PyAV has no decoder"
WHEELS = "pip install --force-reinstall av (the wheels from PyPI bring all of them)"


def check_codecs() -> list[Finding]:
    """Whether the FFmpeg inside PyAV decodes what datasets use."""
    from flowkit.decode import find_codec_support

    return judge_codecs(find_codec_problems(find_codec_support()))


def find_codec_problems(known: Mapping[str, bool]) -> dict[str, str | None]:
    """Decode a clip of each codec that FFmpeg knows.

    Args:
        known: codecs by name, and whether this build of FFmpeg has a decoder for each.

    Returns:
        Why each codec cannot be decoded; None for one that can.
    """
    problems: dict[str, str | None] = {}
    for name, there in known.items():
        decode = decode_sound if name in clips.AUDIO_CODECS else decode_pictures
        problems[name] = try_decoding(decode, clips.BY_CODEC[name]) if there else NO_DECODER
    return problems


def try_decoding(decode: Callable[[Path], str | None], clip: Path) -> str | None:
    """What is wrong with decoding a clip, whatever it is."""
    try:
        return decode(clip)
    except Exception as error:  # noqa: BLE001
        return describe_error(error)


def decode_pictures(clip: Path) -> str | None:
    """What is wrong with the frames of a clip, or None."""
    with open_reader(clip) as reader:
        frames = list(reader)
    if len(frames) != clips.FRAMES or reader.warnings:
        count = f"expected {clips.FRAMES} frames, got {len(frames)}"
        return "; ".join([count, *reader.warnings])
    check_colour(frames)
    return None


def decode_sound(clip: Path) -> str | None:
    """What is wrong with the sound of a clip, or None."""
    from flowkit.decode.audio import log_mel_patches

    audio = log_mel_patches(clip)
    if len(audio.patches) and not audio.warnings:
        return None
    return "; ".join([f"got {len(audio.patches)} patches of sound", *audio.warnings])


def judge_codecs(problems: Mapping[str, str | None]) -> list[Finding]:
    """One finding for what is decoded and one for each reason why something is not.

    A video codec that is not decoded is a failure, an audio codec a warning.
    """
    findings = []
    decoded = [name for name, problem in problems.items() if problem is None]
    if decoded:
        findings.append(Finding("codecs", "ok", f"decodes {', '.join(decoded)}"))
    for reason in dict.fromkeys(problem for problem in problems.values() if problem is not None):
        names = [name for name, problem in problems.items() if problem == reason]
        fatal = any(name not in clips.AUDIO_CODECS for name in names)
        message = f"cannot decode {', '.join(names)}: {reason}"
        advice = WHEELS if reason == NO_DECODER else ADVICE
        findings.append(Finding("codecs", "fail" if fatal else "warn", message, advice))
    return findings
