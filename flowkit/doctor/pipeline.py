"""Extract a tiny clip with the functions that `flowkit extract` uses, and look at what comes out.

    open → decode → resize → compute flow → encode      the functions, one by one
    sound                                                the sound track as log-mel patches
    write store → verify store → read store              `extract` in this process, `verify --deep`

The clips are of known content (flowkit/doctor/clips): a texture that moves by 2 pixels a frame
at the stored size, and a tone. So a step that runs and gives something wrong fails too.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowkit.doctor import clips
from flowkit.doctor.steps import Step, WrongResultError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from flowkit.decode import VideoReader
    from flowkit.recipe import Recipe

WIDTH, HEIGHT = clips.WIDTH // 2, clips.HEIGHT // 2
MOTION = clips.SHIFT / 2
"""Pixels a frame at the stored size."""
MOTION_TOLERANCE = 0.25
COLOUR_TOLERANCE = 12.0
"""Mean difference, of 255, that lossy encoders and other builds of FFmpeg may make."""
VIDEOS = 4
LAST = "read store"
"""The topic of the last step; after it the store is there and good."""


class Trial:
    """The steps, and what one of them leaves for the next.

    Args:
        folder: an empty folder to work in; the caller removes it.
    """

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self._videos = folder / "videos"
        self._frames: list[NDArray[np.uint8]] = []
        self._flow: NDArray[np.uint8] | None = None

    def list_steps(self) -> list[Step]:
        """All steps, in the order in which they build on each other."""
        return [
            Step("open", self.open_clip),
            Step("decode", self.decode_clip, ("open",)),
            Step("resize", self.resize_frames, ("decode",)),
            Step("compute flow", self.compute_flow, ("resize",)),
            Step("encode", self.encode_frames, ("compute flow",)),
            Step("sound", self.read_sound, ("open",)),
            Step("write store", self.write_store, ("encode", "sound")),
            Step("verify store", self.verify_store, ("write store",)),
            Step(LAST, self.read_store, ("verify store",)),
        ]

    def open_clip(self) -> str:
        """Open the clip and decode its first frame, which opening a video does."""
        with open_reader(clips.RIGHT) as reader:
            info = reader.info
        found = (info.codec, info.width, info.height, info.fps)
        wanted = ("h264", clips.WIDTH, clips.HEIGHT, float(clips.FRAMES_PER_SECOND))
        expect(found == wanted, f"expected codec, size and rate {wanted}, got {found}")
        return f"{info.codec} of {info.width}×{info.height} at {info.fps:g} frames/s"

    def decode_clip(self) -> str:
        """Decode all frames, at their own size."""
        with open_reader(clips.RIGHT) as reader:
            frames = list(reader)
            codec, warnings = reader.info.codec, reader.warnings
        expect(len(frames) == clips.FRAMES, f"expected {clips.FRAMES} frames, got {len(frames)}")
        expect(not warnings, f"expected a clip without faults, got: {'; '.join(warnings)}")
        shape = (clips.HEIGHT, clips.WIDTH, 3)
        expect(frames[0].shape == shape, f"expected frames of {shape}, got {frames[0].shape}")
        # The texture moves evenly: what is seen now is seen SHIFT pixels to the right next time.
        check_colour(frames)
        still = measure_difference(frames[0][:, : -clips.SHIFT], frames[1][:, clips.SHIFT :])
        expect(
            still < COLOUR_TOLERANCE and float(frames[0].std()) > COLOUR_TOLERANCE,
            f"frames 1 and 2 differ by {still:.0f} of 255 where they show the same",
        )
        return f"{len(frames)} frames of {codec} {clips.WIDTH}×{clips.HEIGHT}"

    def resize_frames(self) -> str:
        """Decode all frames at the size that the store will have."""
        with open_reader(clips.RIGHT, make_recipe()) as reader:
            self._frames = list(reader)
        shapes = {frame.shape for frame in self._frames}
        expect(shapes == {(HEIGHT, WIDTH, 3)}, f"expected {HEIGHT}×{WIDTH}×3, got {shapes}")
        return f"{len(self._frames)} frames to {WIDTH}×{HEIGHT}"

    def compute_flow(self) -> str:
        """Compute the quantized flow of all frame pairs, as a worker does for a chunk."""
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
        """Encode a frame and a flow field as JPEG, and decode them again."""
        from flowkit.store.format.jpeg import decode_grey, decode_rgb, encode_grey, encode_rgb

        recipe = make_recipe()
        assert recipe.rgb is not None and recipe.flow is not None and self._flow is not None
        rgb = encode_rgb(self._frames[0], recipe.rgb.quality, recipe.rgb.subsampling)
        colour = measure_difference(decode_rgb(rgb), self._frames[0])
        plane = self._flow[0, ..., 0]
        grey = encode_grey(plane, recipe.flow.quality)
        level = measure_difference(decode_grey(grey), plane)
        worst = max(colour, level)
        expect(worst < COLOUR_TOLERANCE, f"JPEG changes pixels by {worst:.0f} of 255 on average")
        return f"JPEG of {len(rgb):,} bytes for RGB and {len(grey):,} for flow"

    def read_sound(self) -> str:
        """Decode the sound track into log-mel patches, and find its tone there."""
        from flowkit.decode.audio import log_mel_patches

        audio = log_mel_patches(clips.RIGHT, make_recipe().audio)
        expect(
            not audio.warnings, f"expected sound without faults, got {'; '.join(audio.warnings)}"
        )
        return f"{len(audio.patches)} log-mel patch ({check_tone(audio.patches)})"

    def write_store(self) -> str:
        """Extract four videos of two classes into a store, in this process."""
        from rich.console import Console

        from flowkit.annotations import folder
        from flowkit.extraction import Options, extract

        for subset in ("train", "test"):
            for clip in (clips.RIGHT, clips.LEFT):
                path = self._videos / subset / clip.stem / clip.name
                path.parent.mkdir(parents=True)
                shutil.copyfile(clip, path)
        table, located = folder.scan_folder(self._videos)
        options = Options(workers=0, streams=("rgb", "flow", "audio"))
        summary = extract(
            located, self.store, make_recipe(), options, table=table,
            console=Console(stderr=True, quiet=True),
        )  # fmt: skip
        if summary.interrupted:
            raise KeyboardInterrupt
        reasons = "; ".join(failure.reason for failure in summary.failed)
        expect(not reasons, f"extraction failed: {reasons}")
        found = (summary.extracted, summary.frames, summary.pairs, len(summary.warned))
        wanted = (VIDEOS, VIDEOS * clips.FRAMES, VIDEOS * (clips.FRAMES - 1), 0)
        expect(found == wanted, f"expected videos, frames, fields, warnings {wanted}, got {found}")
        return f"{summary.extracted} videos with RGB, flow and sound"

    def verify_store(self) -> str:
        """Check every byte, picture and number of the store."""
        from flowkit.store.integrity.verify import verify

        report = verify(self.store, deep=True)
        expect(report.clean, "; ".join(map(str, report.problems)))
        expect(report.videos > 0, "expected videos to verify, got none")
        return f"{report.shards} shards, {report.bytes:,} bytes"

    def read_store(self) -> str:
        """Read everything back, and compare it with what was extracted."""
        import numpy as np

        from flowkit.store import Store

        store = Store(self.store)
        expect(len(store) == VIDEOS, f"expected {VIDEOS} videos, got {len(store)}")
        for id in store:
            video = store[id]
            counts = (video.num_frames, video.num_flow, len(video.audio()))
            wanted = (clips.FRAMES, clips.FRAMES - 1, 1)
            expect(counts == wanted, f"{id}: expected frames, fields, patches {wanted}: {counts}")
            to_right = video.labels[0].name == clips.RIGHT.stem
            fields = np.stack([video.flow(t) for t in range(video.num_flow)])
            check_motion(fields, MOTION if to_right else -MOTION)
            check_tone(video.audio())
            if to_right:
                difference = measure_difference(video.frames(), np.stack(self._frames))
                expect(difference < COLOUR_TOLERANCE, f"{id}: RGB is {difference:.0f} of 255 off")
        return f"{len(store)} videos, with the frames, motion and sound that were written"


def make_recipe() -> "Recipe":
    """The default recipe with all streams, at half of the clip's size."""
    from flowkit.recipe import AudioRecipe, FlowRecipe, Recipe, Resize, RGBRecipe

    return Recipe(
        resize=Resize(width=WIDTH, height=HEIGHT),
        rgb=RGBRecipe(),
        flow=FlowRecipe(),
        audio=AudioRecipe(),
    )


