"""Cut the images of a video as they arrive, and assemble the input of the networks for each window.

    chunks of images ─ crop ─ images that windows still need ─ batches of complete windows

Every image is cropped once, however many windows need it, and is dropped when no later window needs
it. A batch has the same number of rows everywhere but at the end of a video, so that features do
not depend on the chunks in which images arrive.

    P  rows of a batch    L  images of a window    V  views (crops)
    C H W  channels, height, width
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from flowkit.datasets.sampling import make_generator
from flowkit.datasets.transforms import CropStrategy, apply_crop
from flowkit.datasets.views import assemble_views, count_views
from flowkit.extraction.image_chunks import ImageChunk
from flowkit.streams import STREAMS, StreamName
from train.feature_files.windows import WindowSampling

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class StreamInput:
    """What the network of one stream sees of a window."""

    images: int
    """Images of a window: frames or flow fields, from the start of the window on."""
    crops: CropStrategy
    """Crops of an image."""
    is_3d: bool
    """Whether the images are the frames of a clip, or else stacked as channels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowBatch:
    """The inputs of the networks for consecutive rows of a video."""

    rows: int
    """Number of rows (P)."""
    inputs: Mapping[StreamName, torch.Tensor]
    """Input of each network, uint8 (P·V, C, L, H, W) for clips, else (P·V, L·C, H, W)."""


@dataclass
class KeptImages:
    """Cropped images of one stream that windows still need."""

    input: StreamInput
    """What its network sees."""
    first: int = 0
    """Index in the video of the first kept image."""
    images: list[torch.Tensor] = field(default_factory=list)
    """Cropped images, uint8 (V, C, H, W)."""

    @property
    def count(self) -> int:
        """Return how many images of the video have arrived."""
        return self.first + len(self.images)

    def drop_before(self, index: int) -> None:
        """Drop the images before an index of the video."""
        dropped = min(max(0, index - self.first), len(self.images))
        del self.images[:dropped]
        self.first += dropped

    def assemble(self, indices: I64) -> torch.Tensor:
        """Assemble the input of the network from images (P, L) by their indices in the video."""
        used, positions = np.unique(indices, return_inverse=True)
        images = torch.stack([self.images[index - self.first] for index in used])
        positions = torch.from_numpy(positions.reshape(indices.shape))
        return assemble_views(images, positions, self.input.is_3d)


class WindowImages:
    """Makes the batches of one video.

    Args:
        inputs: What the network of each stream sees.
        windows: Which frames each row sees.
        batch_rows: Rows of a batch.

    Attributes:
        frames: Number of frames that have arrived.
        times: Presentation times of the frames in microseconds, None where unknown.
    """

    def __init__(
        self, inputs: Mapping[StreamName, StreamInput], windows: WindowSampling, batch_rows: int
    ) -> None:
        self.frames = 0
        self.times: list[int | None] = []
        self._windows, self._batch_rows = windows, batch_rows
        self._streams = {name: KeptImages(input) for name, input in inputs.items()}
        longest = max(input.images for input in inputs.values())
        # Snippets of flow may have more fields than the window has frames.
        self._beyond_window = max(0, longest - windows.length) * windows.step
        self._rows = 0  # rows that were made

    def make_batches(self, chunks: Iterable[ImageChunk]) -> Iterator[WindowBatch]:
        """Yield the batches of a video; there is none if it is too short for its streams."""
        for chunk in chunks:
            self._add(chunk)
            available = min(self._count_available(), self.frames) - self._beyond_window
            while self._windows.count_complete(available) >= self._rows + self._batch_rows:
                yield self._make_batch(self._batch_rows)
        if not self._count_available():
            return
        while (left := self._windows.count_rows(self.frames) - self._rows) > 0:
            yield self._make_batch(min(left, self._batch_rows))

    def _count_available(self) -> int:
        """Count the frames that have all their images."""
        return min(kept.count for kept in self._streams.values())

    def _add(self, chunk: ImageChunk) -> None:
        self.frames += len(chunk.times)
        self.times += chunk.times
        images: dict[StreamName, Sequence[U8]] = {"rgb": chunk.rgb, "flow": chunk.flow}
        for name, kept in self._streams.items():
            kept.images += crop_images(images[name], kept.input.crops, name)

    def _make_batch(self, rows: int) -> WindowBatch:
        windows, first = self._windows, self._rows
        starts = np.arange(first, first + rows) * windows.stride - windows.offset
        inputs = {}
        for name, kept in self._streams.items():
            indices = starts[:, None] + np.arange(kept.input.images) * windows.step
            last = min(windows.count_usable(self.frames), kept.count) - 1
            inputs[name] = kept.assemble(indices.clip(0, last))
        self._rows += rows
        needed = windows.find_oldest_needed(self._rows)
        for kept in self._streams.values():
            kept.drop_before(min(needed, kept.count - 1))  # padding repeats the last image
        return WindowBatch(rows=rows, inputs=inputs)


def crop_images(
    images: Sequence[U8], crops: CropStrategy, stream: StreamName
) -> Iterator[torch.Tensor]:
    """Crop images of one size.

    Args:
        images: RGB frames (H, W, 3), or quantized flow (H, W, 2), uint8.
        crops: The crops.
        stream: ``rgb`` or ``flow``.

    Yields:
        The crops of each image, uint8 (V, C, size, size).
    """
    views, size, channels = count_views(crops), crops.size, STREAMS[stream].channels
    is_flow = stream == "flow"
    for image in images:
        height, width = image.shape[:2]
        boxes = crops(height, width, make_generator(0, 0, 0))  # unused by fixed crops
        components = [image[..., 0], image[..., 1]] if is_flow else [image]
        out = np.empty((views, channels, size, size), np.uint8)
        for box, view in zip(boxes, out, strict=True):
            apply_crop(components, box, view, flow=is_flow)
        yield torch.from_numpy(out)
