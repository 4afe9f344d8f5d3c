"""Write the dataset card of an export for Hugging Face: README.md with its YAML front matter."""

from collections.abc import Iterable
from typing import Any

import yaml

from flowkit.interchange.formats.shards import ShardRecord
from flowkit.store.reader import Store

SIZES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"),
    (10_000_000_000, "1B<n<10B"), (100_000_000_000, "10B<n<100B"),
    (1_000_000_000_000, "100B<n<1T"),
)  # fmt: skip
"""The size categories of the Hub, each with the number of rows that it stays below."""
COLUMNS = {
    "id": "string: the id of the video",
    "frame": "int32: the index of the frame in the video, from 0",
    "time": "int64: microseconds from the first frame",
    "label": "ClassLabel: the class of the video; null if it has none",
    "labels": "list of ClassLabel: the classes that apply at this time",
    "rgb": "Image: the RGB frame",
    "flow_x": "Image (grey): the quantized horizontal flow that starts at this frame",
    "flow_y": "Image (grey): the quantized vertical flow that starts at this frame",
}
"""Description of each column of the frames."""


def make_dataset_card(
    store: Store, name: str, records: list[ShardRecord], columns: Iterable[str]
) -> str:
    """Make the text of the dataset card.

    Args:
        store: Store that was exported.
        name: Name of the dataset, if the store has none.
        records: Records of all shards, sorted by name.
        columns: Names of the columns of the frames.

    Returns:
        Markdown with YAML front matter. The license is left out, since it is not known.
    """
    name = store.header.dataset or name
    frames = sum(frames for record in records for _, _, frames in record.videos)
    metadata = {
        "pretty_name": name,
        "task_categories": ["video-classification"],
        "size_categories": [choose_size_category(frames)],
        "tags": ["action-recognition", *(["optical-flow"] if store.recipe.flow else [])],
        "configs": list_configs(records),
    }
    front_matter = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=100)
    parts = [
        f"---\n{front_matter}---\n\n# {name}\n",
        f"{sum(len(record.videos) for record in records)} videos with {frames:,} frames, exported "
        f"from a frame store of {store.header.creator} by `flowkit export --format huggingface`.\n",
        describe_splits(records),
        describe_columns(columns),
    ]
    if store.recipe.flow is not None:
        parts.append(describe_flow(store))
    return "\n".join(parts)


def choose_size_category(rows: int) -> str:
    """Choose the size category of the Hub for a number of rows."""
    return next((name for limit, name in SIZES if rows < limit), "n>1T")


def list_configs(records: list[ShardRecord]) -> list[dict[str, Any]]:
    """List the files of each split, for the frames and for the videos.

    Args:
        records: Records of all shards.

    Returns:
        The value of ``configs`` in the front matter.
    """
    splits: dict[str, set[str]] = {}
    for record in records:
        for subset in record.subsets:
            splits.setdefault(subset, set()).add(record.name.rpartition("-")[0])
    configs: list[dict[str, Any]] = []
    for config, pattern in (("frames", "data/{}-*.parquet"), ("videos", "videos/{}.parquet")):
        data_files = [
            {"split": split, "path": list(map(pattern.format, sorted(partitions)))}
            for split, partitions in sorted(splits.items())
        ]
        configs.append({"config_name": config, "data_files": data_files})
    configs[0]["default"] = True
    return configs


def describe_splits(records: list[ShardRecord]) -> str:
    """Make the table of splits."""
    counts: dict[str, list[int]] = {}
    for record in records:
        for subset in record.subsets:
            count = counts.setdefault(subset, [0, 0])
            count[0] += len(record.videos)
            count[1] += sum(frames for _, _, frames in record.videos)
    rows = [f"| {split} | {videos} | {frames} |" for split, (videos, frames) in counts.items()]
    return "\n".join(
        ["## Splits", "", "| split | videos | frames |", "| --- | --- | --- |", *sorted(rows), ""]
    )


def describe_columns(columns: Iterable[str]) -> str:
    """Make the list of columns, with the way to load them."""
    columns = list(columns)
    has_labels = "label" in columns or "labels" in columns
    labels = ", and labels with their times in seconds" if has_labels else ""
    lines = [f"- `{name}`: {COLUMNS[name]}" for name in columns]
    return "\n".join(
        [
            "## Columns", "",
            "The configuration `frames` has one row for each frame. The rows of a video follow "
            "each other in the order of time.", "", *lines, "",
            "The configuration `videos` has one row for each video: numbers of frames and flow "
            f"fields, frame rate, size, subsets{labels}.", "",
            "```python", "from datasets import load_dataset", "",
            'frames = load_dataset("path/of/this/folder", "frames", streaming=True)',
            'videos = load_dataset("path/of/this/folder", "videos")', "```", "",
        ]
    )  # fmt: skip


def describe_flow(store: Store) -> str:
    """Describe how flow was computed, and how its images are converted to pixels."""
    flow = store.recipe.flow
    assert flow is not None
    settings = {
        name: value
        for name, value in store.recipe.to_dict()["flow"].items()
        if name not in ("bound", "quantization", "tvl1", "step") and value not in ("", None)
    }
    if flow.tvl1 is not None:
        settings |= {f"TV-L1 {name}": value for name, value in flow.tvl1.to_dict().items()}
    return "\n".join(
        [
            "## Optical flow", "",
            f"- from frame t to frame t{flow.step:+d}; null where there is no such frame",
            f"- bound: {flow.bound:g} px; larger displacements are clipped",
            f"- quantization: `q = {flow.quantization}`, where v is a displacement in pixels",
            *(f"- {name}: {value}" for name, value in settings.items()), "",
            "128 means no motion. To convert a grey image to displacements in pixels:", "",
            "```python", "import numpy as np", "", f"BOUND = {flow.bound:g}", "",
            "def to_pixels(image):",
            "    q = np.asarray(image, np.float32)",
            "    return (np.maximum(q, 1) - 128) * BOUND / 127", "```", "",
        ]
    )  # fmt: skip
