"""Define how audio is stored."""

from dataclasses import dataclass

from flowkit.errors import UsageError
from flowkit.streams import PATCH_SHAPE


@dataclass(frozen=True, kw_only=True, slots=True)
class LogMelRecipe:
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

    def check(self) -> None:
        """Check that the values fit each other, and the shape of patches in a store.

        This is done where audio is added to a store, not where a recipe is read: older versions
        made stores without these checks.

        Raises:
            UsageError: They do not.
        """
        window = round(self.sample_rate * self.window_seconds)
        if not 0 < window <= self.fft:
            raise UsageError(
                f"audio: expected at most fft = {self.fft} samples in a window, got {window} "
                f"({self.window_seconds:g} s at {self.sample_rate} Hz)"
            )
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate / 2:
            raise UsageError(
                f"audio: expected 0 ≤ low_hz < high_hz ≤ sample_rate / 2, got {self.low_hz:g} and "
                f"{self.high_hz:g} at {self.sample_rate} Hz"
            )
        if (self.patch, self.mels) != PATCH_SHAPE:
            raise UsageError(
                f"audio: expected {PATCH_SHAPE[0]} windows of {PATCH_SHAPE[1]} mel bands in a "
                f"patch, as stores have them, got {self.patch} and {self.mels}"
            )
