import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowkit.errors import FlowError
from flowkit.flow import read_flo, write_flo

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(2))


@given(flow=hnp.arrays(np.float32, SHAPES))
def test_round_trip_keeps_every_bit(flow, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "round.flo"
    write_flo(path, flow)
    assert read_flo(path).tobytes() == flow.tobytes()
    assert read_flo(path).shape == flow.shape


def test_reads_the_documented_layout(tmp_path):
    path = tmp_path / "a.flo"
    header = np.float32(202021.25).tobytes() + np.array([2, 1], "<i4").tobytes()
    path.write_bytes(header + np.array([1, 2, 3, 4], "<f4").tobytes())
    np.testing.assert_array_equal(read_flo(path), [[[1, 2], [3, 4]]])


def test_reads_middlebury(shared_data):
    flow = read_flo(shared_data / "middlebury/RubberWhale/flow10.flo")
    assert flow.shape == (388, 584, 2)
    valid = (np.abs(flow) < 1e9).all(axis=2)
    assert valid.mean() == pytest.approx(0.984, abs=1e-3)


GOOD = b"PIEH" + np.array([3, 2], "<i4").tobytes() + bytes(48)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected the tag b'PIEH', got b''"),
        (b"HEIP" + GOOD[4:], "not a .flo file"),
        (GOOD[:7], "header has 12 bytes, the file 7"),
        (GOOD[:-1], "truncated .flo file: a field of 3×2 has 60 bytes, got 59"),
        (GOOD + b"x", "with extra bytes: a field of 3×2 has 60 bytes, got 61"),
        (b"PIEH" + np.array([-3, 2], "<i4").tobytes(), "header says -3×2"),
        (b"PIEH" + np.array([0, 2], "<i4").tobytes(), "header says 0×2"),
    ],
)
def test_bad_files_are_named_and_explained(data, message, tmp_path):
    path = tmp_path / "bad.flo"
    path.write_bytes(data)
    with pytest.raises(FlowError, match=message) as caught:
        read_flo(path)
    assert "bad.flo" in str(caught.value)


@pytest.mark.parametrize(
    "flow",
    [np.zeros((2, 3), np.float32), np.zeros((2, 3, 2)), np.zeros((0, 3, 2), np.float32), None],
)
def test_refuses_to_write_anything_else(flow, tmp_path):
    with pytest.raises(FlowError):
        write_flo(tmp_path / "a.flo", flow)
    assert not (tmp_path / "a.flo").exists()
