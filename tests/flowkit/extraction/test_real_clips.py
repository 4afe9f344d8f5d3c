"""The six real clips, from the command to a verified store."""

import numpy as np
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.store import Store

FRAMES = {
    "test.avi": 164,
    "test.mp4": 300,
    "demo.mp4": 280,
    "part_0.mp4": 32,
    "v_GGSY1Qvo990.mp4": 355,
    "h265_video.mp4": 10,
}


def test_every_frame_of_the_real_clips_is_stored_and_verified(shared_data, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    root = tmp_path / "S"
    clips = sorted((shared_data / "clips").iterdir())
    done = run("extract", *clips, "--store", root, "--size", "48x32", "--workers", "0")
    assert done.exit_code == 0, done.output
    store = Store(root)
    assert {id: store[id].num_frames for id in store} == FRAMES
    assert {id: store[id].num_flow for id in store} == {id: n - 1 for id, n in FRAMES.items()}
    assert run("verify", root, "--deep").exit_code == 0
    (shard,) = (root / "frames").glob("*.arrow")
    rng = np.random.default_rng()
    position = int(rng.integers(shard.stat().st_size))
    with shard.open("r+b") as file:
        file.seek(position)
        old = file.read(1)
        file.seek(position)
        file.write(bytes([old[0] ^ (1 << int(rng.integers(8)))]))
    found = run("verify", root)
    assert found.exit_code == 1, position
    assert shard.stem in found.output
