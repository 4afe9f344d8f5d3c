"""Attention maps of snippets, of clips, and of two runs beside each other."""

import json
import re
from collections.abc import Callable

import numpy as np
import pytest

from flowkit.errors import UsageError
from flowkit.store import Store
from train.loop.checkpoint import write_tensors
from train.report.figures.attention import choose_phase, draw_attention, list_prefixes
from train.report.figures.attention_maps import compute_maps
from train.report.figures.drawing import NotApplicable, Source
from train.runs.phases import list_phases
from train.runs.run import Run
from train.tasks.backbones import describe_input
from train.tasks.networks import load_phase_network, make_network, select_weights
from train.tasks.samples import make_dataset

VIDEO, POINT = "video 09", (0.9, 0.2)  # an id of the tested videos
CLIPS = {
    "network__backbone": "p3d", "network__blocks": [2, 2, 1, 1], "data__clip": {"length": 8},
    "network__positions": ["res2_1", "res3_1"], "data__size": 24, "testing__controls": "[]",
}  # fmt: skip


@pytest.fixture
def make_run(begin) -> Callable[..., Run]:
    """``make_run(name, …)``: a run whose phases have random weights."""

    def work(name: str = "run", **changes: object) -> Run:
        run = begin(name, **{"testing__controls": "[]", **changes})
        for phase in list_phases(run.recipe):
            weights = select_weights(make_network(run.recipe, phase, phase.branch), phase)
            run.folder(phase.name).mkdir(parents=True)
            write_tensors(run.folder(phase.name) / "weights.pt", weights)
        return run

    return work


def compute_expected(run, store, phase_name, block, k=0):
    """Compute the map of a block for `VIDEO`."""
    phase = next(phase for phase in list_phases(run.recipe) if phase.name == phase_name)
    network = load_phase_network(run, phase, phase.stream)
    dataset = make_dataset(run.recipe, store, ("rgb", "flow"), "validate")
    index = int(np.flatnonzero(dataset.subset.rows == store.find(VIDEO))[0])
    kind, _, step = block.partition("/")
    blocks = {block: getattr(network, kind)[step]}
    inputs = describe_input(run.recipe, 1)
    return compute_maps(network, dataset[0, index], k, phase, blocks, inputs)[block]


def read_heat(axes):
    """Return the heat (H, W) that is drawn over a picture."""
    return np.asarray(axes.images[-1].get_array())


def test_a_clip_has_the_query_the_heaviest_frames_and_their_shares(make_run, store):
    run = make_run(**CLIPS)
    points = (POINT, (0.1, 0.6))
    source = Source(run=run, store=store, videos=(VIDEO,), points=points)
    (drawing,) = draw_attention(source)
    assert "after res3_1 (iter_1)" in drawing.caption
    axes = np.array(drawing.figure.axes).reshape(2, 5)  # frame, flow, two steps, and the bars
    attention = compute_expected(run, store, "iter_1", "to_rgb/res3_1")
    assert attention.query == (*attention.key[:1], 3, 3) == (2, 3, 3)
    for row, point in zip(axes, points, strict=True):
        weights = attention.read_weights(attention.find_query(point))
        shares = 100 * weights.sum(axis=(1, 2))
        assert [bar.get_height() for bar in row[-1].patches] == pytest.approx(shares.tolist())
        titles = [cell.get_title() for cell in row[2:4]]
        assert [int(title.partition(" %")[0]) for title in titles] == sorted(
            shares.round().astype(int).tolist(), reverse=True
        )
        assert sum("(query's)" in title for title in titles) == 1
        assert all(re.search(r": frames \d+–\d+", title) for title in titles)
        heaviest = int(shares.argmax())
        heat = read_heat(row[2])
        assert heat.shape == (24, 24) and heat.max() == pytest.approx(weights[heaviest].max())
        assert row[2].images[-1].get_clim()[1] == pytest.approx(weights.max())
    assert axes[0, 0].get_title() == "query: RGB, frame 11"  # the clip has the frames 5 to 12


def test_flow_that_attends_within_itself_over_eight_frames(make_run, store):
    """I3D's stem for 8 frames: 4 steps from pool2 on."""
    run = make_run(**{
        **CLIPS, "network__backbone": "i3d", "network__stem": 8, "network__blocks": [3, 4, 6, 3],
        "network__positions": ["res3_0"], "network__non_local": ["flow"], "iterations": 0,
    })  # fmt: skip
    (drawing,) = draw_attention(Source(run=run, store=store, videos=(VIDEO,), points=(POINT,)))
    assert "after res3_0 (flow)" in drawing.caption
    assert len(drawing.figure.axes) == 2 + 3 + 1  # three heaviest steps of four
    assert len(drawing.figure.axes[-1].patches) == 4


