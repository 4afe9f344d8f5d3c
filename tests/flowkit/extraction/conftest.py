"""A recipe that is quick to extract by, and what the tests compare stores by."""

from pathlib import Path

import pytest

from flowkit.flow import TVL1Params
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store import Store
from flowkit.store.format.records import read_record, record_paths


@pytest.fixture
def recipe() -> StoreRecipe:
    """RGB and flow at 32×32, with a solver of few iterations."""
    tvl1 = TVL1Params(scales=2, warps=1, iterations=5)
    return StoreRecipe(
        resize=Resize(width=32, height=32), rgb=RGBRecipe(), flow=FlowRecipe(tvl1=tvl1)
    )


@pytest.fixture
def contents():
    """``contents(root)``: every video's frames and flow fields as the bytes in the store."""

    def read(root: Path) -> dict[str, list[tuple[bytes, tuple[bytes, bytes] | None]]]:
        store = Store(root)
        return {
            id: [
                (video.rgb_bytes(t), video.flow_bytes(t) if t < video.num_flow else None)
                for t in range(video.num_frames)
            ]
            for id in store
            for video in [store[id]]
        }

    return read


@pytest.fixture
def committed():
    """``committed(root)``: every video of every commit record, also one that counts twice."""

    def read(root: Path):
        return [video for path in record_paths(root) for video in read_record(path).videos]

    return read
