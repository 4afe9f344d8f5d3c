"""Convert between file names, which are bytes, and the text of ids and messages.

Python decodes the bytes of a file name with the locale's encoding, so the same file has a different
``str`` under an ISO-8859-1 locale than under a UTF-8 one. Ids, labels and everything that a store
keeps must not depend on the locale, so this module always reads names as UTF-8. A ``Path`` keeps
the locale's decoding, because that is what opens the file.

Python represents a byte that it cannot decode by a surrogate, a character that no encoding can
write. Importing this module registers `escape_unencodable` as an error handler, with which such
characters are printed as escapes.
"""

import codecs
import os
from pathlib import Path
from typing import Any

ESCAPE_HANDLER = "flowkit.print"
"""Name under which `escape_unencodable` is registered as an error handler of encodings."""


def path_to_text(path: str | os.PathLike[str]) -> str:
    """Decode the bytes of a path as UTF-8; bytes that are not UTF-8 are kept as surrogates.

    Args:
        path: A path, as the file system functions of Python return it.

    Returns:
        The text, which does not depend on the locale.
    """
    locale_text = os.fspath(path)
    if locale_text.isascii():
        return locale_text
    return os.fsencode(locale_text).decode("utf-8", "surrogateescape")


def text_to_path(text: str) -> Path:
    """Invert :func:`path_to_text`.

    Args:
        text: A string that :func:`path_to_text` returned.

    Returns:
        The path whose bytes are ``text`` in UTF-8.
    """
    return Path(os.fsdecode(text.encode("utf-8", "surrogateescape")))


def printable_path(path: str | os.PathLike[str]) -> str:
    r"""Decode the bytes of a path as UTF-8, and escape those that are not UTF-8, for messages.

    Args:
        path: A path.

    Returns:
        The text; bytes that are not UTF-8 are written as ``\xff``.
    """
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError as error:  # not decoded by the locale, so it is text already
        return replace_surrogates(error.object)


def argument_to_text(argument: str) -> str:
    """Decode a command-line argument as UTF-8, whatever the locale.

    Args:
        argument: The argument as Python decoded it.

    Returns:
        The text.
    """
    try:
        return path_to_text(argument)
    except UnicodeEncodeError:  # a caller in Python passed it, so it was not decoded by the locale
        return argument


def replace_surrogates(text: str) -> str:
    r"""Replace the surrogates in a string.

    Args:
        text: Any string.

    Returns:
        The string without surrogates: the bytes that they stand for are decoded as UTF-8, or
        written as ``\xff`` if that is not possible.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        surrogates = [c for c in text if "\ud800" <= c <= "\udfff"]
        are_from_bytes = all("\udc80" <= c <= "\udcff" for c in surrogates)
        data = text.encode("utf-8", "surrogateescape" if are_from_bytes else "surrogatepass")
        return data.decode("utf-8", "backslashreplace")
    return text


def escape_unprintable(text: str) -> str:
    r"""Escape the characters that would move the cursor or end the line, such as ``\n``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def escape_unencodable(error: UnicodeError) -> tuple[str | bytes, int]:
    r"""Escape characters that the encoding of an output cannot write.

    Args:
        error: The encoding error.

    Returns:
        What to write, and the index where encoding continues. Surrogates are replaced as by
        :func:`replace_surrogates`; all that cannot be encoded becomes an escape such as ``\u20ac``.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    replacement = replace_surrogates(error.object[error.start : error.end])
    if error.encoding == "charmap":  # one of many encodings, and only ASCII is in all of them
        return replacement.encode("ascii", "backslashreplace").decode(), error.end
    return replacement.encode(error.encoding, "backslashreplace"), error.end


codecs.register_error(ESCAPE_HANDLER, escape_unencodable)


def replace_surrogates_in_json(values: Any) -> Any:
    """Replace the surrogates in all strings of JSON values, as `replace_surrogates` does.

    Args:
        values: JSON values.

    Returns:
        A copy of the values without surrogates.
    """
    if isinstance(values, str):
        return replace_surrogates(values)
    if isinstance(values, dict):
        return {
            replace_surrogates_in_json(key): replace_surrogates_in_json(value)
            for key, value in values.items()
        }
    if isinstance(values, list | tuple):
        return [replace_surrogates_in_json(value) for value in values]
    return values
