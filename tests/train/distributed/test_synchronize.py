"""Processes that train together: BN over all of them, and the same weights as one."""

import os

import pytest
import torch
import torch.distributed as dist
from torch import nn

from flowkit.store import Store
from models.weights.pretrained import read_weights
from tests.train.distributed.conftest import free_port
from train.distributed.parallel import Process, sum_over_processes, wrap
from train.distributed.synchronize import AllReduceBatchNorm, synchronize_batch_norms
from train.loop.context import PhaseContext
from train.loop.epochs import train_phase
from train.loop.losses import LOSSES
from train.loop.optimizers import make_progress
from train.loop.session import train
from train.loop.validation import make_validation
from train.runs.journal import read_lines
from train.runs.phases import list_phases
from train.runs.run import Run, Settings, create_run
from train.tasks.networks import make_network, set_train_mode
from train.tasks.registry import find_task

SETTINGS = Settings(threads=1, workers=0)


def inputs():
    torch.manual_seed(3)
    return torch.randn(7, 5, 6, 4, dtype=torch.float64) * 3 + 1


def network():
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Conv2d(5, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.BatchNorm2d(6))
    return layers.double()


def normalize_a_share(rank, world, path):
    layers = synchronize_batch_norms(network(), torch.device("cpu"))
    shares = [slice(0, 2), slice(2, 7)]  # of different sizes
    x = inputs()[shares[rank]].requires_grad_()
    for _ in range(2):
        y = layers(x)
    (y.square() * torch.arange(6.0).view(1, 6, 1, 1)).sum().backward()
    for parameter in layers.parameters():
        dist.all_reduce(parameter.grad)
    gradients = {name: p.grad for name, p in layers.named_parameters()}
    torch.save((y, x.grad, layers.state_dict(), gradients), f"{path}/{rank}.pt")


def test_batch_norm_over_processes_is_that_of_one(together, tmp_path):
    layers, x = network(), inputs().requires_grad_()
    for _ in range(2):
        y = layers(x)
    (y.square() * torch.arange(6.0).view(1, 6, 1, 1)).sum().backward()
    together(normalize_a_share, str(tmp_path))
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), y)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), x.grad)
    for part in parts:
        assert part[2].keys() == layers.state_dict().keys()
        for name, tensor in layers.state_dict().items():
            torch.testing.assert_close(part[2][name], tensor, msg=name)
        for name, parameter in layers.named_parameters():
            torch.testing.assert_close(part[3][name], parameter.grad, msg=name)


def normalize_single_values(rank, world):
    layer = synchronize_batch_norms(nn.Sequential(nn.BatchNorm2d(3)), torch.device("cpu"))
    layer(torch.randn(1, 3, 1, 1))  # two values per channel in both processes
    with pytest.raises(ValueError, match="more than 1 value per channel in training"):
        layer(torch.randn(1 - rank, 3, 1, 1))
    layer.eval()(torch.randn(1, 3, 1, 1))
    assert all(value.isfinite().all() for value in layer.state_dict().values())


def test_one_value_per_channel_is_refused(together):
    together(normalize_single_values)


@pytest.mark.parametrize(
    "options", [{"affine": False}, {"track_running_stats": False}, {"momentum": None}]
)
def test_layers_that_cannot_be_synchronized_are_refused(options):
    layers = nn.Sequential(nn.BatchNorm2d(3, **options))
    with pytest.raises(ValueError, match="with affine, track_running_stats and a momentum, got"):
        synchronize_batch_norms(layers, torch.device("cpu"))


def take_steps(recipe, process, steps=20):
    """iter_1 in float64, where both directions of attention are awake, on made-up batches."""
    phase = {phase.name: phase for phase in list_phases(recipe)}["iter_1"]
    network = make_network(recipe, phase, "rgb").double()
    torch.manual_seed(2)
    for block in (*network.to_rgb.values(), *network.to_flow.values()):
        torch.nn.init.normal_(block.norm.weight, 0, 0.1)
    set_train_mode(network, phase)
    outer, network = wrap(network, torch.device("cpu"), process, False)
    progress = make_progress(network, network, phase, SETTINGS)
    for step in range(steps):
        torch.manual_seed(step)
        rgb, flow = torch.randn(4, 3, 40, 40).double(), torch.randn(4, 10, 40, 40).double()
        share = slice(process.rank, None, process.world)
        scores = outer(rgb=rgb[share], flow=flow[share])["rgb"]
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor([0, 1, 1, 0])[share])
        progress.optimizer.zero_grad()
        loss.backward()
        progress.optimizer.step()
    return network.state_dict()


