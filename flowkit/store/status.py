"""Count what a store contains, and describe its recipe, for ``flowkit status``."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flowkit.path_text import printable_path
from flowkit.recipe import FeatureRecipe, FlowRecipe, Recipe
from flowkit.store.annotations import read_annotation_rows, read_split_records
from flowkit.store.failures import read_failures
from flowkit.store.format.header import read_header
from flowkit.store.format.locks import find_locked_parts, is_locked
from flowkit.store.format.schema import shard_folders
from flowkit.store.index_view import IndexView
from flowkit.streams import STREAMS


@dataclass(frozen=True, kw_only=True)
class Status:
    """The content and the state of a store in numbers."""

    path: str
    """Folder of the store."""
    dataset: str | None
    """Name of the dataset, if recorded."""
    recipe: dict[str, Any]
    """The recipe, as JSON values."""
    creator: str
    """Name and version of the program that created the store."""
    created: str
    """When the store was created, in UTC."""
    videos: int
    """Number of committed videos."""
    frames: int
    """Number of frames of all videos."""
    streams: dict[str, int]
    """Number of committed videos by stream."""
    subsets: dict[str, int]
    """Number of videos by subset."""
    splits: list[dict[str, Any]]
    """How `flowkit split` made the subsets; empty if it did not."""
    classes: int
    """Number of classes."""
    annotated: int | None
    """Number of annotated videos; None without annotations."""
    missing: int
    """Number of annotated videos that are not in the store."""
    shards: dict[str, int]
    """Number of committed shards by shard folder."""
    bytes: dict[str, int]
    """Size of the committed shards in bytes, by shard folder."""
    writing: list[str]
    """Shards that a process is writing now."""
    leftover: list[str]
    """Shards that a killed run left; the next run recovers their complete videos."""
    running: list[str]
    """The parts i/n that are being extracted now."""
    stale: int
    """Number of commit records that the index has not read; their videos are not counted."""
    failures: dict[str, int]
    """Number of failures by kind, most frequent first, without videos extracted since."""


def read_status(root: Path | str) -> Status:
    """Read the status of a store from its index and file names, without reading shards.

    Raises:
        FormatError: There is no store at ``root``.
    """
    import pyarrow.compute as pc

    root = Path(root)
    header = read_header(root)
    sizes: dict[str, list[int]] = {}
    writing: list[str] = []
    leftover: list[str] = []
    committed = set()
    for folder in shard_folders(root):
        for path in sorted((root / folder).iterdir()):
            if path.name.endswith(".arrow.part"):
                (writing if is_locked(path) else leftover).append(f"{folder}/{path.name}")
            elif path.suffix == ".arrow" and path.with_suffix(".json").exists():
                sizes.setdefault(folder, []).append(path.stat().st_size)
                committed.add(f"{folder}/{path.stem}")
    annotations = read_annotation_rows(root)
    annotated_ids = set(annotations["id"].to_pylist()) if annotations is not None else set()
    ids, indexed, with_flow = set[str](), set(), set[str]()
    counts: dict[str, Any] = {"frames": 0, "streams": {}, "subsets": {}, "classes": 0}
    if (root / "index.arrow").exists():
        index = IndexView(root)
        ids, indexed = set(index.batch.column("id").to_pylist()), set(index.shards)
        counts["frames"] = int(pc.sum(index.batch.column("frames")).as_py() or 0)
        for name in index.streams:
            counts["streams"][name] = len(ids) - index.batch.column(name).null_count
            if name == "flow":
                has_flow = index.batch.column(name).is_valid()
                with_flow = set(index.batch.column("id").filter(has_flow).to_pylist())
        counts["subsets"] = index.count_subsets()
        counts["classes"] = len(index.classes)
    return Status(
        path=printable_path(root),
        dataset=header.dataset,
        recipe=header.recipe.to_dict(),
        creator=header.creator,
        created=header.created,
        videos=len(ids),
        annotated=len(annotated_ids) if annotations is not None else None,
        missing=len(annotated_ids - ids),
        splits=[asdict(record) for record in read_split_records(annotations)],
        shards={folder: len(shard_sizes) for folder, shard_sizes in sizes.items()},
        bytes={folder: sum(shard_sizes) for folder, shard_sizes in sizes.items()},
        writing=writing,
        leftover=leftover,
        running=[f"{i}/{n}" for i, n in find_locked_parts(root)],
        stale=len(committed - indexed),
        failures=count_failures(root, ids, with_flow),
        **counts,
    )


def count_failures(root: Path, ids: set[str], with_flow: set[str]) -> dict[str, int]:
    """Count the failures by kind, most frequent first, without those of videos extracted since.

    Args:
        root: Folder of the store.
        ids: The videos of the store.
        with_flow: Those that have flow. A video whose flow could not be computed from its stored
            RGB is in the store.
    """
    stored = printable_path(root.absolute())
    kinds = Counter(
        failure.kind
        for id, failure in read_failures(root).items()
        if id not in (with_flow if failure.source == stored else ids)
    )
    return dict(kinds.most_common())


def describe_recipe(recipe: Recipe) -> str:
    """Describe the recipe of a store in one line."""
    resize = recipe.resize
    sizes = {
        "exact": f"{resize.width}×{resize.height}",
        "short-side": f"short side {resize.side}",
        "none": "original sizes",
    }
    if resize.square_pixels:
        sizes[resize.mode] += ", square pixels"
    parts = [sizes[resize.mode], "all frames" if recipe.fps is None else f"{recipe.fps:g} fps"]
    if recipe.rgb is not None:
        kept = ", or the bytes of frame folders" if recipe.rgb.keep else ""
        parts.append(f"rgb JPEG {recipe.rgb.quality} {recipe.rgb.subsampling}{kept}")
    if recipe.flow is not None:
        parts.append(describe_flow(recipe.flow))
    if recipe.audio is not None:
        parts.append(f"audio {recipe.audio.mels} mels at {recipe.audio.sample_rate} Hz")
    return " · ".join(parts)


def describe_features(features: FeatureRecipe) -> str:
    """Describe in one line how features were computed."""
    count = features.positions
    stream = STREAMS.get(features.source)
    if stream is not None and not stream.is_image:
        inputs = f"{count} {stream.unit}" if count else f"all {stream.unit}"
    else:
        clips = f"clips of {features.clip_length}" if features.clip_length > 1 else "frames"
        positions = f"{count} positions" if count else "every position"
        inputs = f"{clips} at {positions}, {features.crops}"
    if features.window_stride:
        inputs = (
            f"windows of {features.window} every {features.window_stride} frames, {features.crops}"
        )
    values = f"{features.dimension} values of {features.source} by {features.model}"
    return f"{values} ({features.weights[:8]}), {inputs}"


def describe_flow(flow: FlowRecipe) -> str:
    """Describe the solver, bound and JPEG quality of the flow in one line."""
    from flowkit.flow.params import PRESETS

    if flow.grey.startswith("imported:"):
        solver = f"imported from {flow.grey.removeprefix('imported:')}, solver unknown"
    elif flow.is_learned:
        solver = f"{flow.method} (weights {flow.weights[:8]})"
    else:
        presets = [name for name, params in PRESETS.items() if params == flow.tvl1]
        solver = f"TV-L1 {presets[0] if presets else 'with other parameters'}"
    source = " from the stored RGB" if flow.source == "stored rgb" else ""
    step = "" if flow.step == 1 else f"to frame t{flow.step:+}, "
    return f"flow {solver}{source}, {step}±{flow.bound:g} px, JPEG {flow.quality}"
