"""Packets that are marked as corrupt, and those that follow."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import av
import pytest

from flowkit.decode.packets import PacketReader


def make_packet(is_corrupt: bool = False) -> Any:
    return SimpleNamespace(size=1, is_corrupt=is_corrupt)


def yield_packets(*packets: Any) -> Iterator[Any]:
    for packet in packets:
        if isinstance(packet, Exception):
            raise packet
        yield packet


@pytest.mark.parametrize("following", [0, 1])
def test_a_file_is_cut_where_at_most_one_packet_follows(following: int) -> None:
    packets = PacketReader(
        yield_packets(make_packet(True), *(make_packet() for _ in range(following)))
    )
    assert packets.is_cut(next(packets), 3)
    assert packets.list_warnings() == []
    assert len(list(packets)) == following


def test_a_stream_that_continues_is_interrupted() -> None:
    packets = PacketReader(yield_packets(make_packet(True), make_packet(), make_packet()))
    assert not packets.is_cut(next(packets), 3)
    assert "interrupted near frame 4" in packets.list_warnings()[0]
    assert len(list(packets)) == 2


def test_a_packet_that_cannot_be_read_is_not_the_end_of_the_file() -> None:
    error = av.error.FFmpegError(5, "Input/output error")
    packets = PacketReader(yield_packets(make_packet(True), make_packet(), error))
    with pytest.raises(av.error.FFmpegError, match="Input/output"):
        packets.is_cut(next(packets), 3)
    next(packets)
    with pytest.raises(av.error.FFmpegError, match="Input/output"):
        next(packets)
