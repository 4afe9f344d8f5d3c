"""The parameters: what is refused, what each level gets, and what a store records."""

from dataclasses import replace

import pytest

from flowkit.errors import UsageError
from flowkit.flow import PRESETS, TVL1Params

FIRST_FIELDS = {
    "tau": 0.25, "lambda_": 0.15, "theta": 0.3, "epsilon": 0.01, "scales": 5, "scale_step": 0.8,
    "min_side": 16, "warps": 5, "iterations": 300,
}  # fmt: skip


def test_the_first_presets_are_recorded_as_they_always_were():
    assert PRESETS["paper"].to_dict() == FIRST_FIELDS
    assert PRESETS["accurate"].to_dict() == FIRST_FIELDS | {"scales": 64, "warps": 6}


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_recorded_gives_the_parameters_back(preset):
    assert TVL1Params(**PRESETS[preset].to_dict()) == PRESETS[preset]


def test_the_finest_level_has_a_schedule_of_its_own():
    params = TVL1Params(warps=4, epsilon=0.02, median_side=5, finest_warps=1, finest_epsilon=0.05)
    coarse, finest = params.get_schedule(finest=False), params.get_schedule(finest=True)
    assert (coarse.warps, coarse.epsilon, coarse.median_side) == (4, 0.02, 5)
    assert (finest.warps, finest.epsilon, finest.median_side) == (1, 0.05, 5)
    assert replace(params, finest_median_side=1).get_schedule(finest=True).median_side == 1


def test_what_is_the_same_at_all_levels_is_written_in_one_way():
    same = TVL1Params(finest_warps=5, finest_epsilon=0.01, finest_median_side=1)
    assert same == TVL1Params()
    assert same.to_dict() == FIRST_FIELDS


@pytest.mark.parametrize(
    ("params", "uniform"),
    [
        (PRESETS["paper"], True),
        (PRESETS["accurate"], True),
        (PRESETS["fast"], False),
        (TVL1Params(finest_warps=5), True),
        (TVL1Params(finest_warps=4), False),
        (TVL1Params(finest_epsilon=0.02), False),
        (TVL1Params(median_side=3), False),
        (TVL1Params(finest_median_side=3), False),
    ],
)
def test_parameters_that_opencv_can_take_in_one_call(params, uniform):
    assert params.is_uniform is uniform


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tau": 0}, "tau must be positive, got 0"),
        ({"epsilon": float("nan")}, "epsilon must be positive, got nan"),
        ({"finest_epsilon": -1.0}, "finest_epsilon must be positive, got -1.0"),
        ({"warps": 0}, "warps must be at least 1, got 0"),
        ({"finest_warps": 0}, "finest_warps must be at least 1, got 0"),
        ({"scale_step": 1}, "scale_step must be in"),
        ({"median_side": 2}, r"median_side must be one of 1, 3, 5 \(1: no filter\), got 2"),
        ({"median_side": 0}, "median_side must be one of"),
        ({"finest_median_side": 7}, "finest_median_side must be one of.*got 7"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        TVL1Params(**values)
