"""Audio track → log-mel patches, as VGGish eats them.

Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017; the
constants are those of the released VGGish model.

    X[t, k] = |Σ_n w[n] · x[t·hop + n] · exp(−2πi·k·n / N)|          magnitude, not power
    w[n]    = ½ − ½ cos(2π n / L),  n = 0 … L−1                       periodic Hann
    m(f)    = 1127 ln(1 + f / 700)                                    HTK's mel
    B[k, j] = max(0, min((m_k − e_j)/(e_{j+1} − e_j), (e_{j+2} − m_k)/(e_{j+2} − e_{j+1})))
    y[t, j] = ln(Σ_k X[t, k] · B[k, j] + offset)

    L window (400 samples)    hop 160    N recipe.fft (512)    m_k mel of bin k
    e_0 … e_{mels+1} equally spaced in mel from low_hz to high_hz    B[0, ·] = 0

Patches are 96 consecutive rows without overlap; what is left at the end is dropped.

Deviations: the resampler is libswresample's (VGGish's own code used resampy), on the mean of
all channels; the input is float, not rounded to 16 bits. Timestamps are not looked at: gaps
and a late start of the track are not filled with silence.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from flowkit.decode.container import label, open_container, reason
from flowkit.errors import VideoError
from flowkit.recipe import AudioRecipe

BLOCK = 10  # patches whose spectrum is computed at once: what bounds the memory
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class AudioPatches:
    """The log-mel patches of one file.

    patches: float32 (patches, recipe.patch, recipe.mels), (n, 96, 64) by default; n is 0
        where the track is shorter than one patch (0.975 s).
    warnings: one line each: where decoding broke.
    """

    patches: Floats
    warnings: tuple[str, ...]


def log_mel_patches(
    path: str | os.PathLike[str], recipe: AudioRecipe | None = None
) -> AudioPatches:
    """Decode the best audio track of a file, and turn it into log-mel patches.

    A track that breaks midway gives the patches before the break, and a warning.

    Raises
    ------
    VideoError: ``no-audio-stream``, ``no-decoder``, ``broken-audio`` (not one sample), and all that
        :func:`flowkit.decode.container.open_container` raises.
    """
    recipe = recipe or AudioRecipe()
    warnings: list[str] = []
    samples = 0

    def counted() -> Iterator[Floats]:
        nonlocal samples
        for chunk in decode_audio(path, recipe.sample_rate, warnings):
            samples += len(chunk)
            yield chunk

    blocks = list(make_patches(counted(), recipe))
    if samples == 0:
        why = "; ".join(["no audio could be decoded", *warnings])
        raise VideoError("broken-audio", f"{label(path)}: {why}")
    return AudioPatches(np.concatenate(blocks), tuple(warnings))


def decode_audio(
    path: str | os.PathLike[str], sample_rate: int, warnings: list[str]
) -> Iterator[Floats]:
    """The track as chunks of mono float32 samples in [−1, 1] at ``sample_rate``."""
    with open_container(path) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise VideoError("no-audio-stream", f"{label(path)}: no audio stream")
        if stream.codec_context is None:
            what = "this FFmpeg has no decoder for its audio stream"
            raise VideoError("no-decoder", f"{label(path)}: {what}")
        layout: Any = None
        resampler: Any = None
        for frame in decode_frames(container, stream, warnings):
            here = (frame.format.name, frame.layout.name, frame.sample_rate)
            if here != layout:  # the first frame, or a broadcast that changes midway
                if resampler is not None:
                    yield from mix(resampler.resample(None))
                # Channels are kept, since swresample's mono of float samples is √2 louder.
                resampler = av.AudioResampler(format="fltp", rate=sample_rate)
                layout = here
            yield from mix(resampler.resample(frame))
        if resampler is not None:
            yield from mix(resampler.resample(None))


def decode_frames(container: Any, stream: Any, warnings: list[str]) -> Iterator[Any]:
    """Decoded audio frames, up to the end or the first break after a good packet."""
    accepted = rejected = 0
    packets = container.demux(stream)
    while True:
        packet = None
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames = packet.decode()
        except av.error.FFmpegError as error:
            # Tracks that are cut from longer ones often begin inside a packet.
            if packet is not None and packet.size and not accepted:
                rejected, why = rejected + 1, reason(error)
                continue
            warnings.append(f"audio decoding broke after packet {accepted}: {reason(error)}")
            return
        accepted += packet.size > 0
        yield from frames
    if rejected:
        warnings.append(f"the first {rejected} audio packets could not be decoded: {why}")


def mix(frames: list[Any]) -> Iterator[Floats]:
    """Planar float frames as the mean of their channels, float32 (samples,)."""
    for frame in frames:
        yield frame.to_ndarray().mean(axis=0, dtype=np.float32)


def make_patches(chunks: Iterator[Floats], recipe: AudioRecipe) -> Iterator[Floats]:
    """Patches float32 (n, patch, mels), block by block, the first one empty.

    chunks: mono samples at ``recipe.sample_rate``, cut anywhere.
    """
    window = round(recipe.window_seconds * recipe.sample_rate)
    hop = round(recipe.hop_seconds * recipe.sample_rate)
    bands = make_mel_bands(recipe)
    patch = recipe.patch * hop  # samples from one patch to the next
    tail = window - hop  # samples that the last window of a patch reaches into the next one
    yield np.empty((0, recipe.patch, recipe.mels), np.float32)
    held: list[Floats] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= BLOCK * patch + tail:
            samples = np.concatenate(held)
            whole = (size - tail) // patch
            yield log_mel(samples[: whole * patch + tail], window, hop, bands, recipe)
            held, size = [samples[whole * patch :]], size - whole * patch
    whole = (size - tail) // patch
    if whole > 0:
        samples = np.concatenate(held)[: whole * patch + tail]
        yield log_mel(samples, window, hop, bands, recipe)


def log_mel(
    samples: Floats, window: int, hop: int, bands: NDArray[np.float64], recipe: AudioRecipe
) -> Floats:
    """Samples that hold a whole number of patches → float32 (patches, patch, mels)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    magnitude = np.abs(np.fft.rfft(frames * hann, recipe.fft))
    rows = np.log(magnitude @ bands + recipe.offset).astype(np.float32)
    return rows.reshape(-1, recipe.patch, recipe.mels)


def make_mel_bands(recipe: AudioRecipe) -> NDArray[np.float64]:
    """The matrix B, float64 (fft // 2 + 1, mels): triangles that are linear in mel."""

    def mel(hertz: Any) -> Any:
        return 1127 * np.log1p(np.asarray(hertz) / 700)

    bins = mel(np.linspace(0, recipe.sample_rate / 2, recipe.fft // 2 + 1))[:, None]
    edges = np.linspace(mel(recipe.low_hz), mel(recipe.high_hz), recipe.mels + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    bands: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    bands[0] = 0
    return bands
