"""Log-mel patches against a direct evaluation of their definition."""

import itertools
import runpy
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from flowkit.decode.audio import PATCHES_PER_BLOCK, log_mel_patches, make_mel_bands, make_patches
from flowkit.errors import VideoError
from flowkit.recipe import LogMelRecipe

RECIPE = LogMelRecipe()
RATE = RECIPE.sample_rate


def log_mel_reference(samples: np.ndarray, row: int) -> np.ndarray:
    """Row ``row`` of the spectrogram, straight from the definition: a DFT by its sum."""
    x = samples[row * 160 : row * 160 + 400].astype(float)
    n = np.arange(400)
    windowed = x * (0.5 - 0.5 * np.cos(2 * np.pi * n / 400))
    magnitude = [abs((windowed * np.exp(-2j * np.pi * k * n / 512)).sum()) for k in range(257)]
    low, high = (1127 * np.log(1 + f / 700) for f in (125, 7500))
    out = []
    for band in range(64):
        left, centre, right = (low + (high - low) * (band + i) / 65 for i in range(3))
        total = 0.0
        for k in range(1, 257):
            m = 1127 * np.log(1 + k * 16000 / 512 / 700)
            total += magnitude[k] * max(0, min((m - left), (right - m)) / (centre - left))
        out.append(np.log(total + 0.01))
    return np.array(out)


def patches_of(samples: np.ndarray, cut: int = 4000) -> np.ndarray:
    chunks = (samples[i : i + cut] for i in range(0, len(samples), cut))
    return np.concatenate(list(make_patches(chunks, RECIPE)))


