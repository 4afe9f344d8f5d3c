"""Open label files as text, with errors that name the file and the line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from flowkit.errors import AnnotationError

SAMPLE_CHARACTERS = 1 << 16
"""Characters at the beginning of a file by which its format is recognized."""


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 file; a byte-order mark is dropped, and all line ends become ``\\n``.

    Args:
        path: The file.

    Yields:
        The open file.

    Raises:
        AnnotationError: The file cannot be read, or is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError:
        raise make_encoding_error(path) from None
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error


def read_all(path: Path) -> str:
    """Read a whole file as `open_text` does.

    Args:
        path: The file.

    Returns:
        Its text.

    Raises:
        AnnotationError: The file cannot be read, or is not UTF-8.
    """
    with open_text(path) as file:
        return file.read()


def make_encoding_error(path: Path) -> AnnotationError:
    """Make the error for a file that is not UTF-8.

    Args:
        path: The file.

    Returns:
        The error, to be raised; it names the line.
    """
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return AnnotationError(f"{path}:1: expected UTF-8 text, got UTF-16; save the file as UTF-8")
    line, byte = 1, content[0]
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
    return AnnotationError(
        f"{path}:{line}: expected UTF-8 text, got byte 0x{byte:02x}; save the file as UTF-8"
    )


def read_sample(path: Path) -> list[str]:
    """Read the first lines of a file, to recognize its format.

    Args:
        path: The file.

    Returns:
        The whole lines within the first 65,536 characters, without line ends, or the only line.
        Blank lines are left out.

    Raises:
        AnnotationError: The file cannot be read, or is not UTF-8.
    """
    with open_text(path) as file:
        text = file.read(SAMPLE_CHARACTERS)
    lines = text.split("\n")
    if len(text) == SAMPLE_CHARACTERS and len(lines) > 1:
        lines.pop()  # it may be cut
    return [line for line in lines if line.strip()]
