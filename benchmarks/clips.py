"""The clips that benchmarks run on: real ones where there are any, else motion8's."""

from pathlib import Path

from flowkit.annotations import walk_videos

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "clips"


def find_clips(folder: Path | None, scratch: Path) -> list[Path]:
    """The videos in ``folder``, else the real ones beside the checkout, else rendered ones."""
    folder = folder or REAL
    if folder.is_dir():
        return [folder / name for name in walk_videos(folder)]
    from flowkit.synthetic.motion8 import Motion8, write

    print(f"no clips at {folder}: rendering motion8 instead")
    write(scratch / "motion8", Motion8(videos=8, test_videos=0, frames=48))
    return sorted((scratch / "motion8").rglob("*.mp4"))
