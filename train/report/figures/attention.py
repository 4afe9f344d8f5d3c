"""Draw attention maps with arrows: Fig. 5, 6 and 7 of Chi et al. 2019.

For a few videos, the figure shows the RGB frame, the colour-coded flow, and the attention map of
the last attention block for each query point; in the paper, the last block of res4 of CMA_iter1-R.
If the network has CMA (cross-modality attention) and non-local blocks, both are shown. Arrows lead
from the query to the positions of highest weight; the arrows of lower weights are fainter.

Fig. 7 shows the maps of two networks beside each other for the same query points, one with
non-local blocks in RGB and one with CMA: two runs, of which the second is `Source.against`.

A network on clips attends over the frames of the clip as well. The query is then a point of one
frame, and each query has a row of its own: its frame, the frames with the highest weights, and the
share of the weight that falls on each step of the features (attention_maps.py explains steps).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flowkit.datasets.sampling import make_generator
from flowkit.datasets.subsets import find_rows
from flowkit.datasets.video_dataset import VideoDataset
from flowkit.errors import FlowkitError, UsageError
from flowkit.store import Store
from flowkit.streams import StreamName
from models.networks.two_stream import TwoStream
from train.recipe.recipe import ImageRecipe
from train.report.figures.attention_maps import AttentionMap, compute_maps
from train.report.figures.attention_pictures import VideoPictures, draw_clips, draw_snippets
from train.report.figures.drawing import Drawing, NotApplicable, Source
from train.runs.phases import Phase, list_phases
from train.runs.run import Run, describe_changes
from train.tasks.backbones import describe_input
from train.tasks.networks import get_image_recipe, load_phase_network
from train.tasks.samples import list_network_streams, make_dataset

VIDEOS = 4
"""Number of videos, if none are named."""
KINDS = "cross-modality or non-local attention"


@dataclass(frozen=True, kw_only=True)
class AskedNetwork:
    """A network whose attention is drawn."""

    run: Run
    """Its run."""
    phase: Phase
    """The phase that trained it."""
    network: TwoStream
    """The network."""
    blocks: dict[str, Any]
    """The last block of each kind, by kind: ``CMA`` or ``non-local``."""
    steps: tuple[str, ...]
    """The steps of the backbone after which these blocks are."""

    @property
    def recipe(self) -> ImageRecipe:
        """Return the recipe of the phase's split."""
        return get_image_recipe(self.run).for_split(self.phase.split)


def draw_attention(source: Source) -> list[Drawing]:
    """Draw attention maps: a row for each video, or for each query of a video of clips.

    Args:
        source: The run, its store, the videos and query points to show, and the phase; a second
            run to show beside it.

    Returns:
        A figure, in a list.

    Raises:
        NotApplicable: There is no store; a run or the named phase has no attention; or the second
            run sees other pictures.
        UsageError: A named video is not one that the run validates on.
        RunError: The phase is not finished.
    """
    phase = choose_phase(source.run, source.phase)
    if source.store is None:
        raise NotApplicable("it shows frames; give their store with --store")
    networks = [open_network(source.run, phase)]
    if source.against is not None:
        networks.append(open_second_network(source, source.against))
    videos = collect_pictures(source, source.store, networks)
    steps = " and ".join(dict.fromkeys(step for network in networks for step in network.steps))
    prefixes = list_prefixes([network.run for network in networks])
    pairs = zip(prefixes, networks, strict=True)
    names = "; ".join(f"{prefix}{network.phase.name}" for prefix, network in pairs)
    has_clips = networks[0].recipe.data.clip is not None
    figure, words = (draw_clips if has_clips else draw_snippets)(videos, source.points)
    caption = f"Attention of the last block, after {steps} ({names}): {words}"
    return [Drawing(name="attention", caption=caption, figure=figure)]