def take_steps_together(rank, world, recipe, path):
    state = take_steps(recipe, Process(rank=rank, world=world))
    torch.save(state, f"{path}/{rank}.pt")


def test_two_processes_are_one_after_twenty_steps(together, tiny, tmp_path):
    """Weights and BN statistics, at the recipe's rate. In float64: in float32 the two round
    differently, and a network that learns fast multiplies differences by ten in a step."""
    recipe = tiny(network__dropout=0)
    one = take_steps(recipe, Process())
    together(take_steps_together, recipe, str(tmp_path))
    for rank in range(2):
        two = torch.load(tmp_path / f"{rank}.pt")
        assert two.keys() == one.keys()
        for name in one:
            torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-4, msg=name)
    fresh = make_network(recipe, list_phases(recipe)[2], "rgb").double().state_dict()
    for name in ("rgb.conv1.weight", "rgb.layer4.1.bn2.running_var", "to_rgb.res3_1.out.weight"):
        assert (one[name] - fresh[name]).abs().max() > 0.01, name


def train_together(rank, world, run, store):
    run, store = Run(run), Store(store)
    for phase in list_phases(run.recipe):
        assert train_phase(run, phase, store, SETTINGS, Process(rank=rank, world=world))
        dist.barrier()  # the first process writes what the next phase starts from
    total = sum_over_processes([rank + 1.0], Process(rank=rank, world=world))
    assert total == [3.0]


def test_phases_are_trained_and_validated_together_as_alone(together, tiny, make_store, tmp_path):
    ids = [f"video {number:02}" for number in range(14)]  # nine to train, five to validate
    store = Store(make_store(ids, tmp_path / "odd", frames=9))
    changes = {"network__dropout": 0, "training__rate": 1e-4, "testing__controls": "[]"}
    one, two = (create_run(tmp_path / name, tiny(**changes), store) for name in ("one", "two"))
    assert train(one, store, SETTINGS, lambda text: None)
    together(train_together, str(two.path), str(store.path))
    assert two.is_finished()
    for phase in list_phases(one.recipe):
        a, b = (read_weights(run.folder(phase.name) / "weights.pt") for run in (one, two))
        assert a.keys() == b.keys()
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-3, msg=name)
        # An odd number of videos: padding the second share with one of them would show.
        a, b = (read_lines(run.folder(phase.name) / "epochs.jsonl") for run in (one, two))
        for alone, shared in zip(a, b, strict=True):
            for key in ("loss", "train_top1", "top1", "val_loss"):
                assert shared[key] == pytest.approx(alone[key], abs=1e-3), key


# --- networks that see frames together, and many labels ------------------------------------------


PYRAMID = {
    "iterations": 0,
    "testing__controls": "[]",
    "labels": "many",
    "network__dropout": 0,
    "network__pyramid": {
        "taps": ["res3_1", "res4_1"],
        "interactive": 0.02,
        "attention": 0.5,
        "moves_features": True,
    },
}


