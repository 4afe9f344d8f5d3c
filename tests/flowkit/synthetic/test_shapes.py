"""Outlines: inside the unit circle and touching it, distances of slope 1 at the outline."""

import numpy as np
import pytest

from flowkit.synthetic.shapes import SHAPES

GRID = np.stack(np.meshgrid(np.linspace(-1.3, 1.3, 521), np.linspace(-1.3, 1.3, 521)), -1)


@pytest.mark.parametrize("name", SHAPES)
def test_outline(name: str) -> None:
    distance = SHAPES[name](GRID)
    radius = np.hypot(*GRID.transpose(2, 0, 1))
    inside = distance <= 0
    assert radius[inside].max() == pytest.approx(1, abs=0.02)
    assert inside[260, 260]
    assert distance[radius > 1.1].min() > 0
    step = GRID[0, 1, 0] - GRID[0, 0, 0]
    slope = np.hypot(*np.gradient(distance, step))
    edge = np.abs(distance) < 0.01
    assert np.median(slope[edge]) == pytest.approx(1, abs=0.05)
    assert slope[edge].max() < 1.35


def test_float32_stays_float32() -> None:
    for distance in SHAPES.values():
        assert distance(GRID.astype(np.float32)).dtype == np.float32
