"""What bad files get: one line and a kind, or the frames before the break and a warning."""

import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import flowkit.decode.container
from flowkit.decode import VideoReader, probe_video
from flowkit.decode.container import get_display_name, open_container, read_tag
from flowkit.errors import VideoError
from flowkit.recipe import Resize

RAW = Resize(mode="none")


def expect(kind: str, path: Path) -> str:
    with pytest.raises(VideoError) as caught:
        probe_video(path)
    message = str(caught.value)
    assert caught.value.kind == kind, message
    assert "\n" not in message
    assert get_display_name(path) in message
    return message


def count_frames(path: Path) -> tuple[int, list[str]]:
    with VideoReader(path, RAW) as reader:
        return sum(1 for _ in reader), reader.warnings


@pytest.fixture
def video(mux: Any, count_picture: Any) -> Path:
    """40 frames, a key frame every 10, moov at the end."""
    path: Path = mux("v.mp4", map(count_picture, range(40)), options={"g": "10", "bf": "2"})
    return path


def test_missing(tmp_path: Path) -> None:
    expect("missing", tmp_path / "none.mp4")


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "e.mp4").touch()
    assert "0 bytes" in expect("empty", tmp_path / "e.mp4")


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").mkdir()
    assert "directory" in expect("not-a-file", tmp_path / "x.mp4")


