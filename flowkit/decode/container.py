"""Open media files, for the decoding of video and of audio.

Whatever is wrong with a path or with the header of a container raises a :class:`VideoError` here,
so that later code need only handle streams.

The differences between PyAV 18 and PyAV 19 are handled in this module only:

===================  ================================  ===================================
                     PyAV 18                           PyAV 19
===================  ================================  ===================================
tags                 an argument of ``av.open``        other bytes than UTF-8 are kept as
                     decides about invalid UTF-8       surrogates
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

# Formats with which libavformat opens other files (playlists), and those that accept any text.
# "tty" is libavformat's name for coloured terminal output.
REFUSED_FORMATS = frozenset(
    {"tty", "hls", "dash", "concat", "sdp", "imf", "vobsub", "ffmetadata", "data", "bin", "txt"}
)

# First bytes of containers: (offset, bytes). They only decide how an error is described.
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

    Args:
        path: The file.

    Returns:
        An ``av.container.InputContainer``, which the caller must close.

    Raises:
        VideoError: ``missing``, ``not-a-file``, ``empty``, ``unreadable``, ``not-a-video`` (not a
            media container) or ``broken`` (a container whose header cannot be read).
    """
    head = read_head(path)
    # Without "file:" the start of a name such as "a:b.mp4" would be parsed as a protocol. The
    # whitelist prevents playlists from accessing the network.
    source = "file:" + os.fspath(path)
    settings = {"options": {"protocol_whitelist": "file"}, **TAG_SETTINGS}
    try:
        container = av.open(source, **settings)
    except (av.error.FFmpegError, UnicodeError, ValueError) as error:
        is_container = any(
            head[offset : offset + len(signature)] == signature for offset, signature in SIGNATURES
        )
        kind = "broken" if is_container else "not-a-video"
        problem = "a cut or damaged file" if is_container else "not a video"
        reason = find_open_error(source, settings) or format_error(error)
        raise make_error(kind, path, f"{problem} ({reason})") from error
    if REFUSED_FORMATS & set(container.format.name.split(",")):
        name = container.format.name
        container.close()
        raise make_error("not-a-video", path, f"not a video but text or a playlist ({name})")
    return container


def read_head(path: str | os.PathLike[str]) -> bytes:
    """Read the first 16 bytes of a file.

    Args:
        path: The file.

    Returns:
        The bytes; fewer if the file is shorter.

    Raises:
        VideoError: ``missing``, ``not-a-file``, ``empty`` or ``unreadable``.
    """
    try:
        stat_result = Path(path).stat()
        if not stat.S_ISREG(stat_result.st_mode):
            file_type = "a directory" if stat.S_ISDIR(stat_result.st_mode) else "a special file"
            raise make_error("not-a-file", path, f"expected a video file, got {file_type}")
        if stat_result.st_size == 0:
            raise make_error("empty", path, "the file is empty (0 bytes)")
        with Path(path).open("rb") as file:
            return file.read(16)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise make_error("missing", path, "no such file") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise make_error("unreadable", path, f"cannot be read ({reason})") from error


def find_open_error(source: str, settings: dict[str, Any]) -> str:
    """Find out why libavformat fails to open a file, from its log.

    PyAV silences that log. It is enabled only here, for one call in one thread on a path that
    already failed, because the log's callback acquires the GIL, and decoder threads must not wait
    for the GIL.

    Args:
        source: The file, as given to ``av.open``.
        settings: Keyword arguments of ``av.open``.

    Returns:
        The log message; "" if there is none.
    """
    previous_level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as lines:
            try:
                av.open(source, **settings).close()
            except (av.error.FFmpegError, UnicodeError, ValueError) as error:
                logged = getattr(error, "log", None)
                return to_one_line(logged[2]) if logged else ""
            return to_one_line(lines[-1][2]) if lines else ""
    finally:
        av.logging.set_level(previous_level)


def to_fraction(rational: Any) -> Fraction | None:
    """Convert a rational attribute of PyAV.

    Args:
        rational: The attribute.

    Returns:
        The fraction; None if the file does not state it (0/1, 1/0).
    """
    return Fraction(rational.numerator, rational.denominator) if rational else None


def read_tag(metadata: dict[str, str], name: str) -> str:
    """Read a tag of a container or stream as valid Unicode.

    Args:
        metadata: The tags by name.
        name: Name of the tag.

    Returns:
        The value; "" if there is no such tag. Bytes that are not UTF-8 become U+FFFD, so that the
        value can be printed and stored.
    """
    return metadata.get(name, "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read_side_data(frame: Any, name: str) -> bytes | None:
    """Read one type of a frame's side data.

    Args:
        frame: A PyAV frame.
        name: Name of the type, such as ``DISPLAYMATRIX``.

    Returns:
        The bytes; None if the frame has no such side data.
    """
    data = frame.side_data.get(name)
    return None if data is None else bytes(data)


def accept_unknown_side_data(cls: type[Enum], value: object) -> Enum | None:
    """Name a side data type that PyAV does not know, as ``Type._missing_`` of PyAV 19 does.

    Args:
        cls: The enumeration of types.
        value: The type as an integer.

    Returns:
        A new member ``UNKNOWN_<value>``; None if the value is not an integer.
    """
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


def format_error(error: BaseException) -> str:
    """Format an error as one line, without the path that FFmpeg appends."""
    return to_one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def make_error(kind: str, path: str | os.PathLike[str], problem: str) -> VideoError:
    """Make the error for a file, with its name before the problem."""
    return VideoError(kind, f"{get_display_name(path)}: {problem}")


def get_display_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a file, printable on one line whatever its bytes are."""
    return to_one_line(printable_path(Path(path).name or path))


def to_one_line(text: str) -> str:
    """Escape the characters of a string that are not printable."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text.strip())
