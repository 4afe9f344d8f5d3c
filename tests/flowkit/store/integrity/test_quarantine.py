"""Damaged files are moved aside, and none of them replaces another."""

from flowkit.store.integrity.quarantine import quarantine_file


def test_a_second_file_of_a_name_gets_a_number(tmp_path):
    path = tmp_path / "frames" / "a.arrow"
    path.parent.mkdir()
    for content in (b"1", b"2", b"2"):
        path.write_bytes(content)
        quarantine_file(tmp_path, path)
        assert not path.exists()
    moved = {file.name: file.read_bytes() for file in (tmp_path / "quarantine/frames").iterdir()}
    assert moved == {"a.arrow": b"1", "a.2.arrow": b"2", "a.3.arrow": b"2"}


def test_a_copy_is_made_once(tmp_path):
    path = tmp_path / "frames" / "a.json"
    path.parent.mkdir()
    for content in (b"1", b"2", b"1", b"2"):
        path.write_bytes(content)
        quarantine_file(tmp_path, path, copy=True)
        assert path.read_bytes() == content
    copied = {file.name: file.read_bytes() for file in (tmp_path / "quarantine/frames").iterdir()}
    assert copied == {"a.json": b"1", "a.2.json": b"2"}


def test_an_absent_file_is_left_alone(tmp_path):
    quarantine_file(tmp_path, tmp_path / "frames" / "a.json")
    assert list(tmp_path.iterdir()) == []
