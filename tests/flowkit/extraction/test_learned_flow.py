"""Extraction with a learned method: recipe, stored bytes, refusals; the method is a tiny one."""

import json
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from flowkit.annotations import explicit_files
from flowkit.commands.extract import extract as extract_command
from flowkit.decode import read_video
from flowkit.errors import FlowError, FlowkitError, RecipeError
from flowkit.extraction import Options, RecipeOverrides, choose_recipe, extract
from flowkit.extraction.actors import uses_gpu
from flowkit.extraction.learned_flow import load_method
from flowkit.extraction.ray_cluster import choose_backend
from flowkit.extraction.stored_flow import extract_stored_flow, locate_stored_videos
from flowkit.extraction.worker_setup import WorkerSetup
from flowkit.flow import quantize
from flowkit.flow.learned.method import LearnedMethod
from flowkit.flow.learned.registry import METHODS
from flowkit.recipe import FlowRecipe, StoreRecipe
from flowkit.store import Store, read_header
from flowkit.store.format.header import create_or_open
from flowkit.store.format.jpeg import encode_grey

torch = pytest.importorskip("torch", reason="learned methods need PyTorch")
STREAMS = ("rgb", "flow")


def compute_blues(scale, frames0, frames1):
    """x is the blue of the first frame, y that of the second: only RGB has it."""
    blues = np.stack([frames0[..., 2], frames1[..., 2]], axis=-1)
    return (blues.astype(np.float32) - 128) * np.float32(scale)


BLUES = LearnedMethod(
    load=lambda weights, device: float(weights["scale"]),
    compute=compute_blues,
    weights_file="blues.pth",
    find_obstacle=lambda: None,
    multiple=8,
    min_side=24,
)


@pytest.fixture(autouse=True)
def blues(monkeypatch):
    monkeypatch.setitem(METHODS, "blues", BLUES)


@pytest.fixture
def make_weights(tmp_path):
    def make(scale: float = 0.1, name: str = "blues.pth") -> Path:
        torch.save({"scale": torch.tensor(scale)}, tmp_path / name)
        return tmp_path / name

    return make


def run(root, clips, weights, *, method="blues", streams=STREAMS, options=None, **overrides):
    """Extract as the command does."""
    changes = RecipeOverrides(size="36x20", method=method, flow_weights=weights, **overrides)
    recipe = choose_recipe(root, streams, changes)
    options = options or Options(workers=0, streams=streams)
    return extract(explicit_files(clips), root, recipe, replace(options, flow_weights=weights))


@pytest.mark.parametrize("step", [1, -1, 20])
def test_the_stored_bytes_are_the_method_of_rgb_frames(tmp_path, make_clip, make_weights, step):
    clip = make_clip(tmp_path / "a.mp4", frames=37)  # more than two chunks
    summary = run(tmp_path / "S", [clip], make_weights(), bound=8.0, step=step)
    pairs = 37 - abs(step)
    assert (summary.extracted, summary.frames, summary.pairs) == (1, 37, pairs)
    assert summary.backend == ("torch-cuda" if torch.cuda.is_available() else "torch-cpu")
    store = Store(tmp_path / "S")
    frames = np.stack(read_video(clip, store.recipe.resize))
    video = store["a.mp4"]
    first, second = (frames[np.array(video.flow_frames) + k] for k in (0, step))
    flow = quantize(compute_blues(float(np.float32(0.1)), first, second), 8.0)
    for field, t in zip(flow, video.flow_frames, strict=True):
        expected = tuple(encode_grey(field[..., axis], 95) for axis in (0, 1))
        assert video.flow_bytes(t) == expected, t
    assert video.num_flow == pairs and video.motion is not None


def test_the_store_records_method_and_digest(tmp_path, make_clip, make_weights):
    from models.weights.pretrained import digest_weights

    clip, weights = make_clip(tmp_path / "a.mp4", frames=3), make_weights(0.1)
    run(tmp_path / "S", [clip], weights)
    flow = json.loads((tmp_path / "S" / "store.json").read_text())["recipe"]["flow"]
    assert (flow["method"], flow["tvl1"], flow["grey"]) == ("blues", None, "none (RGB)")
    assert flow["weights"] == digest_weights({"scale": torch.tensor(0.1)})
    assert read_header(tmp_path / "S").recipe.flow.is_learned
    # The former weights, in another file and without --method, continue the store.
    torch.save({"module.scale": torch.tensor(0.1)}, tmp_path / "same.pth")
    other = make_clip(tmp_path / "b.mp4", frames=3, seed=1)
    summary = run(tmp_path / "S", [clip, other], tmp_path / "same.pth", method=None)
    assert (summary.extracted, summary.done_before) == (1, 1)


