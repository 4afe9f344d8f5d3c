"""Define the parameters of the TV-L1 optical flow method, and presets of them.

Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007; Sánchez,
Meinhardt-Llopis, Facciolo, "TV-L1 Optical Flow Estimation", IPOL 2013. The median filter is that of
Wedel, Pock, Zach, Bischof, Cremers, "An Improved Algorithm for TV-L1 Optical Flow", 2009. The
default values are those of OpenCV's CUDA class, which the action-recognition papers used.

    τ  tau        λ  lambda_      θ  theta      ε  epsilon

u is the flow, and v a second flow that fits the two images and is coupled to u; the equations are
in `flow/cpu/tvl1.py`.

`warps`, `epsilon` and `median_side` hold for every level; the three fields that begin with
`finest_` replace them at the finest one, the full image. With `scale_step` 0.5 it has three times
the pixels of all other levels together, so a fast preset does less work there.
"""

from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from flowkit.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class TVL1Params:
    """All parameters that decide a TV-L1 flow field, given two images."""

    tau: float = 0.25
    """Step size of the dual update, above 0."""
    lambda_: float = 0.15
    """Weight of the data term (brightness constancy), for intensities 0–255, above 0."""
    theta: float = 0.3
    """How far v may differ from u, above 0; a smaller value couples them more tightly."""
    epsilon: float = 0.01
    """Iterations stop when the mean of |Δu|² over the image is below ε² (pixels²)."""
    scales: int = 5
    """Maximum number of pyramid levels, including the full image."""
    scale_step: float = 0.8
    """Size of a level relative to the next finer one, in (0, 1)."""
    min_side: int = 16
    """Shortest side of a level in pixels; the full image is used even if it is smaller."""
    warps: int = 5
    """How many times the second frame is warped by the current flow, per level."""
    iterations: int = 300
    """Maximum number of iterations per warp."""
    median_side: int = 1
    """Side in pixels of the median filter that u passes at the end of a level, with the border
    replicated: 3 or 5; 1 means no filter.
    """
    finest_warps: int | None = None
    """Like `warps`, for the full image; None means the same value."""
    finest_epsilon: float | None = None
    """Like `epsilon`, for the full image; None means the same value."""
    finest_median_side: int | None = None
    """Like `median_side`, for the full image; None means the same value."""

    def __post_init__(self) -> None:
        """Check the ranges, and replace redundant values of the `finest_` fields by None."""
        for name in ("tau", "lambda_", "theta", "epsilon", "finest_epsilon"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"TVL1Params.{name} must be positive, got {value}")
        for name in ("scales", "min_side", "warps", "iterations", "finest_warps"):
            value = getattr(self, name)
            if value is not None and not value >= 1:
                raise UsageError(f"TVL1Params.{name} must be at least 1, got {value}")
        for name in ("median_side", "finest_median_side"):
            value = getattr(self, name)
            if value is not None and value not in MEDIAN_SIDES:
                sides = ", ".join(map(str, MEDIAN_SIDES))
                raise UsageError(
                    f"TVL1Params.{name} must be one of {sides} (1: no filter), got {value}"
                )
        if not 0 < self.scale_step < 1:
            raise UsageError(f"TVL1Params.scale_step must be in (0, 1), got {self.scale_step}")
        for name in PER_LEVEL:  # equal settings have one representation, so they compare equal
            if getattr(self, f"finest_{name}") == getattr(self, name):
                object.__setattr__(self, f"finest_{name}", None)

    def get_schedule(self, finest: bool) -> "LevelSchedule":
        """Return the settings of one level.

        Args:
            finest: Whether the level is the full image.

        Returns:
            The warps, epsilon and median filter of the level.
        """
        values = {name: getattr(self, name) for name in PER_LEVEL}
        finest_values = {name: getattr(self, f"finest_{name}") for name in PER_LEVEL}
        if finest:
            values |= {name: v for name, v in finest_values.items() if v is not None}
        return LevelSchedule(**values)

    @property
    def is_uniform(self) -> bool:
        """Whether all levels have equal settings and no median filter, like OpenCV's CUDA class."""
        coarse = self.get_schedule(finest=False)
        return coarse.median_side == 1 and coarse == self.get_schedule(finest=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as JSON values, as the store records them.

        Fields that the first stores did not have are left out while they have no effect, so that
        such a recipe is written as before.

        Returns:
            JSON values by name.
        """
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in NEUTRAL_VALUES or value != NEUTRAL_VALUES[name]
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelSchedule:
    """The settings of one level of the pyramid."""

    warps: int
    """How many times the second frame is warped by the current flow."""
    epsilon: float
    """Iterations stop when the mean of |Δu|² over the level is below its square (pixels²)."""
    median_side: int
    """Side in pixels of the median filter at the end of the level; 1 means no filter."""


DEFAULT_BOUND = 20.0
"""Displacement in pixels beyond which flow is clipped, where nothing else is stated."""
MAX_BOUND = 1e30
"""All bounds are below this one, in pixels."""
MEDIAN_SIDES = (1, 3, 5)
PER_LEVEL = ("warps", "epsilon", "median_side")
NEUTRAL_VALUES = {
    "median_side": 1,
    "finest_warps": None,
    "finest_epsilon": None,
    "finest_median_side": None,
}
"""Values that have no effect, for the fields that the first stores did not have."""


PRESETS: dict[str, TVL1Params] = {
    # The schedule of OpenCV's CUDA class, with which the flow of the papers was computed.
    "paper": TVL1Params(),
    # The pyramid continues down to 16 pixels; without that, displacements of 20 px are not found.
    # Six warps have the smallest average endpoint error of eight variants on the four Middlebury
    # sequences that the benchmarks use: with five, Grove2 is up to 1.6 % worse than "paper", with
    # six 3 % better.
    "accurate": TVL1Params(scales=64, warps=6),
    # Each level has a quarter of the pixels of the next, so all coarse levels together have a
    # third of the pixels of the finest. They converge well, and the median filter removes errors
    # at single pixels, so that one warp is enough for the finest. The schedule was chosen with
    # benchmarks/flow.py as the most accurate one that needs well below 0.6 of the time of
    # OpenCV's DIS optical flow.
    "fast": TVL1Params(
        scales=64,
        scale_step=0.5,
        warps=3,
        epsilon=0.025,
        median_side=3,
        finest_warps=1,
        finest_epsilon=0.04,
        finest_median_side=1,
    ),
}
"""The presets by name."""


def resolve_params(params: object) -> TVL1Params:
    """Return the parameters of a preset; parameters themselves are returned unchanged.

    Args:
        params: Parameters, or a key of `PRESETS`.

    Returns:
        The parameters.

    Raises:
        UsageError: No preset has that name, or `params` is something else.
    """
    if isinstance(params, TVL1Params):
        return params
    names = ", ".join(PRESETS)
    if not isinstance(params, str):
        got = "None" if params is None else f"{type(params).__name__} {params!r}"
        raise UsageError(
            f"params must be TVL1Params or the name of a flow preset ({names}), got {got}"
        )
    if params not in PRESETS:
        matches = get_close_matches(params, PRESETS, n=1)
        hint = f"did you mean {matches[0]!r}? " if matches else ""
        raise UsageError(f"unknown flow preset {params!r}; {hint}there are {names}")
    return PRESETS[params]
