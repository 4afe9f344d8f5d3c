"""The parameters of TV-L1, and the presets.

Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007;
Sánchez, Meinhardt-Llopis, Facciolo, "TV-L1 Optical Flow Estimation", IPOL 2013.
Wedel, Pock, Zach, Bischof, Cremers, "An Improved Algorithm for TV-L1 Optical Flow", 2009 (the
median filter).
The values are those of OpenCV's CUDA class, which the action-recognition papers used.

    τ  tau        λ  lambda_      θ  theta      ε  epsilon

The pixels of the full image, the finest level, outnumber those of all other levels, so a fast
schedule spares it. `warps`, `epsilon` and `median_side` hold for every level; the three fields
that begin with `finest_` replace them at the finest one.
"""

from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from flowkit.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class TVL1Params:
    """All that decides a TV-L1 flow field, given two images.

    Parameters
    ----------
    tau: time step of the dual update.
    lambda_: weight of the data term, for intensities 0–255.
    theta: tightness of the coupling of u and v.
    epsilon: stop when the mean of |Δu|² over the image is below ε² (pixels²).
    scales: most pyramid levels, the full image included.
    scale_step: size of a level relative to the next finer one, in (0, 1).
    min_side: no level has a side shorter than this, in pixels (but the full image is always used).
    warps: warps per level.
    iterations: most iterations per warp.
    median_side: side in pixels of the median filter that u passes at the end of a level, with the
        border replicated: 3 or 5; 1 leaves the filter out.
    finest_warps: as `warps`, for the full image; None: the same.
    finest_epsilon: as `epsilon`, for the full image; None: the same.
    finest_median_side: as `median_side`, for the full image; None: the same.
    """

    tau: float = 0.25
    lambda_: float = 0.15
    theta: float = 0.3
    epsilon: float = 0.01
    scales: int = 5
    scale_step: float = 0.8
    min_side: int = 16
    warps: int = 5
    iterations: int = 300
    median_side: int = 1
    finest_warps: int | None = None
    finest_epsilon: float | None = None
    finest_median_side: int | None = None

    def __post_init__(self) -> None:
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
            raise UsageError(f"TVL1Params.scale_step must lie in (0, 1), got {self.scale_step}")
        for name in PER_LEVEL:  # what is the same at every level is written in one way only
            if getattr(self, f"finest_{name}") == getattr(self, name):
                object.__setattr__(self, f"finest_{name}", None)

    def get_schedule(self, finest: bool) -> "LevelSchedule":
        """Return what to do at a level.

        Args:
            finest: whether the level is the full image.
        """
        values = {name: getattr(self, name) for name in PER_LEVEL}
        if finest:
            special = {name: getattr(self, f"finest_{name}") for name in PER_LEVEL}
            values.update((name, value) for name, value in special.items() if value is not None)
        return LevelSchedule(**values)

    @property
    def is_uniform(self) -> bool:
        """Whether all levels are solved alike and without a median filter, as OpenCV does it."""
        plain = self.get_schedule(finest=False)
        return plain.median_side == 1 and plain == self.get_schedule(finest=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as JSON values, as the store records them.

        Fields that came after the first stores are left out while they change nothing, so that
        a recipe without them reads as it always did.
        """
        values = asdict(self)
        for name, neutral in NEUTRAL.items():
            if values[name] == neutral:
                del values[name]
        return values


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelSchedule:
    """What is done at one level of the pyramid."""

    warps: int
    """Warps of the second frame."""
    epsilon: float
    """Iterations end when the mean of |Δu|² over the level is below its square (pixels²)."""
    median_side: int
    """Side of the median filter that ends the level, in pixels; 1: none."""


MEDIAN_SIDES = (1, 3, 5)
PER_LEVEL = ("warps", "epsilon", "median_side")
NEUTRAL = {
    "median_side": 1,
    "finest_warps": None,
    "finest_epsilon": None,
    "finest_median_side": None,
}
"""The values with which fields that the first stores did not have change nothing."""


PRESETS: dict[str, TVL1Params] = {
    # The schedule of OpenCV's CUDA class: what the papers' flow was computed with.
    "paper": TVL1Params(),
    # The pyramid goes on until 16 pixels, so that displacements of 20 px are found at all. Six
    # warps were picked among eight variants by AEE on the four Middlebury sequences we have:
    # with five, Grove2 came out between 0.4 and 1.6 % behind "paper", with six 3 % ahead.
    "accurate": TVL1Params(scales=64, warps=6),
    # Each level has a quarter of the pixels of the next, so all coarse levels together have a
    # third of the finest one's. They converge well, and the median filter removes what they get
    # wrong at single pixels; one warp is then enough for the finest. Chosen with
    # benchmarks/flow.py as the most accurate schedule that takes well below 0.6 of the time of
    # OpenCV's DIS.
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


def resolve_params(params: object) -> TVL1Params:
    """Return the parameters themselves, or those of the preset that is named.

    Args:
        params: parameters, or a key of `PRESETS`.

    Raises:
        UsageError: no preset has that name, or `params` is something else.
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
        near = get_close_matches(params, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"unknown flow preset {params!r}; {hint}there are {names}")
    return PRESETS[params]
