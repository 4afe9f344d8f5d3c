"""Read the packets of a stream, and look ahead to tell a cut file from an interrupted stream.

libavformat marks a packet as corrupt in two cases that need different treatment. Where the file is
cut, hardly anything follows, and half a picture must not be decoded. In a transport stream, a jump
of the continuity counter marks a packet too: packets were lost, or another recording was appended;
the stream continues.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Self

import av

PARSER_DELAY = 1
"""Packets that may follow the one that is marked in a cut file: a parser holds one back."""


class PacketReader:
    """Iterates over the packets of a stream, and can tell whether the file is cut.

    Args:
        packets: The packets, as ``container.demux`` returns them.
    """

    def __init__(self, packets: Iterator[Any]) -> None:
        """Read nothing yet."""
        self._packets = packets
        self._following: deque[Any] = deque()
        self._error: av.error.FFmpegError | None = None
        self._interruptions: list[int] = []

    def __iter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __next__(self) -> Any:
        """Return the next packet.

        Raises:
            FFmpegError: The container cannot be read further.
        """
        if self._following:
            return self._following.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return next(self._packets)

    def is_cut(self, packet: Any, frames: int) -> bool:
        """Return whether the file ends at a packet: at most one more follows.

        If more packets follow one that is marked as corrupt, it is noted as an interruption.

        Args:
            packet: The packet that was returned last.
            frames: Number of frames that have been decoded so far, for the warning.

        Raises:
            FFmpegError: The packets that follow cannot be read, so that this is not known.
        """
        if not packet.is_corrupt:
            return False
        count: int = sum(following.size > 0 for following in self._following)
        while count <= PARSER_DELAY:
            if self._error is not None:
                raise self._error
            try:
                following = next(self._packets, None)
            except av.error.FFmpegError as error:
                self._error = error
                raise
            if following is None:
                break
            self._following.append(following)
            count += following.size > 0
        if count > PARSER_DELAY:
            self._interruptions.append(frames)
        return count <= PARSER_DELAY

    def list_warnings(self) -> list[str]:
        """Return a line about corrupt packets in the middle of the stream, if there are any."""
        places = self._interruptions
        more = f" and {len(places) - 1} times later" if len(places) > 1 else ""
        problem = "packets are lost, or another recording follows"
        return [
            f"the stream is interrupted near frame {n + 1}{more}: {problem}" for n in places[:1]
        ]
