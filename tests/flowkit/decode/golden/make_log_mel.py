"""Makes log_mel.npy beside it: a log-mel patch by an implementation that is not ours.

That of Hugging Face's transformers (5.23.0, with numpy 2.4.6), whose `audio_utils` compute the
spectrograms of its audio models. With the patch's own constants, in an environment of its own:

    pip install transformers && python tests/flowkit/decode/golden/make_log_mel.py
"""

from pathlib import Path

import numpy as np


def make_samples() -> np.ndarray:
    """15,600 samples at 16 kHz, float32: a rising tone over noise, between two silences."""
    t = np.arange(15_600) / 16_000
    tone = 0.5 * np.sin(2 * np.pi * (200 * t + 3_500 * t**2))
    noise = np.random.RandomState(0).uniform(-0.02, 0.02, len(t))  # whose stream is frozen
    return ((tone + noise) * ((t > 0.1) & (t < 0.9))).astype(np.float32)


def make_log_mel() -> np.ndarray:
    """(96, 64) float32."""
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    bands = mel_filter_bank(
        257, 64, 125, 7500, 16_000, mel_scale="htk", triangularize_in_mel_space=True
    )
    window = window_function(400, "hann", periodic=True)
    found = spectrogram(
        make_samples(), window, 400, 160, 512, power=1.0, center=False, mel_filters=bands,
        mel_floor=0.0, dtype=np.float64,
    )  # fmt: skip
    return np.log(found.T + 0.01).astype(np.float32)


if __name__ == "__main__":
    np.save(Path(__file__).with_name("log_mel.npy"), make_log_mel())
