"""Read the packets of a stream, with a look at those that follow.

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

    def is_cut(self, packet: Any) -> bool:
        """Return whether the file ends in this packet, the last one returned, or in the next."""
        if not packet.is_corrupt:
            return False
        count = sum(following.size > 0 for following in self._following)
        while count <= PARSER_DELAY and self._error is None:
            try:
                following = next(self._packets, None)
            except av.error.FFmpegError as error:
                self._error = error
                break
            if following is None:
                break
            self._following.append(following)
            count += following.size > 0
        return count <= PARSER_DELAY