def list_attention_phases(run: Run) -> list[Phase]:
    """List the phases of a run whose network has attention blocks, in the order of training."""
    recipe = run.recipe
    if not isinstance(recipe, ImageRecipe) or recipe.network.pyramid is not None:
        return []
    return [
        phase
        for phase in list_phases(recipe)
        if not phase.uniform and (phase.cma or phase.branch in recipe.network.non_local)
    ]


def choose_phase(run: Run, name: str | None = None) -> Phase:
    """Choose the phase whose attention is drawn.

    Args:
        run: The run.
        name: Name of the phase. Default: that of the paper's figures, the first one that trains RGB
            with CMA; or else the first that trains RGB with non-local blocks; or else the first.

    Returns:
        The phase.

    Raises:
        NotApplicable: No phase of the run has attention, or none that has is named so.
    """
    phases = list_attention_phases(run)
    if not phases:
        raise NotApplicable(f"no network of {run.path} has {KINDS}")
    if name is None:
        crossing = [p for p in phases if p.cma and p.branch == "rgb"]
        return (crossing or [p for p in phases if p.branch == "rgb"] or phases)[0]
    matches = [phase for phase in phases if phase.name == name]
    if not matches:
        others = ", ".join(phase.name for phase in phases)
        raise NotApplicable(
            f"--phase: expected a phase of {run.path} with {KINDS} ({others}), got {name!r}"
        )
    return matches[0]


def open_network(run: Run, phase: Phase) -> AskedNetwork:
    """Load the network of a phase, and choose the last block of each kind in its branch.

    Raises:
        RunError: The phase is not finished.
    """
    network, branch = load_phase_network(run, phase, phase.stream), phase.branch
    kinds = {"CMA": getattr(network, f"to_{branch}"),
             "non-local": getattr(network, f"non_local_{branch}")}  # fmt: skip
    last = {kind: list(blocks.items())[-1] for kind, blocks in kinds.items() if len(blocks)}
    return AskedNetwork(
        run=run,
        phase=phase,
        network=network,
        blocks={kind: block for kind, (_, block) in last.items()},
        steps=tuple(step for step, _ in last.values()),
    )


def open_second_network(source: Source, run: Run) -> AskedNetwork:
    """Load the network of the run that is shown beside another one.

    Args:
        source: The store, and the phase of the first run, which is used if this run has it too.
        run: The second run.

    Raises:
        NotApplicable: The run has no attention, or does not fit the store.
        RunError: The phase is not finished.
    """
    assert source.store is not None
    names = [phase.name for phase in list_attention_phases(run)]
    try:
        run.check_store(source.store)
        phase = choose_phase(run, source.phase if source.phase in names else None)
    except FlowkitError as error:
        raise NotApplicable(f"--against: {error}") from error
    return open_network(run, phase)


def collect_pictures(
    source: Source, store: Store, networks: list[AskedNetwork]
) -> list[VideoPictures]:
    """Compute what is drawn of each video.

    Args:
        source: The videos to show.
        store: The store.
        networks: One or two networks.

    Raises:
        NotApplicable: The second network validates on other videos, or sees other pictures of them.
        UsageError: A named video is not one that the first network validates on.
    """
    datasets = open_datasets(store, networks)
    video_rows = datasets[0].subset.rows.tolist()
    prefixes = list_prefixes([asked.run for asked in networks])
    videos = []
    for row in (video_rows[index] for index in choose_videos(source, video_rows)):
        samples = [read_sample(dataset, row) for dataset in datasets]
        check_pictures(samples, networks, store.index.id(row))
        times = list_sample_times(datasets[0], row)
        k = len(times) // 2
        maps: dict[str, AttentionMap] = {}
        for prefix, asked, sample in zip(prefixes, networks, samples, strict=True):
            inputs = describe_input(asked.recipe, 1)
            found = compute_maps(asked.network, sample, k, asked.phase, asked.blocks, inputs)
            maps |= {f"{prefix}{kind}": attention for kind, attention in found.items()}
        pictures = {stream: sample[stream][k] for stream in datasets[0].subset.streams}
        id, bound = store.index.id(row), store.bound
        videos.append(
            VideoPictures(id=id, pictures=pictures, times=times[k], maps=maps, bound=bound)
        )
    return videos