def write_sound(
    path: Path, samples: np.ndarray, rate: int, codec: str = "pcm_s16le", layout: str = "mono"
) -> Path:
    """samples: float (channels, n) in [−1, 1]."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        data = np.ascontiguousarray(
            np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16).T.reshape(1, -1)
        )
        frame = av.AudioFrame.from_ndarray(data, format="s16", layout=layout)
        frame.rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sine(hertz: float, seconds: float, rate: int, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def test_spectrogram_agrees_with_the_definition() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 2 * 96 * 160 + 240).astype(np.float32)
    patches = patches_of(samples)
    assert patches.shape == (2, 96, 64)
    assert patches.dtype == np.float32
    for row in (0, 1, 95, 96, 191):
        np.testing.assert_allclose(
            patches.reshape(-1, 64)[row], log_mel_reference(samples, row), atol=1e-4
        )


def test_patches_agree_with_another_implementation() -> None:
    """That of transformers: golden/make_log_mel.py makes the file, and says how to run it."""
    golden = Path(__file__).with_name("golden")
    samples = runpy.run_path(str(golden / "make_log_mel.py"))["make_samples"]()
    (patch,) = patches_of(samples)
    np.testing.assert_allclose(patch, np.load(golden / "log_mel.npy"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("cut", [1, 999, 16_000, 10**6])
def test_where_chunks_are_cut_does_not_matter(cut: int) -> None:
    count = PATCHES_PER_BLOCK * 2 + 1 if cut > 1 else 2
    samples = np.random.default_rng(1).uniform(-1, 1, count * 96 * 160 + 999).astype(np.float32)
    # Not bit by bit: a BLAS may sum in another order where it gets more rows at once.
    close = {"rtol": 0, "atol": 1e-5}
    np.testing.assert_allclose(patches_of(samples, cut), patches_of(samples, 5000), **close)
    assert len(patches_of(samples, cut)) == count


@pytest.mark.parametrize(
    ("samples", "patches"),
    [(0, 0), (1, 0), (15_599, 0), (15_600, 1), (15_600 + 15_359, 1), (15_600 + 15_360, 2)],
)
def test_the_tail_is_dropped(samples: int, patches: int) -> None:
    """A patch needs 95 hops and a window: 0.975 s. The next one, 0.96 s more."""
    assert patches_of(np.zeros(samples, np.float32)).shape == (patches, 96, 64)


def test_mel_bands_are_triangles_with_peaks_in_order() -> None:
    bands = make_mel_bands(RECIPE)
    assert bands.shape == (257, 64)
    assert bands.min() == 0
    assert bands.max() <= 1
    assert (bands[0] == 0).all()
    assert (np.diff(bands.argmax(0)) >= 0).all()
    inside = (np.arange(257) * 31.25 > 150) & (np.arange(257) * 31.25 < 7200)
    np.testing.assert_allclose(bands[inside].sum(1), 1, atol=1e-9)  # halves overlap


@pytest.mark.parametrize(
    ("hertz", "rate"),
    [
        *itertools.product([300, 1000, 3000, 6500], [16_000, 44_100, 48_000]),
        *itertools.product([300, 1000, 3000], [11_025]),
    ],
)
def test_a_sine_lands_in_its_band(hertz: int, rate: int, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "s.wav", sine(hertz, 2.5, rate)[None], rate)
    result = log_mel_patches(path)
    assert result.warnings == ()
    assert result.patches.shape == (2, 96, 64)
    low, high = (1127 * np.log1p(f / 700) for f in (125, 7500))
    band = (1127 * np.log1p(hertz / 700) - low) / ((high - low) / 65) - 1
    mean = result.patches[0].mean(0)
    assert abs(int(mean.argmax()) - band) <= 1
    # A sine of amplitude a peaks at a · Σw/2 = a · 100, and spreads over few bins.
    assert 20 < np.exp(mean.max()) < 150
    assert mean[np.abs(np.arange(64) - band) > 20].max() < mean.max() - 4


def test_channels_are_averaged(tmp_path: Path) -> None:
    """Opposite channels cancel, equal ones are as loud as one: the mean, not √½ of the sum."""
    tone = sine(1000, 1.2, RATE)
    mono = log_mel_patches(write_sound(tmp_path / "m.wav", tone[None], RATE)).patches
    same = write_sound(tmp_path / "s.wav", np.stack([tone, tone]), RATE, layout="stereo")
    opposite = write_sound(tmp_path / "o.wav", np.stack([tone, -tone]), RATE, layout="stereo")
    np.testing.assert_allclose(log_mel_patches(same).patches, mono, atol=1e-4)
    assert log_mel_patches(opposite).patches.max() < np.log(0.02)


def test_silence_is_the_log_of_the_offset(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "z.wav", np.zeros((1, 2 * RATE)), RATE)
    np.testing.assert_allclose(log_mel_patches(path).patches, np.log(0.01), atol=1e-6)


@pytest.mark.parametrize(("codec", "name"), [("aac", "a.m4a"), ("libmp3lame", "a.mp3")])
def test_lossy_codecs(codec: str, name: str, tmp_path: Path) -> None:
    tone = sine(1000, 3, 44_100)[None]
    plain = log_mel_patches(write_sound(tmp_path / "p.wav", tone, 44_100)).patches
    lossy = log_mel_patches(write_sound(tmp_path / name, tone, 44_100, codec)).patches
    assert len(lossy) == len(plain) == 3
    peak = int(plain[1].mean(0).argmax())
    np.testing.assert_allclose(lossy[1, :, peak], plain[1, :, peak], atol=0.1)


@pytest.mark.parametrize(("name", "count"), [("test.avi", 6), ("v_GGSY1Qvo990.mp4", 18)])
def test_real_clips(name: str, count: int, shared_data: Path) -> None:
    result = log_mel_patches(shared_data / "clips" / name)
    assert result.patches.shape == (count, 96, 64)
    assert result.warnings == ()
    assert np.isfinite(result.patches).all()
    assert result.patches.std() > 0.5


def test_no_audio_stream(shared_data: Path) -> None:
    with pytest.raises(VideoError, match="no audio stream") as caught:
        log_mel_patches(shared_data / "clips" / "test.mp4")
    assert caught.value.kind == "no-audio-stream"


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "e.wav").touch()
    with pytest.raises(VideoError, match="empty"):
        log_mel_patches(tmp_path / "e.wav")
    (tmp_path / "t.wav").write_text("hello " * 1000)
    with pytest.raises(VideoError) as caught:
        log_mel_patches(tmp_path / "t.wav")
    assert caught.value.kind in {"not-a-video", "no-audio-stream"}


@pytest.mark.parametrize(
    ("codec", "name"), [("pcm_s16le", "a.wav"), ("flac", "a.flac"), ("libmp3lame", "a.mp3")]
)
def test_cut_at_any_byte(codec: str, name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_sound(tmp_path / name, rng.uniform(-0.5, 0.5, (1, 3 * RATE)), RATE, codec)
    whole = log_mel_patches(path).patches
    data = path.read_bytes()
    kinds, lengths = set(), set()
    for cut in np.linspace(1, len(data) - 1, 40).astype(int).tolist():
        path.write_bytes(data[:cut])
        try:
            patches = log_mel_patches(path).patches
        except VideoError as error:
            kinds.add(error.kind)
            continue
        lengths.add(len(patches))
        np.testing.assert_allclose(patches[:-1], whole[: max(0, len(patches) - 1)], atol=1e-3)
    assert kinds <= {"not-a-video", "broken", "broken-audio", "no-audio-stream", "no-decoder"}
    assert max(lengths) >= 2


def test_a_break_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demuxer fails after 20 packets: the patches so far, and a warning."""
    path = write_sound(tmp_path / "a.mp3", sine(500, 4, 44_100)[None], 44_100, "libmp3lame")
    whole = log_mel_patches(path).patches
    import flowkit.decode.audio

    class Broken:
        def __init__(self, container: Any) -> None:
            self.container = container

        def demux(self, stream: Any) -> Any:
            for i, packet in enumerate(self.container.demux(stream)):
                if i == 60:
                    raise av.error.InvalidDataError(1, "invalid data")
                yield packet

    decode_frames = flowkit.decode.audio.decode_frames
    monkeypatch.setattr(
        flowkit.decode.audio, "decode_frames", lambda c, s, w: decode_frames(Broken(c), s, w)
    )
    result = log_mel_patches(path)
    assert len(result.patches) == 1
    np.testing.assert_allclose(result.patches[0], whole[0], rtol=0, atol=1e-5)
    assert result.warnings == ("audio decoding broke after packet 60: invalid data",)
