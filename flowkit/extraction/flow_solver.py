"""Compute the flow of chunks of frames with the method of a recipe: TV-L1, or a learned one.

TV-L1 reads grey frames, and learned methods read RGB. The fields of both are quantized and stored
in the same way.
"""

from collections.abc import Callable
from threading import Event

import cv2
import numpy as np
import numpy.typing as npt

from flowkit.decode import RGBFrame
from flowkit.extraction.frame_pairs import FramePairs, compute_tvl1
from flowkit.extraction.learned_flow import load_method
from flowkit.extraction.stage_timer import StageTimer
from flowkit.extraction.tasks import WorkerSettings
from flowkit.flow import quantize, tvl1_video_quantized
from flowkit.recipe import FlowRecipe

U8 = npt.NDArray[np.uint8]


class Stopped(Exception):
    """The run was requested to stop while a video was being extracted."""


class FlowSolver:
    """Computes the quantized flow of one video, whose frames are added in their order.

    Args:
        settings: The settings of the worker, whose recipe has flow if frames are added.
        timer: Timer of the stage ``flow``.
        report_progress: Called with the number of flow fields that were computed.
        stop: Set when the run is to end.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        timer: StageTimer,
        report_progress: Callable[[int], None],
        stop: Event,
    ) -> None:
        self._settings, self._recipe, self._timer = settings, settings.recipe.flow, timer
        self._report_progress, self._stop = report_progress, stop
        self._pairs = FramePairs(1 if self._recipe is None else self._recipe.step)

    def add(self, frames: list[RGBFrame]) -> U8:
        """Add the next frames, and compute the flow of the pairs that they complete.

        Args:
            frames: At least one frame.

        Returns:
            Quantized flow, uint8 (N, H, W, 2), in the order of the first frames of the pairs.

        Raises:
            Stopped: The run is to end.
        """
        recipe = self._recipe
        assert recipe is not None
        if not recipe.is_learned:
            frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        first, second = self._pairs.add(frames)
        if not first:
            return np.empty((0, *frames[0].shape[:2], 2), np.uint8)
        with self._timer.enter_stage("flow"):
            return self._solve(recipe, first, second)

    def _solve(self, recipe: FlowRecipe, first: list[U8], second: list[U8]) -> U8:
        """Compute the flow from each first frame, grey or RGB, to its second one."""
        if recipe.is_learned:
            network, batches = load_method(self._settings), []
            assert network is not None
            for batch in network.compute_batches(np.stack(first), np.stack(second)):
                if self._stop.is_set():
                    raise Stopped
                self._report_progress(len(batch))  # a chunk may take minutes on a CPU
                batches.append(quantize(np.ascontiguousarray(batch), recipe.bound))
            return np.concatenate(batches)
        assert recipe.tvl1 is not None  # recipe_overrides.py refuses stores of imported flow
        backend = self._settings.backend
        flow = compute_tvl1(first, second, recipe.step, recipe.tvl1, recipe.bound, backend)
        self._report_progress(len(flow))
        return flow


def warm_up_flow(settings: WorkerSettings) -> None:
    """Load or compile what computes flow, so that the first video does not wait for it."""
    load_method(settings)
    recipe = settings.recipe.flow
    if recipe is not None and recipe.tvl1 is not None and settings.backend:
        frames = np.zeros((2, 16, 16), np.uint8)
        tvl1_video_quantized(frames, recipe.tvl1, recipe.bound, settings.backend)
