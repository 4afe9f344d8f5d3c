"""Compute the flow of chunks of frames with the method of a recipe: TV-L1, or a learned one."""

from collections.abc import Callable
from threading import Event

import cv2
import numpy as np
import numpy.typing as npt

from flowkit.extraction.frame_pairs import compute_tvl1
from flowkit.extraction.learned_flow import compute_quantized
from flowkit.extraction.tasks import WorkerSettings

U8 = npt.NDArray[np.uint8]


class Stopped(Exception):
    """The run was requested to stop while a video was being extracted."""


class FlowSolver:
    """Computes quantized flow between frames.

    Args:
        settings: The settings of the worker, whose recipe has flow if a method is called.
        report_progress: Called with the number of flow fields that were computed.
        stop: Set when the run is to end.
    """

    def __init__(
        self, settings: WorkerSettings, report_progress: Callable[[int], None], stop: Event
    ) -> None:
        self._settings, self._recipe = settings, settings.recipe.flow
        self._report_progress, self._stop = report_progress, stop

    def prepare_frame(self, pixels: U8) -> U8:
        """Convert an RGB frame to what the method reads: grey (H, W), or RGB (H, W, 3)."""
        assert self._recipe is not None
        return pixels if self._recipe.is_learned else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)

    def solve(self, first: list[U8], second: list[U8]) -> U8:
        """Compute the flow from each first frame to its second one.

        Args:
            first: At least one frame, as `prepare_frame` returns them, in the order of the video.
            second: As many frames.

        Returns:
            Quantized flow, uint8 (N, H, W, 2).

        Raises:
            Stopped: The run is to end.
        """
        recipe = self._recipe
        assert recipe is not None
        if recipe.is_learned:
            batches = []
            for batch in compute_quantized(self._settings, np.stack(first), np.stack(second)):
                if self._stop.is_set():
                    raise Stopped
                self._report_progress(len(batch))  # a chunk may take minutes on a CPU
                batches.append(batch)
            return np.concatenate(batches)
        assert recipe.tvl1 is not None  # recipe_overrides.py refuses stores of imported flow
        backend = self._settings.backend
        flow = compute_tvl1(first, second, recipe.step, recipe.tvl1, recipe.bound, backend)
        self._report_progress(len(flow))
        return flow
