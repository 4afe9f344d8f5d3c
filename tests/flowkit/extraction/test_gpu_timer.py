import threading
from contextlib import ExitStack

import pytest

from flowkit.extraction import gpu_timer as occupancy
from flowkit.extraction.gpu_timer import GpuTimer, GpuTimes


@pytest.fixture
def clock(monkeypatch):
    """``clock.now`` is the time."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(occupancy, "time", clock)
    return clock


def test_the_gpu_is_busy_while_any_lane_is_at_flow(clock):
    lanes = GpuTimer()
    with lanes.enter_stage("video"), lanes.enter_stage("video"):
        with lanes.enter_stage("flow"):
            clock.now += 2
            with lanes.enter_stage("encode"):
                clock.now += 3
        clock.now += 1
    taken = lanes.pop_times()
    assert taken == GpuTimes(busy_seconds=5, idle_seconds={"decode": 1})
    assert taken.wall_seconds == 6


def test_idle_time_is_split_by_what_the_lanes_are_at(clock):
    lanes = GpuTimer()
    clock.now += 1
    stages = ["video"] * 4 + ["encode", "encode", "write"]
    with ExitStack() as stack:
        for stage in stages:
            stack.enter_context(lanes.enter_stage(stage))
        clock.now += 4
    idle = lanes.pop_times().idle_seconds
    assert idle == {"no video": 1, "encode": 2, "write": 1, "decode": 1}


def test_what_was_taken_is_not_counted_again(clock):
    lanes = GpuTimer()
    with lanes.enter_stage("video"), lanes.enter_stage("flow"):
        clock.now += 3
        assert lanes.pop_times().busy_seconds == 3
        clock.now += 1
    assert lanes.pop_times().busy_seconds == 1
    assert lanes.pop_times() == GpuTimes()


def test_a_lane_that_fails_is_no_longer_at_it(clock):
    lanes = GpuTimer()
    with pytest.raises(KeyError), lanes.enter_stage("video"), lanes.enter_stage("flow"):
        raise KeyError
    clock.now += 1
    assert lanes.pop_times() == GpuTimes(idle_seconds={"no video": 1})


def test_times_add_up_and_are_told():
    total = GpuTimes(busy_seconds=6, idle_seconds={"decode": 2, "write": 0.01}) + GpuTimes(
        busy_seconds=1, idle_seconds={"decode": 0.5, "encode": 0.5}
    )
    assert total.idle_seconds == {"decode": 2.5, "write": 0.01, "encode": 0.5}
    assert total.describe() == "busy 70% of 10.0 s; idle at decode 25%, encode 5%"
    assert GpuTimes(busy_seconds=2).describe() == "busy 100% of 2.0 s"


def test_threads_lose_no_count():
    lanes = GpuTimer()

    def work():
        for _ in range(2000):
            with lanes.enter_stage("video"), lanes.enter_stage("encode"):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(lanes._lanes.values())
