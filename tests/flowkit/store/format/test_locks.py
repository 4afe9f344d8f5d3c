import signal
import subprocess
import sys

import pytest

from flowkit.errors import LockedError, UsageError
from flowkit.store import hold_store, is_locked
from flowkit.store.format.locks import find_locked_parts, wait_for_lock

HOLD = """
import sys, time
from flowkit.store import hold_store
with hold_store(sys.argv[1], (1, 3)):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("held", "wanted", "free"),
    [
        ((0, 1), (0, 1), False),
        ((0, 1), (0, 2), False),
        ((0, 2), (0, 1), False),
        ((0, 2), (0, 2), False),
        ((0, 2), (1, 2), True),
        ((0, 2), (1, 3), False),
    ],
)
def test_who_excludes_whom(tmp_path, held, wanted, free):
    with hold_store(tmp_path, held):
        if free:
            with hold_store(tmp_path, wanted):
                assert set(find_locked_parts(tmp_path)) == {held, wanted}
        else:
            with pytest.raises(LockedError, match="process"), hold_store(tmp_path, wanted):
                pass
        assert find_locked_parts(tmp_path) == [held]
    with hold_store(tmp_path, wanted):
        assert find_locked_parts(tmp_path) == [wanted]


@pytest.mark.parametrize("part", [(1, 1), (-1, 2), (0, 0)])
def test_impossible_parts(tmp_path, part):
    with pytest.raises(UsageError), hold_store(tmp_path, part):
        pass


def test_a_killed_process_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert find_locked_parts(tmp_path) == [(1, 3)]
        with pytest.raises(LockedError, match=str(process.pid)), hold_store(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    with hold_store(tmp_path):
        pass


def test_is_locked(tmp_path):
    path = tmp_path / "file"
    assert not is_locked(path)
    with wait_for_lock(path):
        assert is_locked(path)
    assert not is_locked(path)
