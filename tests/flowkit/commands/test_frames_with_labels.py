"""Frame folders with a label file: labels and frame rates of Jester's kind of dataset."""

import cv2
import numpy as np
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.store import Store


def test_labels_and_frame_rates_of_frame_folders(tmp_path):
    rng = np.random.default_rng(0)
    for number in (10, 9, 8):
        folder = tmp_path / "jester" / str(number)
        folder.mkdir(parents=True)
        for t in range(1, 4):
            picture = rng.integers(0, 256, (24, 32, 3), np.uint8)
            cv2.imwrite(str(folder / f"{t:05}.png"), picture)
    labels = tmp_path / "labels.csv"
    labels.write_text("id;label;fps\n8;Stop;12\n9;Swipe;24\n11;Stop;12\n")
    store = tmp_path / "S"
    for option in ("--frames", "--videos"):
        command = ["extract", option, tmp_path / "jester", "--labels", labels, "--store", store]
        words = [*map(str, command), "--streams", "rgb", "--workers", "0", "--frame-rate", "30"]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
    opened = Store(store)
    assert {id: opened[id].fps for id in opened} == {"8": 12, "9": 24}
    assert [opened[id].labels[0].name for id in opened] == ["Stop", "Swipe"]
    words = ["extract", "--labels", str(labels), "--from-store", str(store)]
    assert "--labels needs --videos DIR or --frames DIR" in CliRunner().invoke(main, words).stderr
