"""A media file, opened: what video decoding and audio decoding share.

Everything that can be wrong with a path or with a container's header becomes one
:class:`VideoError` here, so that what comes after only sees streams.

What differs between PyAV 18 and PyAV 19 is known here and nowhere else:

===================  ================================  ===================================
                     PyAV 18                           PyAV 19
===================  ================================  ===================================
tags                 an argument of ``av.open`` says   always UTF-8, other bytes are kept
                     what becomes of other bytes       as surrogates
rational numbers     ``Fraction``, or None             ``AVRational``, falsy where unset
side data            iterating gives the values;       iterating gives the keys; a type it
                     a type it has no name for raises  has no name for is ``UNKNOWN_…``
===================  ================================  ===================================
"""

import os
import stat
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.sidedata.sidedata import Type as SideDataType

from flowkit.errors import VideoError
from flowkit.path_text import printable_path

# Containers whose reading means opening other files (playlists), or that take any text.
# "tty" is libavformat's name for coloured terminal output.
REFUSED_FORMATS = frozenset(
    {"tty", "hls", "dash", "concat", "sdp", "imf", "vobsub", "ffmetadata", "data", "bin", "txt"}
)

# First bytes of containers: (offset, bytes). Only chooses between two words for a failure.
SIGNATURES = (
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (0, b"RIFF"),
    (0, b"\x1aE\xdf\xa3"),
    (0, b"FLV"),
    (0, b"\x30\x26\xb2\x75"),
    (0, b"OggS"),
    (0, b"\x00\x00\x01\xba"),
    (0, b"ID3"),
)

# Only PyAV 18 has this argument. Its default is to raise on tags that are not UTF-8, which are
# common; this is what PyAV 19 does.
TAG_SETTINGS: dict[str, Any] = (
    {"metadata_errors": "surrogateescape"}
    if hasattr(av.container.Container, "metadata_errors")
    else {}
)


def open_container(path: str | os.PathLike[str]) -> Any:
    """Open a media file for reading.

    Returns
    -------
    An ``av.container.InputContainer``, to be closed by the caller.

    Raises
    ------
    VideoError: ``missing``, ``not-a-file``, ``empty``, ``unreadable``, ``not-a-video`` (no
        media container) or ``broken`` (a container whose header cannot be read).
    """
    head = read_head(path)
    # "file:" keeps a name such as "a:b.mp4" or "http:" from being taken for a protocol, and
    # the whitelist keeps playlists from reaching the network.
    source = "file:" + os.fspath(path)
    settings = {"options": {"protocol_whitelist": "file"}, **TAG_SETTINGS}
    try:
        container = av.open(source, **settings)
    except (av.error.FFmpegError, UnicodeError, ValueError) as error:
        known = any(head[at : at + len(mark)] == mark for at, mark in SIGNATURES)
        kind, what = ("broken", "a cut or damaged file") if known else ("not-a-video", "no video")
        why = reopen_for_reason(source, settings) or reason(error)
        raise VideoError(kind, f"{label(path)}: {what} ({why})") from error
    if REFUSED_FORMATS & set(container.format.name.split(",")):
        name = container.format.name
        container.close()
        raise VideoError("not-a-video", f"{label(path)}: no video but text or a list ({name})")
    return container


def read_head(path: str | os.PathLike[str]) -> bytes:
    """The first 16 bytes of a regular, readable, non-empty file; otherwise a VideoError."""
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a directory" if stat.S_ISDIR(status.st_mode) else "a special file"
            raise VideoError("not-a-file", f"{label(path)}: expected a video file, is {what}")
        if status.st_size == 0:
            raise VideoError("empty", f"{label(path)}: the file is empty (0 bytes)")
        with Path(path).open("rb") as file:
            return file.read(16)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VideoError("missing", f"{label(path)}: no such file") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise VideoError("unreadable", f"{label(path)}: cannot be read ({why})") from error


def reopen_for_reason(source: str, settings: dict[str, Any]) -> str:
    """What libavformat logs when it fails to open ``source``, or "" if it says nothing.

    PyAV keeps libav silent. Its log is turned on only here, for one call in one thread on a
    path that already failed: a log callback takes the GIL, which decoder threads must never
    wait for.
    """
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as lines:
            try:
                av.open(source, **settings).close()
            except (av.error.FFmpegError, UnicodeError, ValueError) as error:
                logged = getattr(error, "log", None)
                return one_line(logged[2]) if logged else ""
            return one_line(lines[-1][2]) if lines else ""
    finally:
        av.logging.set_level(before)


def to_fraction(number: Any) -> Fraction | None:
    """Convert a rational attribute of PyAV, None where the file does not say (0/1, 1/0)."""
    return Fraction(number.numerator, number.denominator) if number else None


def read_tag(metadata: dict[str, str], name: str) -> str:
    """Read one tag of a container or stream as valid text, "" where there is none.

    Bytes that are not UTF-8 become U+FFFD, so that the text can be printed and stored.
    """
    return metadata.get(name, "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read_side_data(frame: Any, name: str) -> bytes | None:
    """Read a frame's side data of one type, such as ``DISPLAYMATRIX``; None if it has none."""
    data = frame.side_data.get(name)
    return None if data is None else bytes(data)


def accept_unknown_side_data(cls: type[Enum], value: object) -> Enum | None:
    """Name a side data type that PyAV does not know, as ``Type._missing_`` of PyAV 19 does."""
    if not isinstance(value, int):
        return None
    member: Enum = object.__new__(cls)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    return cls._value2member_map_.setdefault(value, member)


# In PyAV 18 one frame with side data of a newer type (EXIF of a camera's MJPEG, view ids of
# stereo HEVC) makes all side data of that frame unreadable.
if "_missing_" not in vars(SideDataType):
    SideDataType._missing_ = classmethod(  # type: ignore[assignment, method-assign]
        accept_unknown_side_data
    )


def reason(error: BaseException) -> str:
    """An error's own words as one line, without the path that libav appends."""
    return one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def label(path: str | os.PathLike[str]) -> str:
    """A file's name, printable on one line whatever bytes it is made of."""
    return one_line(printable_path(Path(path).name or path))


def one_line(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text.strip())
