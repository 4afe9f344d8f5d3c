"""Draw flow fields as colours: the direction is the hue, the length is the saturation.

The colour wheel is that of Baker, Scharstein, Lewis, Roth, Black, Szeliski, "A Database and
Evaluation Methodology for Optical Flow", IJCV 2011: six arcs between the pure hues, each with as
many entries as the eye can distinguish shades, 55 in all. Motion to the right is red, down yellow,
left cyan, up violet (y points down).
"""

import numpy as np
import numpy.typing as npt

from flowkit.errors import FlowError

# Number of entries in the arc that starts at each hue.
ARCS = (
    ((255, 0, 0), 15),  # red → yellow
    ((255, 255, 0), 6),  # yellow → green
    ((0, 255, 0), 4),  # green → cyan
    ((0, 255, 255), 11),  # cyan → blue
    ((0, 0, 255), 13),  # blue → magenta
    ((255, 0, 255), 6),  # magenta → red
)
UNKNOWN = 1e9
"""In Middlebury's files, a component of this value or more means that the flow is unknown."""


def make_color_wheel() -> npt.NDArray[np.float32]:
    """Make the colour wheel.

    Returns:
        float32 RGB (55, 3) in 0–1, starting at motion to the right, clockwise on the screen.
    """
    entries = []
    for (hue, count), (next_hue, _) in zip(ARCS, ARCS[1:] + ARCS[:1], strict=True):
        blend = np.floor(255 * np.arange(count) / count)[:, None] / 255
        entries.append((1 - blend) * np.array(hue) + blend * np.array(next_hue))
    return (np.concatenate(entries) / 255).astype(np.float32)


def flow_to_color(
    flow: npt.NDArray[np.float32], max_radius: float | None = None
) -> npt.NDArray[np.uint8]:
    """Draw a flow field in colours.

    Args:
        flow: float32 (H, W, 2), displacement (x, y) in pixels. Unknown pixels (NaN, or a component
            of 1e9 or more) become black.
        max_radius: Length in pixels that gets the full colour; longer vectors are darkened. None
            means the longest vector of this field.

    Returns:
        uint8 RGB (H, W, 3); zero motion is white.

    Raises:
        FlowError: ``flow`` has another shape, or ``max_radius`` is not positive.
    """
    if not isinstance(flow, np.ndarray) or flow.ndim != 3 or flow.shape[2] != 2:
        got = getattr(flow, "shape", type(flow).__name__)
        raise FlowError(f"a flow field must have shape (H, W, 2), got {got}")
    if max_radius is not None and not max_radius > 0:
        raise FlowError(f"max_radius must be positive pixels, got {max_radius}")
    is_known: npt.NDArray[np.bool_] = np.all(np.abs(flow) < UNKNOWN, axis=2, keepdims=True)
    x, y = np.where(is_known, flow, 0).astype(np.float32).transpose(2, 0, 1)
    radius = np.hypot(x, y)
    if max_radius is None:
        max_radius = float(radius.max(initial=0)) or 1.0
    radius /= np.float32(max_radius)

    wheel = make_color_wheel()
    position = np.arctan2(y, x) / (2 * np.pi) % 1 * len(wheel)
    index = position.astype(np.intp)
    blend = (position - index)[..., None]
    index %= len(wheel)
    hue = (1 - blend) * wheel[index] + blend * wheel[(index + 1) % len(wheel)]

    radius = radius[..., None]
    color = np.where(radius <= 1, 1 - radius * (1 - hue), 0.75 * hue)
    rgb: npt.NDArray[np.uint8] = (255 * color * is_known).astype(np.uint8)
    return rgb