def test_the_phase_of_the_paper_or_another_one(make_run, store):
    run = make_run(iterations=3)
    assert choose_phase(run).name == "iter_1"  # Fig. 5 to 7 are of CMA_iter1-R
    (drawing,) = draw_attention(
        Source(run=run, store=store, phase="iter_3", videos=(VIDEO,), points=(POINT,))
    )
    axes = drawing.figure.axes
    assert "(iter_3)" in drawing.caption and len(axes) == 3
    expected = compute_expected(run, store, "iter_3", "to_rgb/res4_1", k=1)  # the middle snippet
    weights = expected.read_weights(expected.find_query(POINT))
    assert read_heat(axes[2]).max() == pytest.approx(weights.max())
    for name in ("rgb", "iter_4"):
        words = rf"--phase: expected a phase of .* \(iter_1, iter_2, iter_3\), got '{name}'"
        with pytest.raises(NotApplicable, match=words):
            draw_attention(Source(run=run, store=store, phase=name))


def test_runs_without_attention_have_no_figure(make_run, store):
    pyramid = {"taps": ["res3_1", "res4_1"]}
    for number, changes in enumerate(({}, {"network__pyramid": pyramid})):
        run = make_run(f"run {number}", iterations=0, **changes)
        with pytest.raises(NotApplicable, match="has cross-modality or non-local attention"):
            draw_attention(Source(run=run, store=store, phase="rgb"))
    with pytest.raises(NotApplicable, match="give their store with --store"):
        draw_attention(Source(run=make_run("cma")))


@pytest.mark.parametrize("clips", [False, True])
def test_two_runs_beside_each_other(make_run, store, clips):
    """Fig. 7: non-local blocks in RGB, and CMA."""
    same = CLIPS if clips else {}
    non_local = make_run("non_local", iterations=0, network__non_local=["rgb"], **same)
    cma = make_run("cma", seed=1, **same)
    chosen = {"store": store, "videos": (VIDEO,), "points": (POINT,)}
    (drawing,) = draw_attention(Source(run=non_local, against=cma, **chosen))
    assert "(non_local: rgb; cma: iter_1)" in drawing.caption
    step = "res3_1" if clips else "res4_1"
    blocks = ((non_local, "rgb", f"non_local_rgb/{step}"), (cma, "iter_1", f"to_rgb/{step}"))
    for number, (run, phase, block) in enumerate(blocks):
        attention = compute_expected(run, store, phase, block, k=0 if clips else 1)
        weights = attention.read_weights(attention.find_query(POINT))
        if clips:  # a row for each
            bars = drawing.figure.axes[5 * number + 4].patches
            assert [bar.get_height() / 100 for bar in bars] == pytest.approx(
                weights.sum(axis=(1, 2)).tolist()
            )
        else:
            cell = drawing.figure.axes[2 + number]
            assert cell.get_title() == ("non_local: non-local", "cma: CMA")[number]
            assert read_heat(cell).max() == pytest.approx(weights.max())


def test_two_runs_that_cannot_be_compared(make_run, store, tmp_path):
    run = make_run("run")
    other_classes = make_run("classes")
    facts = json.loads((other_classes.path / "run.json").read_text())
    (other_classes.path / "run.json").write_text(json.dumps({**facts, "classes": ["red", "blue"]}))
    others = [
        (make_run("plain", iterations=0), "--against: no network of .* has cross-modality"),
        (make_run("segments", data__num_segments=1),
         "sees other pictures of 'video 00' .num_segments: 2 → 1., so its points"),
        (make_run("clips", **CLIPS), "sees other pictures of 'video 00' .*clip"),
        (make_run("subset", subsets__validate="train"),
         "--against: this run validates on 'train', without the video 'video 0.'; compare"),
        (Run(other_classes.path), "the run .* 2 .red, blue .*; use a store of the run's dataset"),
    ]  # fmt: skip
    for other, words in others:
        with pytest.raises(NotApplicable, match=words) as raised:
            draw_attention(Source(run=run, store=store, against=other))
        assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="not in the subset"):
        draw_attention(Source(run=run, store=store, against=make_run("b"), videos=("video 01",)))


def test_a_store_without_flow_shows_what_it_has(make_run, make_store, tmp_path):
    ids = [f"video {number:02}" for number in range(12)]
    store = Store(make_store(ids, tmp_path / "rgb", streams=("rgb",), frames=9))
    run = make_run(iterations=0, network__non_local=["rgb"], streams=["rgb"])
    (drawing,) = draw_attention(Source(run=run, store=store, videos=(VIDEO,), points=(POINT,)))
    assert len(drawing.figure.axes) == 2
    assert drawing.figure.axes[0].get_title().startswith("RGB, frame ")


def test_runs_of_one_name_are_told_apart(make_run):
    run = make_run()
    assert list_prefixes([run]) == [""]
    assert list_prefixes([run, run]) == ["run (1): ", "run (2): "]