def attend_steps(recipe, process, steps=3):
    """Gradients of each step in float64, on made-up batches, and the weights in the end."""
    [phase] = [phase for phase in list_phases(recipe) if phase.name == "rgb"]
    inner = make_network(recipe, phase, "rgb").double()
    set_train_mode(inner, phase)
    outer, inner = wrap(inner, torch.device("cpu"), process, False)
    progress = make_progress(inner, inner, phase, SETTINGS)
    found = {}
    for step in range(steps):
        torch.manual_seed(step)
        videos = torch.randn(4, 3, 3, 40, 40).double()
        labels = torch.randint(0, 2, (4, 2)).double()
        share = slice(process.rank, None, process.world)
        given = outer(rgb=videos[share])
        loss = LOSSES["many"](given["rgb"], labels[share])
        loss, parts = find_task(recipe).add_losses(loss, given)
        progress.optimizer.zero_grad()
        loss.backward()
        trained = ((n, p.grad) for n, p in inner.named_parameters() if p.requires_grad)
        found.update({f"{step} {name}": gradient.clone() for name, gradient in trained})
        for name, part in parts.items():
            mean = sum_over_processes([float(part)], process)[0] / process.world
            found[f"{step} {name}"] = torch.tensor(mean)
        progress.optimizer.step()
    return found | inner.state_dict()


def validate_together(run, store, process):
    """What validation says of a network that was trained by nobody."""
    run, store = Run(run), Store(store)
    phase = list_phases(run.recipe)[0]
    network = make_network(run.recipe, phase, phase.branch)
    context = PhaseContext(
        run=run, phase=phase, recipe=run.recipe, store=store, settings=SETTINGS, process=process,
        should_stop=lambda: False, log=print,
    )  # fmt: skip
    return make_validation(context, network)()


def normalize_coarsely(rank, world):
    """BN of all processes in bfloat16; the statistics, which are float32."""
    torch.manual_seed(6)
    x = (torch.randn(4, 6, 5, 5) * 3 + 100).bfloat16()
    layer = synchronize_batch_norms(nn.Sequential(nn.BatchNorm2d(6)), torch.device("cpu"))
    y = layer(x[rank::world])
    return y, layer[0].running_mean, layer[0].running_var


def attend_together(rank, world, recipe, run, store, path):
    process = Process(rank=rank, world=world)
    steps = attend_steps(recipe, process)
    validation = validate_together(run, store, process)
    torch.save((steps, validation, normalize_coarsely(rank, world)), f"{path}/{rank}.pt")


def test_two_processes_attend_validate_and_round_as_one(together, tiny, make_store, tmp_path):
    ids = [f"video {number:02}" for number in range(20)]  # seven to validate
    store = Store(make_store(ids, tmp_path / "odd", frames=9))
    run = create_run(tmp_path / "run", tiny(**PYRAMID), store)
    recipe = tiny(**PYRAMID, data__size=40, data__num_segments=3)
    steps, validation = (
        attend_steps(recipe, Process()),
        validate_together(run.path, store.path, Process()),
    )
    arguments = (recipe, str(run.path), str(store.path), str(tmp_path))
    together(attend_together, *arguments)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert {"0 interactive", "2 attention", "1 rgb.attention.scores.0.weight"} <= set(steps)
    for shared, said, _ in parts:
        assert shared.keys() == steps.keys()
        for name, tensor in steps.items():
            torch.testing.assert_close(shared[name], tensor, rtol=1e-6, atol=1e-6, msg=name)
        assert said == pytest.approx(validation, abs=1e-6)
    assert 0 < validation["mAP"] < 1
    torch.manual_seed(6)
    x = (torch.randn(4, 6, 5, 5) * 3 + 100).bfloat16()
    layer = nn.BatchNorm2d(6)
    y = layer(x)
    for rank, (_, _, (normal, mean, variance)) in enumerate(parts):
        assert normal.dtype == y.dtype
        torch.testing.assert_close(normal, y[rank::2], rtol=2e-2, atol=2e-2)
        torch.testing.assert_close(mean, layer.running_mean, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(variance, layer.running_var, rtol=1e-3, atol=1e-3)


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="expected 2 dimensions or more, got 1"):
        AllReduceBatchNorm(3)(torch.zeros(3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
def test_it_agrees_with_torchs_own_on_a_gpu():
    """SyncBatchNorm of one process equals its batch's statistics, as ours does."""
    if not dist.is_initialized():
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()))
        dist.init_process_group("nccl", rank=0, world_size=1)
    x = torch.randn(4, 6, 5, 5, device="cuda")
    theirs = nn.SyncBatchNorm(6).cuda()
    ours = AllReduceBatchNorm(6).cuda()
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
