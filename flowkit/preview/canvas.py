"""Draw previews: create white images, write text into them, stack them, and write them to PNG.

All images are (height, width, 3) uint8 RGB.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from flowkit.errors import UsageError
from flowkit.store.format.atomic import convert_disk_errors

MARGIN = 28
"""White margin around an image, in pixels."""
GAP = 6
"""Distance between two tiles, in pixels."""
DARK_GREY, LIGHT_GREY = (34, 34, 34), (128, 128, 128)
"""Colours of text, as RGB."""


def write_png(canvas: np.ndarray, out: Path) -> Path:
    """Add a margin to an image and write it to a .png.

    Args:
        canvas: (height, width, 3) uint8 RGB image.
        out: The .png file to write; its folder is created.

    Returns:
        The path of the file.

    Raises:
        UsageError: If the file has another extension.
        StoreError: If the file cannot be written.
    """
    if out.suffix.lower() != ".png":
        raise UsageError(f"a preview is written to a .png or .mp4, got {out.name!r}")
    framed = np.pad(canvas, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=255)
    compression = [cv2.IMWRITE_PNG_COMPRESSION, 6]  # 9 takes 3 to 9 times as long for 1 to 3 %
    # cv2.imwrite would return False, without an error, if it cannot write.
    png = cv2.imencode(".png", np.ascontiguousarray(framed[..., ::-1]), compression)[1]
    with convert_disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(png.tobytes())
    return out


def make_canvas(height: int, width: int) -> np.ndarray:
    """Create a white image, (height, width, 3) uint8."""
    return np.full((height, width, 3), 255, np.uint8)


def crop_square(image: np.ndarray) -> np.ndarray:
    """Crop the largest square in the middle of an image, as a view."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize an image to a width and height in pixels, whatever its aspect ratio."""
    interpolation = cv2.INTER_AREA if image.shape[1] > width else cv2.INTER_CUBIC
    resized: np.ndarray = cv2.resize(image, (width, height), interpolation=interpolation)
    return resized


def stack_vertically(images: Sequence[np.ndarray]) -> np.ndarray:
    """Stack images below each other, left-aligned, with margins between them."""
    width = max(image.shape[1] for image in images)
    height = sum(image.shape[0] for image in images) + MARGIN * (len(images) - 1)
    canvas, y = make_canvas(height, width), 0
    for image in images:
        canvas[y : y + image.shape[0], : image.shape[1]] = image
        y += image.shape[0] + MARGIN
    return canvas


def stack_horizontally(images: Sequence[np.ndarray]) -> np.ndarray:
    """Stack images side by side, top-aligned, with margins between them."""
    transposed = stack_vertically([image.transpose(1, 0, 2) for image in images])
    return np.ascontiguousarray(transposed.transpose(1, 0, 2))


def write_text(
    canvas: np.ndarray,
    text: str,
    origin: tuple[int, int],
    size: int,
    colour: tuple[int, int, int],
    bold: bool = False,
) -> int:
    """Write one line of text into an image.

    Args:
        canvas: (height, width, 3) uint8 image to write into.
        text: The line. OpenCV 4 writes characters other than ASCII as ``?``.
        origin: x and y of the start of the baseline, in pixels.
        size: Size of the font in pixels.
        colour: RGB colour.
        bold: Whether to write in bold.

    Returns:
        The x where the text ends.
    """
    if hasattr(cv2, "FontFace"):  # OpenCV 5: a real typeface, any script
        typeface, weight = cv2.FontFace("sans"), 700 if bold else 400
        end, _ = cv2.putText(canvas, text, origin, colour, typeface, size, weight)
        return int(end[0])
    plain, font, scale = (
        text.encode("ascii", "replace").decode(),
        cv2.FONT_HERSHEY_DUPLEX,
        size / 32,
    )
    cv2.putText(canvas, plain, origin, font, scale, colour, 1 + bold, cv2.LINE_AA)
    return origin[0] + int(cv2.getTextSize(plain, font, scale, 1)[0][0])


def measure_text(text: str, size: int) -> int:
    """Measure the width of one line of text in pixels."""
    return write_text(make_canvas(4, 4), text, (0, 0), size, DARK_GREY)