def open_reader(path: Path, recipe: "Recipe | None" = None) -> "VideoReader":
    """Open a clip as a worker does; without ``recipe`` at its own size."""
    from flowkit.decode import VideoReader
    from flowkit.recipe import Resize

    resize = recipe.resize if recipe else Resize(mode="none")
    return VideoReader(path, resize, None)


def expect(condition: bool, message: str) -> None:
    """Raise WrongResultError with the message unless the condition holds."""
    if not condition:
        raise WrongResultError(message)


def measure_difference(a: "NDArray[Any]", b: "NDArray[Any]") -> float:
    """Mean absolute difference of two pictures."""
    import numpy as np

    return float(np.abs(a.astype(np.float32) - b.astype(np.float32)).mean())


def check_colour(frames: "list[NDArray[np.uint8]]") -> None:
    """Raise WrongResultError unless the frames' mean colour is that of the clips.

    Swapped channels, a wrong matrix of YUV, and the green of a broken decoder all change it.
    """
    import numpy as np

    mean = np.mean([frame.mean(axis=(0, 1)) for frame in frames], axis=0)
    error = float(np.abs(mean - clips.MEAN_COLOUR).max())
    expect(
        error < COLOUR_TOLERANCE,
        f"wrong colours: expected a mean RGB of {clips.MEAN_COLOUR}, got "
        f"({', '.join(f'{value:.1f}' for value in mean)})",
    )


