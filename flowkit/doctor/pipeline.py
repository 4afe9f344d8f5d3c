"""Extract tiny clips with the functions that `flowkit extract` uses, and check the results.

    open → decode → resize → compute flow → encode      the functions, one by one
    sound                                                the audio track as log-mel patches
    write store → verify store → read store              `extract` in this process, `verify --deep`

The content of the clips is known (see flowkit/doctor/clips): a texture that moves by 2 pixels per
frame at the stored size, and a tone. A step that runs but gives a wrong result therefore fails too.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from flowkit.doctor import clips
from flowkit.doctor.clip_checks import (
    COLOUR_TOLERANCE,
    check_motion,
    check_tone,
    decode_frames,
    decode_sound,
    expect,
    measure_difference,
    open_reader,
)
from flowkit.doctor.steps import TrialStep

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from flowkit.recipe import StoreRecipe

WIDTH, HEIGHT = clips.WIDTH // 2, clips.HEIGHT // 2
"""Size of the stored frames in pixels."""
MOTION = clips.SHIFT / 2
"""Motion at the stored size, in pixels per frame."""
VIDEOS = 4
"""Number of videos in the store."""
LAST_TOPIC = "read store"
"""Topic of the last step, after which the store exists and is valid."""


class TrialExtraction:
    """The steps of a trial extraction, and the results that one step passes to the next.

    Args:
        folder: Empty folder to work in; the caller removes it.
    """

    def __init__(self, folder: Path) -> None:
        """Choose the paths of the store and the videos, which are not created yet."""
        self.store_path = folder / "store"
        self._videos = folder / "videos"
        self._frames: list[NDArray[np.uint8]] = []
        self._flow: NDArray[np.uint8] | None = None

    def list_steps(self) -> list[TrialStep]:
        """List all steps, each of which comes after the steps that it needs."""
        return [
            TrialStep("open", self.open_clip),
            TrialStep("decode", self.decode_clip, ("open",)),
            TrialStep("resize", self.resize_frames, ("decode",)),
            TrialStep("compute flow", self.compute_flow, ("resize",)),
            TrialStep("encode", self.encode_frames, ("compute flow",)),
            TrialStep("sound", self.read_sound, ("open",)),
            TrialStep("write store", self.write_store, ("encode", "sound")),
            TrialStep("verify store", self.verify_store, ("write store",)),
            TrialStep(LAST_TOPIC, self.read_store, ("verify store",)),
        ]

    def open_clip(self) -> str:
        """Open a clip, which also decodes its first frame, and check its properties."""
        with open_reader(clips.RIGHT, None) as reader:
            info = reader.info
        actual = (info.codec, info.width, info.height, info.fps)
        expected = ("h264", clips.WIDTH, clips.HEIGHT, float(clips.FRAMES_PER_SECOND))
        expect(actual == expected, f"expected codec, size and rate {expected}, got {actual}")
        return f"{info.codec} of {info.width}×{info.height} at {info.fps:g} frames/s"

    def decode_clip(self) -> str:
        """Decode all frames at their original size, and check their content."""
        frames = decode_frames(clips.RIGHT)
        # The texture moves to the right by SHIFT pixels per frame.
        difference = measure_difference(frames[0][:, : -clips.SHIFT], frames[1][:, clips.SHIFT :])
        expect(
            difference < COLOUR_TOLERANCE and float(frames[0].std()) > COLOUR_TOLERANCE,
            f"frames 1 and 2 differ by {difference:.0f} of 255 where they show the same texture",
        )
        return f"{len(frames)} frames of h264 {clips.WIDTH}×{clips.HEIGHT}"

    def resize_frames(self) -> str:
        """Decode all frames at the stored size."""
        with open_reader(clips.RIGHT, make_recipe().resize) as reader:
            self._frames = list(reader)
        shapes = {frame.shape for frame in self._frames}
        expect(shapes == {(HEIGHT, WIDTH, 3)}, f"expected {HEIGHT}×{WIDTH}×3, got {shapes}")
        return f"{len(self._frames)} frames to {WIDTH}×{HEIGHT}"

    def compute_flow(self) -> str:
        """Compute the quantized flow of all frame pairs, as an extraction worker does."""
        import cv2
        import numpy as np

        from flowkit.flow import dequantize, resolve_backend, tvl1_video_quantized

        recipe, backend = make_recipe().flow, resolve_backend("auto")
        assert recipe is not None and recipe.tvl1 is not None
        greys = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in self._frames])
        self._flow = tvl1_video_quantized(greys, recipe.tvl1, recipe.bound, backend)
        expect(len(self._flow) == clips.FRAMES - 1, f"expected 7 fields, got {len(self._flow)}")
        motion = check_motion(dequantize(self._flow, recipe.bound), MOTION)
        return f"{len(self._flow)} flow fields with {backend} ({motion})"

    def encode_frames(self) -> str:
        """Encode a frame and a flow field as JPEG, and compare them after decoding."""
        from flowkit.store.format.jpeg import decode_grey, decode_rgb, encode_grey, encode_rgb

        recipe = make_recipe()
        assert recipe.rgb is not None and recipe.flow is not None and self._flow is not None
        rgb = encode_rgb(self._frames[0], recipe.rgb.quality, recipe.rgb.subsampling)
        flow_x = self._flow[0, ..., 0]
        flow = encode_grey(flow_x, recipe.flow.quality)
        difference = max(
            measure_difference(decode_rgb(rgb), self._frames[0]),
            measure_difference(decode_grey(flow), flow_x),
        )
        expect(
            difference < COLOUR_TOLERANCE,
            f"JPEG changes pixels by {difference:.0f} of 255 on average",
        )
        return f"JPEG of {len(rgb):,} bytes for RGB and {len(flow):,} for flow"

    def read_sound(self) -> str:
        """Convert the audio track to log-mel patches, and find its tone in them."""
        patches = decode_sound(clips.RIGHT)
        return f"{len(patches)} log-mel patch ({check_tone(patches)})"

    def write_store(self) -> str:
        """Extract four videos of two classes into a store, without Ray."""
        from rich.console import Console

        from flowkit.annotations import folder
        from flowkit.extraction import Options, extract

        for subset in ("train", "test"):
            for clip in (clips.RIGHT, clips.LEFT):
                path = self._videos / subset / clip.stem / clip.name
                path.parent.mkdir(parents=True)
                shutil.copyfile(clip, path)
        table, videos = folder.scan_folder(self._videos)
        options = Options(workers=0, streams=("rgb", "flow", "audio"))
        console = Console(stderr=True, quiet=True)
        summary = extract(
            videos, self.store_path, make_recipe(), options, table=table, console=console
        )
        if summary.interrupted:
            raise KeyboardInterrupt
        reasons = "; ".join(failure.reason for failure in summary.failed)
        expect(not reasons, f"extraction failed: {reasons}")
        actual = (summary.extracted, summary.frames, summary.pairs, len(summary.warned))
        expected = (VIDEOS, VIDEOS * clips.FRAMES, VIDEOS * (clips.FRAMES - 1), 0)
        names = "videos, frames, fields, warnings"
        expect(actual == expected, f"expected {names} {expected}, got {actual}")
        return f"{summary.extracted} videos with RGB, flow and sound"

    def verify_store(self) -> str:
        """Verify all bytes, images and counts of the store."""
        from flowkit.store.integrity.verify import verify

        report = verify(self.store_path, deep=True)
        expect(report.clean, "; ".join(map(str, report.problems)))
        expect(report.videos > 0, "expected videos to verify, got none")
        return f"{report.shards} shards, {report.bytes:,} bytes"

    def read_store(self) -> str:
        """Read everything back, and compare it with what was extracted."""
        import numpy as np

        from flowkit.store import Store

        store = Store(self.store_path)
        expect(len(store) == VIDEOS, f"expected {VIDEOS} videos, got {len(store)}")
        for id in store:
            video = store[id]
            counts = (video.num_frames, video.num_flow, len(video.audio()))
            expected = (clips.FRAMES, clips.FRAMES - 1, 1)
            names = "frames, fields, patches"
            expect(counts == expected, f"{id}: expected {names} {expected}, got {counts}")
            moves_right = video.labels[0].name == clips.RIGHT.stem
            fields = np.stack([video.flow(t) for t in range(video.num_flow)])
            check_motion(fields, MOTION if moves_right else -MOTION)
            check_tone(video.audio())
            if moves_right:
                difference = measure_difference(video.frames(), np.stack(self._frames))
                expect(difference < COLOUR_TOLERANCE, f"{id}: RGB is {difference:.0f} of 255 off")
        return f"{len(store)} videos, with the frames, motion and sound that were written"


def make_recipe() -> "StoreRecipe":
    """Make the default recipe with all streams, at half the size of the clips."""
    from flowkit.recipe import FlowRecipe, LogMelRecipe, Resize, RGBRecipe, StoreRecipe

    return StoreRecipe(
        resize=Resize(width=WIDTH, height=HEIGHT),
        rgb=RGBRecipe(),
        flow=FlowRecipe(),
        audio=LogMelRecipe(),
    )