def test_other_weights_or_methods_are_refused_and_named(tmp_path, make_clip, make_weights):
    clip, weights = make_clip(tmp_path / "a.mp4", frames=3), make_weights(0.1)
    run(tmp_path / "S", [clip], weights)
    stored = read_header(tmp_path / "S").recipe.flow.weights
    before = sorted(path for path in (tmp_path / "S").rglob("*"))
    with pytest.raises(
        RecipeError, match=rf"other weights .*{stored} ≠ [0-9a-f]{{32}} of .*o\.pth"
    ):
        run(tmp_path / "S", [clip], make_weights(0.2, "o.pth"))
    with pytest.raises(RecipeError, match=r"flow\.method: blues ≠ tvl1.*another store"):
        run(tmp_path / "S", [clip], None, method="tvl1")
    with pytest.raises(RecipeError, match=r"flow\.bound: 20\.0 ≠ 5\.0"):
        run(tmp_path / "S", [clip], weights, bound=5.0)
    create_or_open(tmp_path / "T", StoreRecipe(flow=FlowRecipe()))
    with pytest.raises(RecipeError, match=r"flow\.method: tvl1 ≠ blues"):
        run(tmp_path / "T", [clip], weights)
    assert sorted(path for path in (tmp_path / "S").rglob("*")) == before


def test_a_changed_source_needs_the_weights_of_the_store(tmp_path, make_clip, make_weights):
    """With --update the flow is computed again, though --streams asks for RGB only."""
    clip, weights = make_clip(tmp_path / "a.mp4", frames=3), make_weights(0.1)
    run(tmp_path / "S", [clip], weights)
    make_clip(clip, frames=4, seed=5)
    options = Options(workers=0, streams=("rgb",), update=True)
    with pytest.raises(FlowError, match="holds other weights than the store's"):
        run(tmp_path / "S", [clip], make_weights(0.2, "o.pth"), method=None, streams=("rgb",),
            options=options)  # fmt: skip
    summary = run(tmp_path / "S", [clip], weights, method=None, streams=("rgb",), options=options)
    assert (summary.extracted, summary.pairs) == (1, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "blues", "--preset", "fast"], "--preset fast sets parameters of TV-L1"),
        (["--method", "blues", "--backend", "torch-cuda"],
         "--backend torch-cuda: backends are those of TV-L1; expected no --backend"),
        (["--method", "bluse", "--streams", "rgb"], "--method is for flow, and --streams does"),
        (["--streams", "rgb", "--flow-weights", "W"], "--flow-weights is for flow, and --streams"),
        (["--flow-weights", "W"], "--flow-weights is for learned methods; expected --method"),
        (["--method", "bluse"], "unknown method of optical flow 'bluse'; did you mean 'blues'"),
        (["--method", "blues", "--size", "100x16"],
         "frames of 100x16 pixels are too small for blues, which needs at least 17 on each side"),
        (["--method", "blues", "--short-side", "16"], "frames of 16x16 pixels are too small"),
        (["--method", "blues", "--flow-weights", "absent.pth"], "absent.pth of blues does not ex"),
    ],
)  # fmt: skip
def test_refusals_leave_no_store(arguments, message, tmp_path, make_clip, make_weights):
    clip, weights = make_clip(tmp_path / "a.mp4", frames=2), make_weights()
    if "--flow-weights" not in arguments:
        arguments = [*arguments, "--flow-weights", str(weights)]
    command = [str(clip), "--store", str(tmp_path / "S"), "--workers", "0", *arguments]
    result = CliRunner().invoke(extract_command, command)
    assert isinstance(result.exception, FlowkitError)
    assert message in str(result.exception)
    assert not (tmp_path / "S").exists()


def test_a_video_that_is_too_small_fails_alone(tmp_path, make_clip, make_weights):
    clips = [make_clip(tmp_path / f"{n}.mp4", width=n, height=n, frames=3) for n in (16, 32)]
    weights = make_weights()
    overrides = RecipeOverrides(no_resize=True, method="blues", flow_weights=weights)
    recipe = choose_recipe(tmp_path / "S", STREAMS, overrides)
    options = Options(workers=0, flow_weights=weights)
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert summary.extracted == 1
    (failure,) = summary.failed
    assert failure.kind == "bad-size"
    assert "16.mp4: frames of 16x16 pixels are too small for blues" in failure.reason


def test_api_and_status_name_the_method(tmp_path, make_clip, make_weights):
    import flowkit
    from flowkit.store.status import describe_flow

    clip = make_clip(tmp_path / "a.mp4", frames=2)
    flowkit.extract([clip], tmp_path / "S", method="blues", flow_weights=make_weights(),
                    size=(36, 20), workers=0, progress=False)  # fmt: skip
    flow = Store(tmp_path / "S").recipe.flow
    assert describe_flow(flow) == f"flow blues (weights {flow.weights[:8]}), ±20 px, JPEG 95"


def test_a_dataset_with_a_learned_method_can_be_extracted_with_tvl1(tmp_path):
    base = StoreRecipe(
        flow=FlowRecipe(tvl1=None, method="blues", weights="0" * 32, grey="none (RGB)")
    )
    recipe = choose_recipe(tmp_path / "S", STREAMS, RecipeOverrides(method="tvl1"), base)
    assert recipe.flow == FlowRecipe()


