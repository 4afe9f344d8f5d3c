"""Every error that flowkit raises on purpose.

    FlowkitError                    printed by the CLI as one line; exit code 1
    ├── UsageError                  a wrong name, option or combination; exit code 2
    ├── AnnotationError             a malformed annotation file (file and line number)
    ├── CatalogError                a malformed datasets.yaml, or an entry that cannot be used
    ├── VideoError                  one video cannot be used; the others are untouched
    ├── InternalError               flowkit's own fault, or its installation's
    ├── FlowError                   a flow backend is missing, or was given unusable images
    │   ├── DeviceMemoryError       not even one pair of frames fits into the GPU's memory
    │   └── DeviceError             the GPU failed; the process that used it must end
    └── StoreError
        ├── FormatError             not a store, or of a newer format
        ├── RecipeError             the store was made by another recipe
        ├── LockedError             another extraction holds the store
        ├── CorruptError            bytes on disk are not what was committed
        └── DiskFullError           no room left; exit code 3

A message says what was expected, what came, and what to do, in one line.
"""

from flowkit.installation import require_own_package

# Nearly all of flowkit imports this module: with another project's flowkit/__init__.py above it,
# it would record that project's version in stores, and lack what __init__ offers.
require_own_package()


class FlowkitError(Exception):
    """Base of all errors that flowkit raises on purpose."""

    exit_code = 1


class UsageError(FlowkitError):
    """A wrong name, option or combination of options."""

    exit_code = 2


class AnnotationError(FlowkitError):
    """A malformed annotation file; the message starts with ``file:line:``."""


class CatalogError(FlowkitError):
    """A malformed catalogue, or an entry of it that cannot be used."""


class VideoError(FlowkitError):
    """One video cannot be used.

    ``kind`` is a short stable word for counting (``empty``, ``not-a-video``,
    ``no-video-stream``, ``too-short``, ``size-change``, ``unreadable``, ``broken``,
    ``bad-size``, …); the message is the one-line reason.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type["VideoError"], tuple[str, str]]:
        return type(self), (self.kind, str(self))


class InternalError(FlowkitError):
    """Something failed that no user is to blame for: flowkit, or how it is installed."""


class FlowError(FlowkitError):
    """A flow backend is missing, or was given images that it cannot use."""


class DeviceMemoryError(FlowError, MemoryError):
    """Not even one pair of frames fits into the GPU's memory."""


class DeviceError(FlowError):
    """The GPU, or its driver, failed while it computed.

    What the process does on that GPU from now on fails too: it must end, and another take over.
    """


class StoreError(FlowkitError):
    """Base of everything that can be wrong with a store."""


class FormatError(StoreError):
    """The folder is not a store, or is of a format that this version cannot read."""


class RecipeError(StoreError):
    """The store was made by another recipe; the message names each difference."""


class LockedError(StoreError):
    """Another process holds the store, or the shard, for writing."""


class CorruptError(StoreError):
    """Bytes on disk are not the bytes that were committed."""


class DiskFullError(StoreError):
    """The disk is full; the store stays valid, and a rerun with room goes on."""

    exit_code = 3
