"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips, Middlebury flow and official split files beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED} (it lies beside the founders' checkouts)")
    return SHARED