def check_motion(fields: "NDArray[Any]", wanted: float) -> str:
    """Raise WrongResultError unless each field's median says ``wanted`` pixels to the right.

    Args:
        fields: (N, H, W, 2) displacement in pixels.
        wanted: pixels a frame on x; none is expected on y.
    """
    import numpy as np

    medians = np.median(fields, axis=(1, 2))
    x, y = (float(value) for value in np.median(medians, axis=0))
    error = float(np.abs(medians - (wanted, 0.0)).max())
    expect(
        error < MOTION_TOLERANCE,
        f"wrong flow: expected a median of ({wanted:+.2f}, +0.00) px in every field, "
        f"got ({x:+.2f}, {y:+.2f}) px, and up to {error:.2f} px off",
    )
    return f"motion {x:+.2f} px, expected {wanted:+.2f}"


def check_tone(patches: "NDArray[Any]") -> str:
    """Raise WrongResultError unless the loudest mel band is that of the clip's tone."""
    import numpy as np

    from flowkit.recipe import AudioRecipe

    recipe = AudioRecipe()
    expect(len(patches) == 1, f"expected 1 log-mel patch of a second of sound, got {len(patches)}")
    low, high, tone = 1127 * np.log1p(
        np.array([recipe.low_hz, recipe.high_hz, clips.TONE_HERTZ]) / 700
    )
    wanted = (tone - low) / (high - low) * (recipe.mels + 1) - 1
    loudest = int(patches.mean(axis=(0, 1)).argmax())
    expect(
        abs(loudest - wanted) <= 1,
        f"wrong sound: expected the tone in mel band {wanted:.0f}, got {loudest}",
    )
    return f"{clips.TONE_HERTZ} Hz found in mel band {loudest}"
