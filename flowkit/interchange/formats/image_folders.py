"""Export a store as folders of JPEG files, as denseflow and mmaction2 read them.

    <out>/<video>/img_00000.jpg, flow_x_00000.jpg, flow_y_00000.jpg
    <out>/export.json     format, bound, quantization, numbering, and what their loaders need
    <out>/videos.csv      folder name, id, counts, fps and labels of each exported video
    <out>/classes.txt     class names, line n being class n
    <out>/<subset>_rgb.txt, <subset>_flow.txt     mmaction2 only: its annotation lists

With another step than 1, denseflow's names of flow images state it, and their number is that of
the frame that flow starts from: ``flow_x_p2_00000.jpg`` is flow from frame 0 to frame 2, and
``flow_x_m1_00001.jpg`` from frame 1 to frame 0. mmaction2 does not know steps: its names stay the
same, and flow to earlier frames is refused.

``<video>`` is the id of the video, encoded by `file_names.encode_id`. RGB images are copied
unchanged. Flow is decoded, converted to pixels, quantized again (flow/quantization.py) and encoded
again. A quantization step is 2B/255 px, so rounding adds an error of at most B/255 px (0.078 at
B = 20). The second JPEG compression adds a little more, which the report measures.

The folder of a video is written under a temporary name and then renamed, so an existing folder is
complete. A second run skips it, unless the video was extracted again from another file. Files are
not fsynced: after a power failure, export to a new folder.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np

from flowkit.errors import DiskFullError, FlowkitError, UsageError
from flowkit.flow.params import DEFAULT_BOUND
from flowkit.flow.quantization import dequantize, from_denseflow, to_denseflow
from flowkit.interchange.file_names import encode_id, find_case_collisions
from flowkit.interchange.formats.export_format import ExportFormat, ExportOptions, Outcome, Written
from flowkit.interchange.video_lists import describe_video, read_videos, write_lists
from flowkit.recipe import DEFAULT_QUALITY
from flowkit.store.format import jpeg
from flowkit.store.format.atomic import convert_disk_errors
from flowkit.store.reader import Store
from flowkit.store.video import Video

RGB_NAME = "img_{:05d}.jpg"
"""Template of the names of RGB images, to be formatted with the number of the frame."""
FLOW_NAME = "flow_{}_{:05d}.jpg"
"""Template of the names of flow images to the next frame, as `ImageFolders.flow_name`."""


class ImageFolders(ExportFormat):
    """A folder of JPEG files for each video; subclasses say how frames are numbered.

    Args:
        store: Store to export.
        out: Folder to write to.
        options: Options of the export; ``bound`` and ``quality`` are those of the flow images.

    Attributes:
        flow_name: Template of the names of flow images, to be formatted with the axis (x or y) and
            the number.
        stored_pixels: (256,) float32: displacement in pixels of each byte in the store.
        table: (256,) uint8: byte to write for each byte in the store.
        written_pixels: (256,) float32: displacement in pixels of each written byte.
        quality: JPEG quality of the flow images.

    Raises:
        UsageError: If the bound is not positive.
    """

    first_number: ClassVar[int]
    """Number in the file name of the first frame."""
    has_lists: ClassVar[bool] = False
    """Whether annotation lists are written."""

    def __init__(self, store: Store, out: Path, options: ExportOptions) -> None:
        """Compute the tables and the settings."""
        super().__init__(store, out, options)
        self._refuse_options("shard_bytes")
        self.flow_name = self.choose_flow_name(store.flow_step)
        store_bound = store.recipe.flow.bound if store.recipe.flow is not None else DEFAULT_BOUND
        bound = store_bound if options.bound is None else options.bound
        self.quality = DEFAULT_QUALITY if options.quality is None else options.quality
        if not bound > 0:
            raise UsageError(f"flow bound must be positive pixels, got {bound}")
        values = np.arange(256, dtype=np.uint8)
        self.stored_pixels = dequantize(values, store_bound)
        self.table = to_denseflow(self.stored_pixels, bound)
        self.written_pixels = from_denseflow(values, bound)
        self.settings |= {
            "start_index": self.first_number,
            "rgb_template": RGB_NAME,
            "flow_template": self.flow_name,
            "bound": bound,
            "quantization": "q = round_half_even(255 * (clip(v, -bound, bound) + bound)"
            " / (2 * bound))",
            "dequantization": "v = q * 2 * bound / 255 - bound",
            "flow_quality": self.quality,
            "names": "folders are percent-encoded ids; videos.csv lists both",
        }

    def choose_flow_name(self, step: int) -> str:
        """Choose the template of the names of flow images.

        Args:
            step: Frames from a frame to the one that its flow leads to.

        Raises:
            UsageError: If flow leads to earlier frames, so that the first ones have none.
        """
        if step < 0:
            raise UsageError(
                f"{self.name} holds flow to later frames only, and the flow of "
                f"{self.store.location} "
                f"leads from frame t to frame t{step}; export it with --format denseflow, "
                "webdataset or huggingface"
            )
        return FLOW_NAME

    def find_case_collisions(self, ids: list[str]) -> list[tuple[str, ...]]:
        """Find ids whose folder names differ only by case."""
        return find_case_collisions(ids)

    def write_videos(self, ids: list[str]) -> Iterator[tuple[str, Outcome]]:
        """Write the folders of videos in threads; see `ExportFormat.write_videos`."""
        # An export of an older version recorded no digests.
        self._digests = {row["id"]: row.get("source_digest") for row in read_videos(self.out)}
        pool = ThreadPoolExecutor(self.options.workers)
        try:
            outcomes = pool.map(lambda id: self._write_video(self.store[id]), ids)
            yield from zip(ids, outcomes, strict=True)
        finally:
            pool.shutdown(cancel_futures=True)

    def write_lists(self, complete_ids: list[str]) -> int:
        """Write ``videos.csv``, ``classes.txt`` and, for mmaction2, annotation lists."""
        rows = {row["name"]: row for row in read_videos(self.out)}
        rows |= {encode_id(id): describe_video(self.store[id]) for id in complete_ids}
        return write_lists(self.store, self.out, rows, has_lists=self.has_lists)

    def _write_video(self, video: Video) -> Outcome:
        """Write the folder of one video, unless a complete one of the same source exists."""
        folder = self.out / encode_id(video.id)
        files = video.num_flow * 2 + (video.num_frames if "rgb" in video.streams else 0)
        if not files:
            return f"it has no rgb or flow to write, only {', '.join(video.streams)}"
        if folder.is_dir():
            digest = self._digests.get(video.id) or video.fingerprint.digest
            if digest == video.fingerprint.digest and len(list(folder.iterdir())) == files:
                return None
            shutil.rmtree(folder)
        temporary = self.out / f".part-{os.urandom(8).hex()}"
        try:
            with convert_disk_errors(folder):
                temporary.mkdir()
                error = self._write_files(video, temporary)
                temporary.rename(folder)
        except DiskFullError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        except (FlowkitError, ValueError) as problem:  # the JPEG decoder raises ValueError
            shutil.rmtree(temporary, ignore_errors=True)
            return str(problem)
        mean, largest = error
        return Written(frames=video.num_frames, added_error_mean=mean, added_error_max=largest)

    def _write_files(self, video: Video, folder: Path) -> tuple[float, float]:
        """Write the images of one video.

        Args:
            video: Video of the store.
            folder: Folder to write to.

        Returns:
            Mean and largest error in pixels that the export added to the x component of the middle
            flow field; 0 without flow.
        """
        error = (0.0, 0.0)
        if "rgb" in video.streams:
            for t in range(video.num_frames):
                (folder / RGB_NAME.format(self.first_number + t)).write_bytes(video.rgb_bytes(t))
        for t in video.flow_frames:
            for axis, data in zip("xy", video.flow_bytes(t), strict=True):
                plane = jpeg.decode_grey(data)
                exported = jpeg.encode_grey(self.table[plane], self.quality)
                (folder / self.flow_name.format(axis, self.first_number + t)).write_bytes(exported)
                if t == video.flow_frames[video.num_flow // 2] and axis == "x":
                    written = self.written_pixels[jpeg.decode_grey(exported)]
                    added = abs(written - self.stored_pixels[plane])
                    error = float(added.mean()), float(added.max())
        return error


class Denseflow(ImageFolders):
    """The folders that denseflow writes."""

    name = "denseflow"
    first_number = 0

    def choose_flow_name(self, step: int) -> str:
        """Choose the template of the names of flow images, which states a step other than 1."""
        if step == 1:
            return FLOW_NAME
        return f"flow_{{}}_{'p' if step > 0 else 'm'}{abs(step)}_{{:05d}}.jpg"


class MMAction2(ImageFolders):
    """The folders and annotation lists that mmaction2 reads.

    Its RawframeDataset counts from start_index = 1 by default.
    """

    name = "mmaction2"
    first_number = 1
    has_lists = True
