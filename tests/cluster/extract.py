"""Extract videos slowly on a Ray cluster: extract.py STORE ADDRESS SECONDS VIDEO …

Each video waits for SECONDS first, so that there is time to kill nodes, and little to compute.
"""

import json
import sys
import time
from pathlib import Path

from flowkit.annotations import explicit_files
from flowkit.decode import VideoReader
from flowkit.extraction import Options, extract
from flowkit.flow import TVL1Params
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe

RECIPE = StoreRecipe(
    resize=Resize(width=32, height=32),
    rgb=RGBRecipe(),
    flow=FlowRecipe(tvl1=TVL1Params(scales=2, warps=1, iterations=5)),
)


def main() -> None:
    """Extract, and print what was done as JSON."""
    root, address, seconds, *videos = sys.argv[1:]

    def open_video(path, resize, fps):
        time.sleep(float(seconds))
        return VideoReader(path, resize, fps)

    options = Options(address=address, open_video=open_video, roll_seconds=1.0)
    summary = extract(explicit_files(list(map(Path, videos))), Path(root), RECIPE, options)
    failed = [(failure.id, failure.reason) for failure in summary.failed]
    print(json.dumps({"extracted": summary.extracted, "failed": failed, "left": summary.left}))


if __name__ == "__main__":
    main()
