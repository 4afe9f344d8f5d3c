"""The registry of streams: what is declared there is all that a store needs to hold a stream."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import flowkit
from flowkit.streams import FRAME_STREAMS, STREAMS, StreamName

DEPTH_STREAM = '''    "depth": Stream(
        folder="depth", columns=(Column("depth", "bytes"),), unit="depth maps", channels=1
    ),
}
"""All streams by name'''
DEPTH_FIELD = "    depth: RGBRecipe | None = None\n    features: Mapping"
SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from flowkit.recipe import RGBRecipe, StoreRecipe
from flowkit.store import Fingerprint, ShardWriter, Store, VideoMeta, create_or_open, rebuild_index
from flowkit.store.format.header import read_header
from flowkit.store.format.jpeg import encode_grey, encode_rgb
from flowkit.store.integrity.verify import verify

def write(stream, folder, videos):
    writer = ShardWriter(root, folder, recipe=header.recipe)
    for id, images in videos.items():
        writer.begin(id)
        for image in images:
            writer.append(**{stream: image})
        writer.end(VideoMeta(
            id=id, source=f"{id}.mp4", fingerprint=Fingerprint(7, 8, "0f" * 16), streams=(stream,),
            frames=3, fps=25.0, width=16, height=12, duration=0.12,
        ))
    writer.close()

def describe(video):
    return [video.num_frames, video.fps, video.width, video.height, video.duration, video.streams]

root, rng = Path(sys.argv[1]), np.random.default_rng(0)
create_or_open(root, StoreRecipe(rgb=RGBRecipe()))
header = create_or_open(root, StoreRecipe(rgb=RGBRecipe(), depth=RGBRecipe()))
grey = [encode_grey(rng.integers(0, 255, (12, 16), np.uint8)) for _ in range(3)]
colour = encode_rgb(rng.integers(0, 255, (12, 16, 3), np.uint8))
small = encode_grey(np.zeros((4, 4), np.uint8))
write("rgb", "frames", {"good": [colour] * 3})
write("depth", "depth", {
    "good": grey, "coloured": [grey[0], colour, grey[2]], "gap": [grey[0], None, grey[2]],
    "small": [small, *grey[1:]],
})
rebuild_index(root)
store = Store(root)
found = {
    "streams": read_header(root).recipe.streams,
    "is_read": [store["good"]._read("depth", ("depth",), t, 1)[0][0] for t in range(3)] == grey,
    "videos": {id: describe(store[id]) for id in store},
    "problems": [f"{found.video}: {found.what}" for found in verify(root, deep=True).problems],
}
shard, = (root / "depth").glob("*.arrow")
data = bytearray(shard.read_bytes())
data[data.index(grey[1])] ^= 1
shard.write_bytes(data)
found["lost"] = verify(root, repair=True).lost_videos
rebuild_index(root)
store = Store(root)
found["kept"] = [id for id in store if "depth" in store[id].streams]
print(json.dumps(found))
"""


def test_the_type_of_names_has_the_names_of_the_registry():
    assert get_args(StreamName) == tuple(STREAMS)


def test_images_have_sizes_and_colours():
    assert FRAME_STREAMS == ("rgb", "flow")
    assert [name for name, stream in STREAMS.items() if stream.is_grey] == ["flow"]


def replace_once(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.unlink()  # a link to the real file
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_stream_of_the_registry_is_stored_checked_repaired_and_indexed(tmp_path):
    """Two files of a copy of flowkit are changed, as for a new stream, and no other one."""
    package = tmp_path / "packages" / "flowkit"
    shutil.copytree(Path(flowkit.__file__).parent, package, copy_function=os.symlink)
    replace_once(package / "streams.py", '}\n"""All streams by name', DEPTH_STREAM)
    replace_once(package / "recipe" / "recipe.py", "    features: Mapping", DEPTH_FIELD)
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "store")],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["streams"] == ["rgb", "depth"]
    assert found["is_read"]
    depth = [3, 25.0, 16, 12, 0.12, ["depth"]]
    assert found["videos"] == {
        "coloured": depth,
        "gap": depth,
        "good": [*depth[:-1], ["rgb", "depth"]],
        "small": depth,
    }
    assert found["problems"] == [
        "coloured: frame 1: depth is not grey but YCbCr",
        "gap: frame 1: depth is missing",
        "small: frame 0: depth is 4×4, not 16×12",
    ]
    assert found["lost"] == ["good"]
    assert found["kept"] == ["coloured", "gap", "small"]
