"""Convert between file names, which are bytes, and the text of ids and messages.

Python decodes the bytes of a file name with the locale's encoding, so the same file has a different
``str`` under ``LC_ALL=C`` or ISO-8859-1 than under a UTF-8 locale. Ids, labels and everything that
a store keeps must not depend on the locale, so this module always reads names as UTF-8. A ``Path``
keeps the locale's decoding, because that is what opens the file.
"""

import codecs
import os
from pathlib import Path

PRINT_ERRORS = "flowkit.print"
"""Name of the codec error handler that `replace_unprintable` is, for output streams."""


def path_to_text(path: str | os.PathLike[str]) -> str:
    """Decode the bytes of a path as UTF-8; bytes that are not UTF-8 are kept as surrogates.

    Args:
        path: A path, as the file system functions of Python return it.

    Returns:
        The text, which does not depend on the locale.
    """
    native = os.fspath(path)
    if native.isascii():
        return native
    return os.fsencode(native).decode("utf-8", "surrogateescape")


def text_to_path(text: str) -> Path:
    """Invert :func:`path_to_text`.

    Args:
        text: A text that :func:`path_to_text` returned.

    Returns:
        The path whose bytes are ``text`` in UTF-8.
    """
    return Path(os.fsdecode(text.encode("utf-8", "surrogateescape")))


def printable_path(path: str | os.PathLike[str]) -> str:
    r"""Decode the bytes of a path as UTF-8, for messages and records.

    Args:
        path: A path.

    Returns:
        The text; bytes that are not UTF-8 are written as ``\xff``.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def argument_to_text(argument: str) -> str:
    """Decode a command-line argument as UTF-8, whatever the locale.

    Args:
        argument: The argument as Python decoded it.

    Returns:
        The text.
    """
    try:
        return path_to_text(argument)
    except UnicodeEncodeError:  # not from a command line, but text already
        return argument


def replace_surrogates(text: str) -> str:
    r"""Replace the surrogates in a text.

    Args:
        text: Any text.

    Returns:
        The text without surrogates: the bytes that they stand for are decoded as UTF-8, or written
        as ``\xff`` if that is not possible.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        surrogates = [c for c in text if "\ud800" <= c <= "\udfff"]
        stand_for_bytes = all("\udc80" <= c <= "\udcff" for c in surrogates)
        data = text.encode("utf-8", "surrogateescape" if stand_for_bytes else "surrogatepass")
        return data.decode("utf-8", "backslashreplace")
    return text


def replace_unprintable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handle what an output stream cannot encode.

    Args:
        error: The encoding error.

    Returns:
        The replacement (surrogates become their text, other characters become escapes), and the
        index where encoding continues.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    printable = replace_surrogates(error.object[error.start : error.end])
    return printable.encode(error.encoding, "backslashreplace"), error.end


codecs.register_error(PRINT_ERRORS, replace_unprintable)
