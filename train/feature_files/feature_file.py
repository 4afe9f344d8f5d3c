"""Write a feature file row by row, so that memory is bounded for videos of hours.

The header of an .npy file states the number of rows, which is known only at the end. NumPy leaves
room in it for a larger number, so that it can be written again in place.
"""

import hashlib
import io
import math
import os
import uuid
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flowkit.store.format.atomic import convert_disk_errors

F32 = npt.NDArray[np.float32]


class FeatureFileWriter:
    """Writes one .npy file under a temporary name, until `publish` gives it its name.

    Args:
        path: Path of the finished file.
        row_shape: Shape of a row, such as (1024,) or (10, 1024) for ten crops.

    Attributes:
        rows: Rows that were written so far.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...]) -> None:
        self.path, self.rows = path, 0
        self._row_shape = row_shape
        # A worker of a killed run may still write this video, so the name is unique.
        self._part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
        self._digest = hashlib.blake2b(digest_size=16)
        self._header_bytes = len(make_header((0, *row_shape)))
        with convert_disk_errors(path):
            self._file = self._part.open("wb")
            self._file.write(make_header((0, *row_shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the array so far."""
        return (self.rows, *self._row_shape)

    @property
    def bytes(self) -> int:
        """Return the size of the values so far."""
        return 4 * math.prod(self.shape)

    def append(self, rows: F32) -> None:
        """Append rows.

        Args:
            rows: (N, *row_shape) float32.
        """
        assert rows.shape[1:] == self._row_shape, (rows.shape, self._row_shape)
        content = np.ascontiguousarray(rows, "<f4").tobytes()
        with convert_disk_errors(self.path):
            self._file.write(content)
        self._digest.update(content)
        self.rows += len(rows)

    def finish(self) -> str:
        """Complete the header and write everything to the disk.

        Returns:
            BLAKE2b digest of 128 bits of the values, in hexadecimal.
        """
        header = make_header(self.shape)
        assert len(header) == self._header_bytes
        with convert_disk_errors(self.path):
            self._file.seek(0)
            self._file.write(header)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return self._digest.hexdigest()

    def publish(self) -> None:
        """Give the finished file its name."""
        with convert_disk_errors(self.path):
            self._part.replace(self.path)

    def abandon(self) -> None:
        """Remove the file, unless it was published."""
        with convert_disk_errors(self.path):
            try:
                self._file.close()  # writes what is buffered, which a full disk refuses
            finally:
                self._part.unlink(missing_ok=True)


def make_header(shape: tuple[int, ...]) -> bytes:
    """Make the header of an .npy file of float32 values; its length does not depend on the rows."""
    buffer = io.BytesIO()
    description = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()
