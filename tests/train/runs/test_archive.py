"""Checksums of the files that a run saves."""

import struct

import pytest
import torch

from train.runs.archive import check_archive
from train.runs.run import RunError

CENTRAL_HEADER = b"PK\x01\x02"


def list_headers(content):
    """Yield the position of each header in the directory of a ZIP archive."""
    position = struct.unpack_from("<I", content, content.rindex(b"PK\x05\x06") + 16)[0]
    while content[position : position + 4] == CENTRAL_HEADER:
        yield position
        position += 46 + sum(struct.unpack_from("<HHH", content, position + 28))


def test_any_changed_bit_of_a_header_is_noticed_or_changes_nothing(tmp_path):
    """A part that is marked as a folder was loaded as what the memory held before."""
    path = tmp_path / "weights.pt"
    weights = {f"{n}.weight": torch.full((3 + n, 5), n + 0.5) for n in range(3)}
    torch.save(weights, path)
    content = path.read_bytes()
    refused = 0
    for header in list_headers(content):
        for bit in range(8 * 46):
            changed = bytearray(content)
            changed[header + bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            try:
                check_archive(path)
                loaded = torch.load(path, weights_only=True)
            except (RunError, RuntimeError):
                refused += 1
                continue
            assert loaded.keys() == weights.keys()
            for name, tensor in loaded.items():
                assert torch.equal(tensor, weights[name]), (header, bit)
    assert refused


def test_a_part_that_is_marked_as_a_folder_is_named(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.ones(3)}, path)
    content = bytearray(path.read_bytes())
    header = next(
        h for h in list_headers(content) if content[h + 46 :].startswith(b"weights/data/0")
    )
    content[header + 38] |= 0x10
    path.write_bytes(content)
    with pytest.raises(RunError, match="weights/data/0 is a folder, expected a tensor"):
        check_archive(path)
