"""Decode the clips of `flowkit doctor`, and check that their colour, motion and sound are right."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowkit.doctor import clips
from flowkit.doctor.steps import WrongResultError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from flowkit.decode import VideoReader
    from flowkit.recipe import Resize

MOTION_TOLERANCE = 0.25
"""Allowed error of the motion, in pixels per frame."""
COLOUR_TOLERANCE = 12.0
"""Mean difference of pixel values (0–255) that lossy encoders and builds of FFmpeg may cause."""


def open_reader(clip: Path, resize: "Resize | None") -> "VideoReader":
    """Open a clip as an extraction worker does; None keeps the original size."""
    from flowkit.decode import VideoReader
    from flowkit.recipe import Resize

    return VideoReader(clip, resize or Resize(mode="none"), None)


def decode_frames(clip: Path) -> "list[NDArray[np.uint8]]":
    """Decode all frames of a clip at their original size, and check their content.

    Args:
        clip: Path of the clip.

    Returns:
        (H, W, 3) uint8 RGB frames.

    Raises:
        WrongResultError: If the number, size or colour of the frames is wrong.
    """
    with open_reader(clip, None) as reader:
        frames = list(reader)
    faults = "".join(f"; {warning}" for warning in reader.warnings)
    expect(
        len(frames) == clips.FRAMES and not faults,
        f"expected {clips.FRAMES} frames, got {len(frames)}{faults}",
    )
    shape = (clips.HEIGHT, clips.WIDTH, 3)
    expect(frames[0].shape == shape, f"expected frames of {shape}, got {frames[0].shape}")
    check_colour(frames)
    return frames


def decode_sound(clip: Path) -> "NDArray[np.float32]":
    """Convert the audio track of a clip to log-mel patches.

    Args:
        clip: Path of the clip.

    Returns:
        (N, 96, 64) log-mel patches.

    Raises:
        WrongResultError: If the clip has no sound, or its sound has faults.
    """
    from flowkit.decode.audio import log_mel_patches

    audio = log_mel_patches(clip)
    faults = "".join(f"; {warning}" for warning in audio.warnings)
    expect(
        len(audio.patches) > 0 and not faults, f"got {len(audio.patches)} patches of sound{faults}"
    )
    return audio.patches


def expect(condition: bool, message: str) -> None:
    """Raise an error unless a condition holds.

    Args:
        condition: Whether the result is right.
        message: What was expected, and what came out.

    Raises:
        WrongResultError: If it is not.
    """
    if not condition:
        raise WrongResultError(message)


def measure_difference(a: "NDArray[Any]", b: "NDArray[Any]") -> float:
    """Measure the mean absolute difference of two images of the same shape."""
    import numpy as np

    return float(np.abs(a.astype(np.float32) - b.astype(np.float32)).mean())


def check_colour(frames: "list[NDArray[np.uint8]]") -> None:
    """Check that the mean colour of frames is that of the clips.

    Swapped channels, a wrong YUV matrix, and the green frames of a broken decoder all change it.

    Args:
        frames: (H, W, 3) uint8 RGB frames.

    Raises:
        WrongResultError: If it is not.
    """
    import numpy as np

    mean = np.mean([frame.mean(axis=(0, 1)) for frame in frames], axis=0)
    error = float(np.abs(mean - clips.MEAN_COLOUR).max())
    expect(
        error < COLOUR_TOLERANCE,
        f"wrong colours: expected a mean RGB of {clips.MEAN_COLOUR}, got "
        f"({', '.join(f'{value:.1f}' for value in mean)})",
    )


def check_motion(fields: "NDArray[Any]", expected: float) -> str:
    """Check that the median of each flow field is the motion of the clip.

    Args:
        fields: (N, H, W, 2) displacements in pixels.
        expected: Motion to the right in pixels per frame; there is no vertical motion.

    Returns:
        The measured and the expected motion, in words.

    Raises:
        WrongResultError: If it is not.
    """
    import numpy as np

    medians = np.median(fields, axis=(1, 2))
    x, y = (float(value) for value in np.median(medians, axis=0))
    error = float(np.abs(medians - (expected, 0.0)).max())
    expect(
        error < MOTION_TOLERANCE,
        f"wrong flow: expected a median of ({expected:+.2f}, +0.00) px in every field, "
        f"got ({x:+.2f}, {y:+.2f}) px, and up to {error:.2f} px off",
    )
    return f"motion {x:+.2f} px, expected {expected:+.2f}"


def check_tone(patches: "NDArray[Any]") -> str:
    """Check that the loudest mel band is that of the tone in the clips.

    Args:
        patches: (1, 96, 64) log-mel patches.

    Returns:
        The tone and the mel band, in words.

    Raises:
        WrongResultError: If it is not.
    """
    import numpy as np

    from flowkit.recipe import LogMelRecipe

    recipe = LogMelRecipe()
    expect(len(patches) == 1, f"expected 1 log-mel patch of a second of sound, got {len(patches)}")
    low, high, tone = 1127 * np.log1p(
        np.array([recipe.low_hz, recipe.high_hz, clips.TONE_HERTZ]) / 700
    )
    expected = (tone - low) / (high - low) * (recipe.mels + 1) - 1
    loudest = int(patches.mean(axis=(0, 1)).argmax())
    expect(
        abs(loudest - expected) <= 1,
        f"wrong sound: expected the tone in mel band {expected:.0f}, got {loudest}",
    )
    return f"{clips.TONE_HERTZ} Hz found in mel band {loudest}"