def test_the_heartbeat_grows_while_a_chunk_is_computed(
    tmp_path, make_clip, make_weights, monkeypatch
):
    """A network may need minutes for a chunk on a CPU; the driver must not take that for a hang."""
    beats, workers = [], []
    make_worker = WorkerSetup.make_worker

    def keep(self, *arguments):
        workers.append(make_worker(self, *arguments))
        return workers[-1]

    def compute(scale, frames0, frames1):
        beats.append(workers[-1].heartbeat)
        return compute_blues(scale, frames0, frames1)

    monkeypatch.setattr(WorkerSetup, "make_worker", keep)
    monkeypatch.setitem(METHODS, "blues", replace(BLUES, compute=compute))
    run(tmp_path / "S", [make_clip(tmp_path / "a.mp4", frames=14)], make_weights(0.3))
    assert len(beats) == 13 and all(b > a for a, b in pairwise(beats))


def test_nodes_load_the_network_once_and_find_its_weights(tmp_path, make_weights):
    weights = make_weights()
    overrides = RecipeOverrides(method="blues", flow_weights=weights)
    recipe = choose_recipe(tmp_path / "S", STREAMS, overrides)
    setup = WorkerSetup(root=tmp_path, recipe=recipe, backend="torch-cpu", flow_weights=weights)
    setup.check_node()
    assert load_method(setup) is load_method(replace(setup, min_frames=3))
    gone = replace(setup, flow_weights=tmp_path / "gone.pth")
    with pytest.raises(FlowError, match=r"gone\.pth"):
        gone.check_node()


def test_learned_flow_on_a_gpu_gets_the_workers_of_a_gpu(tmp_path):
    assert uses_gpu("torch-cuda") and not uses_gpu("torch-cpu")
    nodes = [{"Alive": True, "Resources": {"CPU": 8, "GPU": 2}}]
    recipe = StoreRecipe(flow=FlowRecipe(tvl1=None, method="blues", weights="0" * 32))
    size = WorkerSetup(root=tmp_path, recipe=recipe, backend="torch-cuda").choose_size(
        nodes, None, 100
    )
    assert (size.actors, size.lanes, size.gpus) == (2, 4, 1)


class Cluster:
    """As much of Ray as the choice of a backend asks for; the GPU node answers ``reason``."""

    def __init__(self, gpus, reason):
        self._gpus, self._reason = gpus, reason
        self.asked = []

    def cluster_resources(self):
        return {"GPU": self._gpus}

    def remote(self, *arguments, **options):
        return (lambda function: self) if options else self.asked.append(arguments)

    def get(self, reference, timeout):
        return self._reason


@pytest.mark.parametrize(
    ("gpus", "reason", "backend", "lines"),
    [(0, None, "torch-cpu", 0), (1, None, "torch-cuda", 0), (1, "no GPU", "torch-cpu", 1)],
)
def test_a_cluster_chooses_the_device_of_its_nodes(gpus, reason, backend, lines):
    written, cluster = [], Cluster(gpus, reason)
    assert choose_backend(cluster, written.append, "torch-cuda", "torch-cpu") == backend
    assert len(written) == lines
    assert cluster.asked == ([("torch-cuda",)] if gpus else [])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
def test_raft_on_ray_stores_the_bytes_of_this_process(tmp_path, make_clip, contents):
    from flowkit.flow.learned.raft import build

    torch.save(build("raft_small").state_dict(), tmp_path / "raft.pth")
    clips = [make_clip(tmp_path / f"{n}.mp4", width=128, height=128, frames=n) for n in (2, 3)]
    stores = []
    for workers in (0, 1):
        root = tmp_path / f"S{workers}"
        overrides = RecipeOverrides(
            no_resize=True, method="raft_small", flow_weights=tmp_path / "raft.pth"
        )
        options = Options(workers=workers, flow_weights=tmp_path / "raft.pth")
        recipe = choose_recipe(root, STREAMS, overrides)
        assert extract(explicit_files(clips), root, recipe, options).pairs == 3
        stores.append(contents(root))
    assert stores[0] == stores[1]


def test_learned_flow_of_stored_rgb(tmp_path, make_store, make_weights):
    root, weights = make_store(streams=("rgb",), width=48, height=32), make_weights()
    changes = RecipeOverrides(method="blues", flow_weights=weights, from_store=True)
    recipe = choose_recipe(root, ("flow",), changes)
    options = Options(workers=0, streams=("flow",), flow_weights=weights)
    summary = extract_stored_flow(locate_stored_videos(root), root, recipe, options)
    assert (summary.extracted, summary.failed) == (3, [])
    flow = read_header(root).recipe.flow
    assert (flow.method, flow.source, flow.grey) == ("blues", "stored rgb", "none (RGB)")
    video = Store(root)["a"]
    frames = video.frames()
    expected = quantize(compute_blues(float(np.float32(0.1)), frames[:-1], frames[1:]), 20.0)
    assert video.flow_bytes(2)[0] == encode_grey(expected[2, ..., 0], 95)
