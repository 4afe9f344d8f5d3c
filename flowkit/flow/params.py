"""The parameters of TV-L1, and the two presets.

Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007;
Sánchez, Meinhardt-Llopis, Facciolo, "TV-L1 Optical Flow Estimation", IPOL 2013.
The values are those of OpenCV's CUDA class, which the action-recognition papers used.

    τ  tau        λ  lambda_      θ  theta      ε  epsilon
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

    def __post_init__(self) -> None:
        for name in ("tau", "lambda_", "theta", "epsilon"):
            if not getattr(self, name) > 0:
                raise UsageError(f"TVL1Params.{name} must be positive, got {getattr(self, name)}")
        for name in ("scales", "min_side", "warps", "iterations"):
            if not getattr(self, name) >= 1:
                raise UsageError(f"TVL1Params.{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.scale_step < 1:
            raise UsageError(f"TVL1Params.scale_step must lie in (0, 1), got {self.scale_step}")

    def to_dict(self) -> dict[str, Any]:
        """The parameters as JSON values, as the store records them."""
        return asdict(self)


PRESETS: dict[str, TVL1Params] = {
    # The schedule of OpenCV's CUDA class: what the papers' flow was computed with.
    "paper": TVL1Params(),
    # The pyramid goes on until 16 pixels, so that displacements of 20 px are found at all. Six
    # warps were picked among eight variants by AEE on the four Middlebury sequences we have:
    # with five, Grove2 came out between 0.4 and 1.6 % behind "paper", with six 3 % ahead.
    "accurate": TVL1Params(scales=64, warps=6),
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
