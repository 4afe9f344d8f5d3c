"""What `import flowkit` offers, and `flowkit.extract`."""

import subprocess
import sys

import numpy as np
import pytest

import flowkit

NAMES = {
    "CentreCrop", "ClipDataset", "ClipSampling", "CorruptError", "EpochSampler",
    "FeatureSetDataset", "FlowError", "FlowkitError", "JitteredCrop", "LockedError",
    "MultiScaleCrop", "PatchDataset", "RandomCrop", "RecipeError", "SnippetDataset", "Store",
    "StoreError", "TenCrop", "ThreeCrop", "UsageError", "VideoError", "WindowDataset",
    "__version__", "dequantize", "extract", "quantize", "read_video", "tvl1", "tvl1_video",
}  # fmt: skip


def test_the_names_are_these_and_all_can_be_had():
    assert set(flowkit.__all__) == NAMES
    assert set(flowkit.__all__) <= set(dir(flowkit))
    for name in flowkit.__all__:
        assert getattr(flowkit, name) is not None
    assert callable(flowkit.extract)
    with pytest.raises(AttributeError, match=r"no attribute .extrac.; it has .*extract"):
        _ = flowkit.extrac


def test_importing_it_imports_nothing_heavy():
    code = "import sys, flowkit; print(*{'numpy', 'torch', 'cv2', 'av', 'ray'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


def test_files_are_extracted_by_one_call(tmp_path, make_clip):
    clips = [make_clip(tmp_path / name, frames=4) for name in ("a.mp4", "b.mp4")]
    first = flowkit.extract(
        clips[:1], tmp_path / "S", preset="fast", size=(32, 24), workers=0, progress=False
    )
    assert first.extracted == 1
    again = flowkit.extract(clips, str(tmp_path / "S"), workers=0, progress=False)
    assert (again.extracted, again.done_before) == (1, 1)
    store = flowkit.Store(tmp_path / "S")
    assert [store[id].rgb(0).shape for id in store] == [(24, 32, 3)] * 2
    assert store["b.mp4"].flow(2).shape == (24, 32, 2)
    with pytest.raises(flowkit.RecipeError, match="bound"):
        flowkit.extract(clips, tmp_path / "S", bound=5.0, workers=0, progress=False)


def test_a_folder_of_classes_keeps_its_labels(tmp_path, make_clip):
    make_clip(tmp_path / "videos" / "run" / "a.mp4", frames=4)
    flowkit.extract(tmp_path / "videos", tmp_path / "S", streams=["rgb"], workers=0, progress=False)
    (id,) = store = flowkit.Store(tmp_path / "S")
    assert [label.name for label in store[id].labels] == ["run"]
    assert store[id].streams == ("rgb",)


def test_no_video_is_an_error(tmp_path):
    with pytest.raises(flowkit.UsageError, match="videos is empty"):
        flowkit.extract([], tmp_path / "S")
    assert not (tmp_path / "S").exists()


def test_a_video_is_read_as_an_array(tmp_path, make_clip):
    frames = flowkit.read_video(make_clip(tmp_path / "a.mp4", frames=3, width=48, height=32))
    assert frames.shape == (3, 32, 48, 3)
    assert frames.dtype == np.uint8
