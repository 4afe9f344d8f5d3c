"""Define every error that flowkit raises on purpose.

    FlowkitError                    printed by the CLI as one line; exit code 1
    ├── UsageError                  a wrong name, option or combination; exit code 2
    ├── AnnotationError             a malformed annotation file (file and line number)
    ├── CatalogError                a malformed datasets.yaml, or an entry that cannot be used
    ├── VideoError                  one video cannot be used; the others are not affected
    ├── InternalError               a fault of flowkit itself, or of its installation
    ├── FlowError                   a flow backend is missing, or was given unusable images
    │   ├── DeviceMemoryError       not even one pair of frames fits into the GPU's memory
    │   └── DeviceError             the GPU failed; the process that used it must end
    └── StoreError
        ├── FormatError             not a store, or a store of a newer format
        ├── RecipeError             the store was made with a different recipe
        ├── LockedError             another extraction holds the store
        ├── CorruptError            bytes on disk are not what was committed
        └── DiskFullError           no space left; exit code 3

A message says in one line what was expected, what was found, and what to do.
"""

from flowkit.installation import require_own_package

# Nearly all of flowkit imports this module, so the check is here: if another project's
# flowkit/__init__.py were imported in place of ours, stores would record that project's version.
require_own_package()


class FlowkitError(Exception):
    """Base class of all errors that flowkit raises on purpose."""

    exit_code = 1
    """Exit code of the command line."""


class UsageError(FlowkitError):
    """A wrong name, option or combination of options."""

    exit_code = 2
    """Exit code of the command line."""


class AnnotationError(FlowkitError):
    """A malformed annotation file; the message starts with ``file:line:``."""


class CatalogError(FlowkitError):
    """A malformed catalogue, or a catalogue entry that cannot be used."""


class VideoError(FlowkitError):
    """One video cannot be used; the others are not affected.

    Args:
        kind: A short, stable word for counting: ``empty``, ``not-a-video``, ``no-video-stream``,
            ``too-short``, ``size-change``, ``unreadable``, ``broken``, ``bad-size``, ….
        message: The reason in one line.
    """

    def __init__(self, kind: str, message: str) -> None:
        """Keep ``kind`` beside the message."""
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type["VideoError"], tuple[str, str]]:
        """Pickle the error with its kind, so that it can cross process boundaries."""
        return type(self), (self.kind, str(self))


class InternalError(FlowkitError):
    """A failure that is not the user's: a fault of flowkit itself, or of its installation."""


class FlowError(FlowkitError):
    """A flow backend is missing, or was given images that it cannot use."""


class DeviceMemoryError(FlowError, MemoryError):
    """Not even one pair of frames fits into the GPU's memory."""


class DeviceError(FlowError):
    """The GPU, or its driver, failed during a computation.

    Everything else that the process does on that GPU fails too, so the process must end and another
    one must continue the work.
    """


class StoreError(FlowkitError):
    """Base class of everything that can be wrong with a store."""


class FormatError(StoreError):
    """The folder is not a store, or its format is one that this version cannot read."""


class RecipeError(StoreError):
    """The store was made with a different recipe; the message names each difference."""


class LockedError(StoreError):
    """Another process holds the store, or the shard, for writing."""


class CorruptError(StoreError):
    """Bytes on disk are not the bytes that were committed."""


class DiskFullError(StoreError):
    """The disk is full; the store stays valid, and a rerun with free space continues."""

    exit_code = 3
    """Exit code of the command line."""