def open_datasets(store: Store, networks: list[AskedNetwork]) -> list[VideoDataset]:
    """Open the validation videos of each network, with RGB and flow where the store has both."""
    needed = {stream for asked in networks for stream in list_network_streams(asked.phase)}
    rows = find_rows(store, networks[0].recipe.subsets.validate).tolist()
    names: tuple[StreamName, ...] = ("rgb", "flow")
    shown = tuple(
        stream
        for stream in names
        if stream in needed or all(store.index.count(stream, row) for row in rows)
    )
    return [make_dataset(asked.recipe, store, shown, "validate") for asked in networks]


def list_sample_times(dataset: VideoDataset, row: int) -> npt.NDArray[np.int64]:
    """Return the times (K, T) of the images that a dataset reads of a video (snippets: T = 1)."""
    times: npt.NDArray[np.int64]
    times, _ = dataset.sample_times(row, make_generator(dataset.seed, 0, row))
    return times


def read_sample(dataset: VideoDataset, row: int) -> dict[str, torch.Tensor]:
    """Read the sample of a video by its row in the store.

    Raises:
        NotApplicable: The dataset does not have the video.
    """
    (indices,) = np.nonzero(dataset.subset.rows == row)
    if not len(indices):
        raise NotApplicable(
            f"--against: this run validates on {dataset.subset.name!r}, without the video "
            f"{dataset.subset.store.index.id(row)!r}; compare runs that validate on the same "
            "videos, or name one that both have (--video)"
        )
    return dataset[0, int(indices[0])]


def check_pictures(
    samples: list[dict[str, torch.Tensor]], networks: list[AskedNetwork], id: str
) -> None:
    """Check that all networks see the same pictures of a video, so that points are the same.

    Raises:
        NotApplicable: They do not.
    """
    first, *others = samples
    for asked, other in zip(networks[1:], others, strict=True):
        streams = [stream for stream in ("rgb", "flow") if stream in first]
        same = [first[s].shape[0] == other[s].shape[0] for s in streams]
        # Stacks of flow of other lengths begin with the same field, x and y.
        same += [torch.equal(first[s][:, :2], other[s][:, :2]) for s in streams if all(same)]
        if all(same):
            continue
        # Nothing but the data settings decides which pictures of a video a run validates on.
        ours, theirs = (asdict(network.recipe.data) for network in (networks[0], asked))
        changed = describe_changes(ours, theirs)
        raise NotApplicable(
            f"--against: {asked.run.path} sees other pictures of {id!r} ({changed}), so "
            "its points would not be the same; compare runs with the same segments and crops"
        )


def list_prefixes(runs: list[Run]) -> list[str]:
    """List what the titles of the maps of each run begin with: nothing if there is only one."""
    if len(runs) == 1:
        return [""]
    names = [run.path.name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    return [f"{name}: " for name in names]


def choose_videos(source: Source, rows: list[int]) -> list[int]:
    """Choose the videos of a figure: those that are named, or else a few evenly spaced ones.

    Args:
        source: The store, and the ids of named videos.
        rows: Rows of the dataset's videos in the index of the store.

    Returns:
        Indices of the videos in the dataset.

    Raises:
        UsageError: If a named video is not in the dataset.
    """
    assert source.store is not None
    if source.videos:
        named_rows = [source.store.find(id) for id in source.videos]
        absent = [id for id, row in zip(source.videos, named_rows, strict=True) if row not in rows]
        if absent:
            raise UsageError(f"{', '.join(absent)}: not in the subset that the run validates on")
        return [rows.index(row) for row in named_rows if row is not None]
    evenly_spaced = np.linspace(0, len(rows) - 1, min(VIDEOS, len(rows)))
    return sorted({int(index) for index in evenly_spaced})
