"""Convert the audio track of a file into log-mel patches, the input of VGGish.

Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017; the constants
are those of the released VGGish model.

    X[t, k] = |Σ_n w[n] · x[t·hop + n] · exp(−2πi·k·n / N)|          magnitude, not power
    w[n]    = ½ − ½ cos(2π n / L),  n = 0 … L−1                       periodic Hann
    m(f)    = 1127 ln(1 + f / 700)                                    HTK's mel
    B[k, j] = max(0, min((m_k − e_j)/(e_{j+1} − e_j), (e_{j+2} − m_k)/(e_{j+2} − e_{j+1})))
    y[t, j] = ln(Σ_k X[t, k] · B[k, j] + offset)

    L window (400 samples)    hop 160    N recipe.fft (512)    m_k mel of bin k
    e_0 … e_{mels+1} equally spaced in mel from low_hz to high_hz    B[0, ·] = 0

A patch is 96 consecutive rows; patches do not overlap, and rows left over at the end are dropped.

Deviations: the resampler is libswresample's (VGGish's own code used resampy) and works on the mean
of all channels; the input is float, not rounded to 16 bits. Timestamps are ignored: gaps in the
track, and the time before a track that starts late, are not filled with silence.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from flowkit.decode.container import format_error, make_error, open_container
from flowkit.recipe import LogMelRecipe

PATCHES_PER_BLOCK = 10
"""Patches whose spectra are computed at once, which bounds the memory."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class AudioPatches:
    """The log-mel patches of one file."""

    patches: Floats
    """float32 (n, recipe.patch, recipe.mels), (n, 96, 64) by default; n is 0 if the track is
    shorter than one patch (0.975 s).
    """
    warnings: tuple[str, ...]
    """One line for each problem, such as decoding that stopped midway."""


def log_mel_patches(
    path: str | os.PathLike[str], recipe: LogMelRecipe | None = None
) -> AudioPatches:
    """Decode the best audio track of a file and convert it into log-mel patches.

    If decoding fails midway, the patches before that point are returned, with a warning.

    Args:
        path: A media file.
        recipe: Parameters of the patches. None means the defaults of `LogMelRecipe`.

    Returns:
        The patches and the warnings.

    Raises:
        VideoError: ``no-audio-stream``, ``no-decoder``, ``broken-audio`` (not one sample could be
            decoded), and all that :func:`flowkit.decode.container.open_container` raises.
    """
    recipe = recipe or LogMelRecipe()
    warnings: list[str] = []
    samples = 0

    def count_samples() -> Iterator[Floats]:
        nonlocal samples
        for chunk in decode_audio(path, recipe.sample_rate, warnings):
            samples += len(chunk)
            yield chunk

    blocks = list(make_patches(count_samples(), recipe))
    if samples == 0:
        raise make_error("broken-audio", path, "; ".join(["no audio could be decoded", *warnings]))
    return AudioPatches(np.concatenate(blocks), tuple(warnings))


def decode_audio(
    path: str | os.PathLike[str], sample_rate: int, warnings: list[str]
) -> Iterator[Floats]:
    """Decode the best audio track of a file.

    Args:
        path: A media file.
        sample_rate: Samples per second to resample to.
        warnings: A list to which a line is added if decoding fails midway.

    Yields:
        Chunks of mono samples, float32 in [−1, 1].

    Raises:
        VideoError: ``no-audio-stream``, ``no-decoder``, and all that
            :func:`flowkit.decode.container.open_container` raises.
    """
    with open_container(path) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise make_error("no-audio-stream", path, "no audio stream")
        if stream.codec_context is None:
            raise make_error("no-decoder", path, "this FFmpeg has no decoder for its audio stream")
        layout: Any = None
        resampler: Any = None
        for frame in decode_frames(container, stream, warnings):
            frame_layout = (frame.format.name, frame.layout.name, frame.sample_rate)
            if frame_layout != layout:  # the first frame, or a recording that changes midway
                if resampler is not None:
                    yield from mix_channels(resampler.resample(None))
                # Channels are kept, since swresample's mono of float samples is √2 louder.
                resampler = av.AudioResampler(format="fltp", rate=sample_rate)
                layout = frame_layout
            yield from mix_channels(resampler.resample(frame))
        if resampler is not None:
            yield from mix_channels(resampler.resample(None))


