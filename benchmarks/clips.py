"""The clips that benchmarks run on: real ones where there are any, else motion8's."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Pair = tuple[Grey, Grey]

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "clips"


def find_clips(folder: Path | None, scratch: Path) -> list[Path]:
    """The videos in ``folder``, else the real ones beside the checkout, else rendered ones."""
    folder = folder or REAL
    if folder.is_dir():
        from flowkit.annotations import list_videos
        from flowkit.path_text import text_to_path

        return [folder / text_to_path(name) for name in list_videos(folder)]
    from flowkit.synthetic.motion8 import Motion8, write_dataset

    print(f"no clips at {folder}: rendering motion8 instead")
    write_dataset(scratch / "motion8", Motion8(videos=8, test_videos=0, frames=48))
    return sorted((scratch / "motion8").rglob("*.mp4"))


def read_pairs(clip: Path, count: int, height: int, width: int) -> list[Pair]:
    """`count` pairs of consecutive frames, spread over the clip, resized and made grey."""
    import av  # not where frames were decoded beforehand (gpu_steps)

    with av.open(str(clip)) as container:
        total = sum(1 for _ in container.decode(video=0))
    starts = {round(start) for start in np.linspace(0, total - 2, count + 2)[1:-1]}
    wanted = starts | {start + 1 for start in starts}
    grey = {}
    with av.open(str(clip)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                rgb = frame.to_ndarray(format="rgb24")
                small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
                grey[index] = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return [(grey[start], grey[start + 1]) for start in sorted(starts)]
