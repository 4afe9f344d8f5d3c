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
    windows: WindowSampling
    """Which frames each row sees."""
    count: int = 0
    """Number of images of the video that have arrived."""
    images: dict[int, torch.Tensor] = field(default_factory=dict)
    """Cropped images, uint8 (V, C, H, W), by their indices in the video."""
    between: list[int] = field(default_factory=list)
    """Indices of the last images that lie between windows, and are kept only for padding."""

    def add(self, images: Sequence[U8], stream: StreamName) -> None:
        """Crop and keep the images that follow, as far as windows may need them."""
        windows, end = self.windows, self.count + len(images)
        phases = {i * windows.step % windows.stride for i in range(self.input.images)}
        for image in images:
            is_between = (self.count + windows.offset) % windows.stride not in phases
            # Padding repeats the last image, or, if that is dropped, the one before.
            if not is_between or self.count >= end - 2:
                self.images[self.count] = crop_image(image, self.input.crops, stream)
            if is_between:
                self.between.append(self.count)
            self.count += 1
        while self.between and self.between[0] < end - 2:
            self.images.pop(self.between.pop(0), None)

    def drop_before(self, index: int) -> None:
        """Drop the images before an index of the video, except the last two."""
        end = min(index, self.count - 2)
        for old in [known for known in self.images if known < end]:
            del self.images[old]

    def assemble(self, indices: I64) -> torch.Tensor:
        """Assemble the input of the network from images (P, L) by their indices in the video."""
        used, positions = np.unique(indices, return_inverse=True)
        images = torch.stack([self.images[index] for index in used.tolist()])
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
        self._streams = {name: KeptImages(input, windows) for name, input in inputs.items()}
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
            kept.add(images[name], name)
        self._drop_images()

    def _make_batch(self, rows: int) -> WindowBatch:
        windows, first = self._windows, self._rows
        starts = np.arange(first, first + rows) * windows.stride - windows.offset
        inputs = {}
        for name, kept in self._streams.items():
            indices = starts[:, None] + np.arange(kept.input.images) * windows.step
            last = min(windows.count_usable(self.frames), kept.count) - 1
            inputs[name] = kept.assemble(indices.clip(0, last))
        self._rows += rows
        self._drop_images()
        return WindowBatch(rows=rows, inputs=inputs)

    def _drop_images(self) -> None:
        """Drop the images that no later window needs."""
        needed = self._windows.find_oldest_needed(self._rows)
        for kept in self._streams.values():
            kept.drop_before(needed)


def crop_image(image: U8, crops: CropStrategy, stream: StreamName) -> torch.Tensor:
    """Crop an image.

    Args:
        image: RGB frame (H, W, 3), or quantized flow (H, W, 2), uint8.
        crops: The crops.
        stream: ``rgb`` or ``flow``.

    Returns:
        The crops, uint8 (V, C, size, size).
    """
    views, size, channels = count_views(crops), crops.size, STREAMS[stream].channels
    is_flow = stream == "flow"
    height, width = image.shape[:2]
    boxes = crops(height, width, make_generator(0, 0, 0))  # unused by fixed crops
    components = [image[..., 0], image[..., 1]] if is_flow else [image]
    out = np.empty((views, channels, size, size), np.uint8)
    for box, view in zip(boxes, out, strict=True):
        apply_crop(components, box, view, flow=is_flow)
    return torch.from_numpy(out)
