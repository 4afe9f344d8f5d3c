"""Define how audio is stored."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioRecipe:
    """How audio is stored: as the log-mel patches that are the input of VGGish.

    Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017. The
    defaults are 16 kHz mono, 25 ms windows every 10 ms, 64 mel bands of 125–7500 Hz, log(mel +
    0.01), and patches of 96 windows without overlap.
    """

    sample_rate: int = 16000
    """Samples per second after resampling to mono."""
    window_seconds: float = 0.025
    """Length of a spectrum window in seconds."""
    hop_seconds: float = 0.010
    """Seconds from one window to the next."""
    fft: int = 512
    """Length of the Fourier transform in samples."""
    mels: int = 64
    """Number of mel bands."""
    low_hz: float = 125.0
    """Lower edge of the lowest band in Hz."""
    high_hz: float = 7500.0
    """Upper edge of the highest band in Hz."""
    offset: float = 0.01
    """Added to the mel energies before the logarithm."""
    patch: int = 96
    """Windows in a patch."""
