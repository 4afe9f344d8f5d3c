"""Convert between file names, which are bytes, and the text of ids and messages.

Python turns the bytes of a name into a ``str`` by the locale's encoding, so that the same file
has another ``str`` under ``LC_ALL=C`` or ISO-8859-1 than under a UTF-8 locale. Ids, labels and
whatever a store keeps must not depend on that: here names are always read as UTF-8. A ``Path``
stays what the locale makes of it, since that is what opens the file.
"""

import codecs
import os
from pathlib import Path

PRINT_ERRORS = "flowkit.print"  # an error handler of codecs, for output streams


def path_to_text(path: str | os.PathLike[str]) -> str:
    """Decode the bytes of a path as UTF-8; bytes that are not UTF-8 are kept as surrogates."""
    native = os.fspath(path)
    if native.isascii():
        return native
    return os.fsencode(native).decode("utf-8", "surrogateescape")


def text_to_path(text: str) -> Path:
    """Invert :func:`path_to_text`: the path whose bytes are ``text`` in UTF-8."""
    return Path(os.fsdecode(text.encode("utf-8", "surrogateescape")))


def printable_path(path: str | os.PathLike[str]) -> str:
    r"""Decode the bytes of a path as UTF-8 for messages and records, others as ``\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def argument_to_text(argument: str) -> str:
    """Decode an argument of the command line as UTF-8, whatever the locale made of it."""
    try:
        return path_to_text(argument)
    except UnicodeEncodeError:  # not from a command line, but text already
        return argument


def repair_text(text: str) -> str:
    r"""Return ``text`` without surrogates: the bytes behind them as UTF-8, or else as ``\xff``."""
    try:
        text.encode()
    except UnicodeEncodeError:
        data = text.encode("utf-8", "surrogateescape" if has_only_bytes(text) else "surrogatepass")
        return data.decode("utf-8", "backslashreplace")
    return text


def has_only_bytes(text: str) -> bool:
    """Whether all surrogates of ``text`` are those that stand for single bytes."""
    return all("\udc80" <= c <= "\udcff" for c in text if "\ud800" <= c <= "\udfff")


def replace_unprintable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handle what a stream cannot encode: surrogates become their text, the rest escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    repaired = repair_text(error.object[error.start : error.end])
    return repaired.encode(error.encoding, "backslashreplace"), error.end


codecs.register_error(PRINT_ERRORS, replace_unprintable)