def decode_frames(container: Any, stream: Any, warnings: list[str]) -> Iterator[Any]:
    """Decode audio frames to the end, or to the first failure after a packet that was decoded.

    Args:
        container: An open PyAV container.
        stream: Its audio stream.
        warnings: A list to which a line is added if packets cannot be decoded.

    Yields:
        Decoded PyAV frames.
    """
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
            # A track that was cut out of a longer one often starts in the middle of a packet.
            if packet is not None and packet.size and not accepted:
                rejected, reason = rejected + 1, format_error(error)
                continue
            warnings.append(f"audio decoding broke after packet {accepted}: {format_error(error)}")
            return
        accepted += packet.size > 0
        yield from frames
    if rejected:
        warnings.append(f"the first {rejected} audio packets could not be decoded: {reason}")


def mix_channels(frames: list[Any]) -> Iterator[Floats]:
    """Average the channels of planar float frames.

    Args:
        frames: PyAV audio frames.

    Yields:
        float32 (samples,) for each frame.
    """
    for frame in frames:
        yield frame.to_ndarray().mean(axis=0, dtype=np.float32)


def make_patches(chunks: Iterator[Floats], recipe: LogMelRecipe) -> Iterator[Floats]:
    """Convert samples into patches, one block at a time.

    Args:
        chunks: Mono samples at ``recipe.sample_rate``, in chunks of any length.
        recipe: Parameters of the patches.

    Yields:
        float32 (n, patch, mels); the first block is empty.
    """
    window = round(recipe.window_seconds * recipe.sample_rate)
    hop = round(recipe.hop_seconds * recipe.sample_rate)
    bands = make_mel_bands(recipe)
    patch_hop = recipe.patch * hop  # samples from the start of one patch to the next
    overlap = window - hop  # samples of the next patch that the last window of a patch needs
    yield np.empty((0, recipe.patch, recipe.mels), np.float32)
    pending: list[Floats] = []
    size = 0
    for chunk in chunks:
        pending.append(chunk)
        size += len(chunk)
        if size >= PATCHES_PER_BLOCK * patch_hop + overlap:
            samples = np.concatenate(pending)
            used = (size - overlap) // patch_hop * patch_hop
            yield compute_log_mel(samples[: used + overlap], window, hop, bands, recipe)
            pending, size = [samples[used:]], size - used
    used = (size - overlap) // patch_hop * patch_hop
    if used > 0:
        samples = np.concatenate(pending)[: used + overlap]
        yield compute_log_mel(samples, window, hop, bands, recipe)


def compute_log_mel(
    samples: Floats, window: int, hop: int, bands: NDArray[np.float64], recipe: LogMelRecipe
) -> Floats:
    """Compute log-mel patches from the samples of a whole number of patches.

    Args:
        samples: float32 (samples,).
        window: Length of the spectrum window in samples.
        hop: Samples from one window to the next.
        bands: The matrix B, as `make_mel_bands` returns it.
        recipe: Parameters of the patches.

    Returns:
        float32 (patches, patch, mels).
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    magnitude = np.abs(np.fft.rfft(frames * hann, recipe.fft))
    rows = np.log(magnitude @ bands + recipe.offset).astype(np.float32)
    return rows.reshape(-1, recipe.patch, recipe.mels)


def make_mel_bands(recipe: LogMelRecipe) -> NDArray[np.float64]:
    """Make the matrix B of triangular bands, linear in mel.

    Args:
        recipe: Sample rate, length of the Fourier transform, and the bands.

    Returns:
        float64 (fft // 2 + 1, mels).
    """

    def to_mel(hertz: Any) -> Any:
        return 1127 * np.log1p(np.asarray(hertz) / 700)

    bins = to_mel(np.linspace(0, recipe.sample_rate / 2, recipe.fft // 2 + 1))[:, None]
    edges = np.linspace(to_mel(recipe.low_hz), to_mel(recipe.high_hz), recipe.mels + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    bands: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    bands[0] = 0
    return bands