def test_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.mp4")
    expect("not-a-file", tmp_path / "f.mp4")


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root reads everything, so the refusal is played."""
    path = tmp_path / "u.mp4"
    path.write_bytes(b"x")

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(flowkit.decode.container.Path, "open", refuse)
    assert "Permission denied" in expect("unreadable", path)


@pytest.mark.parametrize(
    "text",
    [
        "hello world\n" * 300,
        "<!DOCTYPE html><html><body>404 not found</body></html>",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile v.mp4\n",
        "1\n00:00:01,000 --> 00:00:02,000\nsubtitle\n",
        "\x1b[31mred\x1b[0m\n" * 50,
    ],
)
@pytest.mark.parametrize("name", ["t.mp4", "t.txt", "t.avi"])
def test_text(text: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(VideoError) as caught:
        probe_video(tmp_path / name)
    assert caught.value.kind in {"not-a-video", "no-video-stream"}


def test_random_bytes(tmp_path: Path) -> None:
    (tmp_path / "r.mp4").write_bytes(np.random.default_rng(0).bytes(20_000))
    expect("not-a-video", tmp_path / "r.mp4")


def test_no_moov_says_so(video: Path) -> None:
    data = video.read_bytes()
    video.write_bytes(data[: data.index(b"moov") - 4])
    assert "moov atom not found" in expect("broken", video)
    assert av.logging.get_level() is None  # libav is silent again


def test_audio_only(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        add_sound(container, "pcm_s16le")
    assert "it has audio" in expect("no-video-stream", path)


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        add_sound(container, "libmp3lame", cover)
    with av.open(str(path)) as container:
        assert [s.type for s in container.streams] == ["audio", "video"]
    assert "only a cover image" in expect("no-video-stream", path)


def add_sound(container: Any, codec: str, cover: Any = None) -> None:
    stream = container.add_stream(codec, rate=44100, layout="mono")
    if cover is not None:
        container.mux(cover.encode(av.VideoFrame(32, 32, "yuvj420p")))
        container.mux(cover.encode())
    sound = np.zeros((1, 44100), np.int16)
    frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
    frame.rate = 44100
    container.mux(stream.encode(frame))
    container.mux(stream.encode())


def test_zero_size(tmp_path: Path, mux: Any) -> None:
    """Width and height zeroed where an AVI of raw pixels keeps them."""
    path = mux("z.avi", [np.zeros((48, 64, 3), np.uint8)] * 3, codec="rawvideo", pix_fmt="bgr24")
    data = bytearray(path.read_bytes())
    at = data.index(b"strf") + 12
    data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    assert "0×0" in expect("bad-size", path)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "libx265"])
def test_a_transport_stream_without_a_key_frame(
    codec: str, tmp_path: Path, mux: Any, count_picture: Any
) -> None:
    """A recording that began late and ended soon: only key frames say how large frames are."""
    options = {"g": "300", "bf": "0"} | ({"x265-params": "log-level=0"} if "265" in codec else {})
    whole = mux("w.ts", map(count_picture, range(12)), codec=codec, fps=25, options=options)
    assert probe_video(whole).width == 64
    path = tmp_path / "late.ts"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size and not packet.is_keyframe:
                packet.stream = copy
                target.mux(packet)
    message = expect("broken", path)
    assert "no frame could be decoded; none of its 11 packets holds a key frame" in message


def test_a_transport_stream_of_headers_alone(mux: Any, count_picture: Any) -> None:
    path = mux("h.ts", map(count_picture, range(12)))
    path.write_bytes(path.read_bytes()[: 3 * 188])  # SDT, PAT and PMT
    assert "the file holds no video data" in expect("broken", path)


def test_too_large(mux: Any) -> None:
    wide = av.VideoFrame(65_502, 2, "gray")
    path = mux("w.mkv", [wide], codec="ffv1", pix_fmt="gray")
    assert "65502×2" in expect("bad-size", path)
    path = mux("s.mkv", [av.VideoFrame(2000, 2, "gray")], codec="ffv1", pix_fmt="gray")
    with pytest.raises(VideoError, match="resized frame is 100000×100"):
        VideoReader(path, Resize(mode="short-side", side=100, upsize=True))


def test_size_change_midway(tmp_path: Path, mux: Any) -> None:
    small = mux("s.h264", [np.zeros((48, 64, 3), np.uint8)] * 5)
    large = mux("l.h264", [np.zeros((80, 96, 3), np.uint8)] * 5)
    path = tmp_path / "both.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoReader(path, Resize(width=32, height=32)) as reader:
        frames = iter(reader)
        for _ in range(5):
            next(frames)
        with pytest.raises(VideoError, match="frame 6 is 96×80, the frames before it 64×48") as e:
            next(frames)
    assert e.value.kind == "size-change"


@pytest.mark.parametrize(
    ("name", "codec", "muxing"),
    [
        ("c.mp4", "libx264", {}),
        ("c.mp4", "libx264", {"movflags": "faststart"}),
        ("c.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("c.avi", "mpeg4", {}),
        ("c.mkv", "libx264", {}),
        ("c.webm", "libvpx-vp9", {}),
        ("c.ts", "libx264", {}),
    ],
)
def test_cut_at_any_byte(
    name: str, codec: str, muxing: dict[str, str], mux: Any, count_picture: Any, read_count: Any
) -> None:
    """Never a crash, never another exception, never frames that are not the first ones."""
    options = {"g": "10"} | ({"deadline": "realtime", "cpu-used": "8"} if "vpx" in codec else {})
    path = mux(name, map(count_picture, range(40)), codec=codec, options=options, muxing=muxing)
    data = path.read_bytes()
    most = 0
    failures: list[VideoError] = []
    cuts = np.unique(np.geomspace(1, len(data) - 1, 60).astype(int)).tolist()
    for cut in [*cuts, *range(len(data) - 1, len(data) // 2, -len(data) // 20)]:
        path.write_bytes(data[:cut])
        try:
            with VideoReader(path, RAW) as reader:
                numbers = [read_count(f) for f in reader]
        except VideoError as error:
            failures.append(error)
            continue
        # Frames that the decoder conceals may say anything, but are warned of. What is cut
        # between a P-frame and the B-frames before it can be known only from an index.
        known = numbers if name in ("c.avi", "c.webm") else numbers[:-5]
        if not any("damaged" in w for w in reader.warnings):
            assert known == list(range(len(known))), cut
        assert len(numbers) <= 40
        most = max(most, len(numbers))
    kinds = {"not-a-video", "broken", "no-video-stream", "bad-size", "no-decoder"}
    assert {e.kind for e in failures} <= kinds
    assert all("\n" not in str(e) for e in failures)
    assert most > 5 or (name == "c.mp4" and not muxing)  # no moov, no frames


def test_cut_after_the_index_warns(mux: Any, count_picture: Any) -> None:
    path = mux(
        "f.mp4",
        map(count_picture, range(40)),
        options={"g": "10", "bf": "0", "qp": "10"},
        muxing={"movflags": "faststart"},
    )
    data = path.read_bytes()
    start = data.index(b"mdat")
    path.write_bytes(data[: start + (len(data) - start) // 2])
    count, warnings = count_frames(path)
    assert 5 < count < 40
    assert any("states 40 frames" in w or "broke after" in w for w in warnings), warnings


def test_half_a_packet_is_no_frame(mux: Any, count_picture: Any, read_count: Any) -> None:
    """The last packet is cut: no half picture is made of it."""
    path = mux("h.avi", map(count_picture, range(12)), codec="mjpeg", pix_fmt="yuvj420p")
    with av.open(str(path)) as container:
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    data = path.read_bytes()
    end = data.rindex(packets[7]) if packets[7] != packets[6] else 0
    assert end
    path.write_bytes(data[: end + len(packets[7]) // 2])
    with VideoReader(path, RAW) as reader:
        assert [read_count(f) for f in reader] == list(range(7))
    assert reader.warnings == ["decoding broke after frame 7: the file is cut inside a packet"]


def test_damage_in_the_middle_is_said(video: Path) -> None:
    data = bytearray(video.read_bytes())
    start = data.index(b"mdat")
    start += (data.index(b"moov") - start) // 2
    data[start : start + 100] = np.random.default_rng(1).bytes(100)
    video.write_bytes(data)
    count, warnings = count_frames(video)
    assert 1 <= count <= 40
    assert any("damaged" in w or "decoding broke after frame" in w for w in warnings), warnings


def test_a_break_keeps_the_frames_before_it(mux: Any, count_picture: Any, read_count: Any) -> None:
    """Packet 21 of a lossless stream is destroyed: 20 frames, and the reason."""
    path = mux("b.mkv", map(count_picture, range(40)), codec="ffv1")
    with av.open(str(path)) as container:
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    data = path.read_bytes()
    at = data.index(packets[20])
    path.write_bytes(data[:at] + b"\xff" * len(packets[20]) + data[at + len(packets[20]) :])
    with VideoReader(path, RAW) as reader:
        numbers = [read_count(f) for f in reader]
    assert numbers[:20] == list(range(20))
    assert reader.warnings
    first = reader.warnings[0]
    assert "broke after frame 20:" in first or "the first is frame 21" in first


def test_nothing_decodes(mux: Any, count_picture: Any) -> None:
    path = mux("n.avi", map(count_picture, range(3)), codec="mjpeg", pix_fmt="yuvj420p")
    data = path.read_bytes()
    movi = data.index(b"movi")
    path.write_bytes(data.replace(b"\xff\xd8", b"\x00\x00")[: movi + 4] + bytes(len(data) - movi))
    expect("broken", path)


@pytest.mark.parametrize("name", ["a:b.mp4", "%d.mp4", "né #1; [x].mp4", "-i.mp4", "http:x.mp4"])
def test_any_name(name: str, video: Path) -> None:
    path = video.rename(video.with_name(name))
    assert probe_video(path).width == 64
    assert get_display_name(path) == name


def test_a_name_that_is_no_unicode(video: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(video.parent) + b"/\xff\n.mp4"))
    video.rename(path)
    assert probe_video(path).width == 64
    assert get_display_name(path) == "\\xff\\n.mp4"
    get_display_name(path).encode()


def test_tags_in_other_encodings_do_not_matter(video: Path, mux: Any, count_picture: Any) -> None:
    path = mux(
        "t.avi",
        [count_picture(0)],
        codec="mpeg4",
        prepare=lambda s: s.container.metadata.update(title="TITLE"),
    )
    data = path.read_bytes()
    assert b"TITLE" in data
    path.write_bytes(data.replace(b"TITLE", b"\xe9\xe8\xff\xfe\x80"))
    with open_container(path) as container:
        assert read_tag(container.metadata, "title") == "\ufffd" * 5
        assert read_tag(container.metadata, "artist") == ""
    assert count_frames(path) == (1, [])


def test_a_duration_tag_of_other_bytes_is_no_promise(mux: Any, count_picture: Any) -> None:
    """Matroska's DURATION is the one tag that is looked at."""
    path = mux("d.mkv", map(count_picture, range(5)))
    data = path.read_bytes()
    assert data.count(b"00:00:00.5") == 1
    path.write_bytes(data.replace(b"00:00:00.5", b"\xe9\xff:\x80:00.5\xfe"))
    count, warnings = count_frames(path)
    assert (count, warnings) == (5, [])


def test_messages_of_a_file_with_a_strange_name_can_be_printed(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9\xff.mp4"))
    path.write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    with pytest.raises(VideoError) as caught:
        probe_video(path)
    assert str(caught.value).encode().startswith(b"\\xe9\\xff.mp4: ")
