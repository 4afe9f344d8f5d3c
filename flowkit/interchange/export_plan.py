"""Plan an export: how files are named and numbered, and how flow values are converted.

Both tools quantize flow as q = cvRound(255·(v + B)/2B), where v is the displacement in pixels, B
the bound, and zero is 128.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.errors import UsageError
from flowkit.flow.quantization import dequantize, to_denseflow
from flowkit.store.format.atomic import write_atomic
from flowkit.store.reader import Store

FIRST_NUMBERS = {"denseflow": 0, "mmaction2": 1}
"""The formats that can be exported, with the number in the file name of the first frame:
RawframeDataset of mmaction2 counts from start_index = 1 by default.
"""
RGB_NAME = "img_{:05d}.jpg"
"""Template of the names of RGB images, to be formatted with the number of the frame."""
FLOW_NAME = "flow_{}_{:05d}.jpg"
"""Template of the names of flow images, to be formatted with the axis (x or y) and the number."""


class ExportPlan:
    """Settings of one export, and the tables that convert its flow values.

    Args:
        store: Store to export.
        out: Folder to write to.
        format: One of `FIRST_NUMBERS`.
        bound: Bound of the written flow in pixels; None means the bound of the store.
        quality: JPEG quality of the written flow images, 1–100.

    Attributes:
        first_number: Number of the first frame in the names of files.
        stored_pixels: (256,) float32: displacement in pixels of each byte in the store.
        conversion: (256,) uint8: byte to write for each byte in the store.
        written_pixels: (256,) float32: displacement in pixels of each written byte.
        settings: What is recorded in ``export.json``.

    Raises:
        UsageError: If the bound is not positive.
    """

    def __init__(
        self, store: Store, out: Path, format: str, bound: float | None, quality: int
    ) -> None:
        """Compute the tables."""
        store_bound = store.recipe.flow.bound if store.recipe.flow is not None else 20.0
        bound = store_bound if bound is None else bound
        if not bound > 0:
            raise UsageError(f"flow bound must be positive pixels, got {bound}")
        self.out, self.quality, self.first_number = out, quality, FIRST_NUMBERS[format]
        values = np.arange(256, dtype=np.uint8)
        self.stored_pixels = dequantize(values, store_bound)
        self.conversion = to_denseflow(self.stored_pixels, bound)
        self.written_pixels = values.astype(np.float32) * (2 * bound / 255) - bound
        self.settings: dict[str, Any] = {
            "format": format,
            "start_index": self.first_number,
            "rgb_template": RGB_NAME,
            "flow_template": FLOW_NAME,
            "bound": bound,
            "quantization": "q = round_half_even(255 * (clip(v, -bound, bound) + bound)"
            " / (2 * bound))",
            "dequantization": "v = q * 2 * bound / 255 - bound",
            "flow_quality": quality,
            "names": "folders are percent-encoded ids; videos.csv lists both",
            "store_dataset": store.header.dataset,
            "store_created": store.header.created,
            "store_recipe": store.recipe.to_dict(),
        }

    def check_settings(self) -> None:
        """Record the settings in ``export.json``, or compare them with those of an earlier run.

        Raises:
            UsageError: If the folder holds an export with other settings, or something else.
        """
        path = self.out / "export.json"
        settings = json.loads(json.dumps(self.settings))
        if path.exists():
            recorded = json.loads(path.read_text())
            names = sorted(name for name in settings if recorded.get(name) != settings[name])
            if names:
                raise UsageError(
                    f"{path} was exported with another {', '.join(names)}: "
                    "export to a new folder, or use the same options"
                )
        elif others := sorted({path.name for path in self.out.iterdir()} - {".export.lock"}):
            raise UsageError(
                f"expected {self.out} to be new, empty or an export, but it holds {others[0]!r}; "
                "name another folder"
            )
        else:
            write_atomic(path, (json.dumps(settings, indent=1) + "\n").encode())
