"""Training: what it learns, that it can be stopped anywhere, and what goes wrong."""

import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch

from flowkit.errors import UsageError
from flowkit.store import Store, read_annotations, rebuild_index, write_annotations
from models.weights.pretrained import read_weights
from train.distributed.parallel import Process
from train.loop.checkpoint import read_tensors, write_tensors
from train.loop.epochs import PhaseContext, take_step, train_phase
from train.loop.optimizers import make_progress
from train.loop.session import StopCondition, train
from train.recipe.recipe import Training
from train.runs.phases import list_phases
from train.runs.run import Run, RunError, Settings
from train.tasks.networks import make_network, select_weights, set_train_mode, start_network
from train.tasks.samples import make_dataset, make_loader

SETTINGS = Settings(threads=1, workers=0)
ONE = Process()


def silent(text):
    pass


def weights_of(run):
    return {
        (phase.name, name): tensor
        for phase in list_phases(run.recipe)
        for name, tensor in read_weights(run.folder(phase.name) / "weights.pt").items()
    }


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def lines(run, phase, kind):
    text = (run.folder(phase) / f"{kind}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_has_all_its_phases_and_says_what_it_did(begin, store):
    run, said = begin(), []
    assert not run.is_finished()
    assert train(run, store, SETTINGS, said.append)
    assert run.is_finished()
    for phase in list_phases(run.recipe):
        steps, epochs = lines(run, phase.name, "steps"), lines(run, phase.name, "epochs")
        assert [line["step"] for line in steps] == [1, 2, 3, 4]  # 8 videos, 2 epochs, batch 4
        assert [line["epoch"] for line in epochs] == [1, 2]
        assert all(math.isfinite(line["loss"]) for line in steps)
        mean = sum(line["loss"] for line in steps[:2]) / 2
        assert epochs[0]["loss"] == pytest.approx(mean)
        assert not (run.folder(phase.name) / "checkpoint.pt").exists()
        assert list((run.path / "tensorboard" / phase.name).iterdir())
    assert any("iter_1: epoch 2/2" in line for line in said)
    assert train(run, store, SETTINGS, said.append)
    assert "is finished" in said[-1]


def test_steps_on_one_batch_learn_it(begin, store):
    run = begin(network__width=8)
    phase = list_phases(run.recipe)[0]
    context = PhaseContext(
        run=run, phase=phase, recipe=run.recipe, store=store, settings=SETTINGS, process=ONE,
        should_stop=lambda: False, log=silent,
    )  # fmt: skip
    dataset = make_dataset(run.recipe, store, ("flow",), "train")
    batch = torch.utils.data.default_collate([dataset[0, i] for i in range(8)])
    network = start_network(run, phase)
    set_train_mode(network, phase)
    progress = make_progress(network, network, phase, SETTINGS)
    losses = [float(take_step(context, network, progress, batch)["loss"]) for _ in range(30)]
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_stopped_after_any_step_ends_with_the_same_bits(begin, store, workers):
    settings = Settings(threads=1, workers=workers)
    # One phase and one worker, or all phases and none, so that this takes seconds.
    short = {"iterations": 0, "streams": "[flow]", "testing__controls": "[]"} if workers else {}
    whole = begin("whole", network__dropout=0.3, **short)
    train(whole, store, SETTINGS, silent)  # how many workers there are changes nothing
    broken = begin("broken", network__dropout=0.3, **short)
    sessions = 0
    while not train(broken, store, settings, silent, StopCondition(1 if not workers else 3)):
        assert not broken.is_finished()
        sessions += 1
    assert sessions >= (4 * 4 - 1 if not workers else 1)
    assert_same_bits(weights_of(whole), weights_of(broken))
    for phase in list_phases(whole.recipe):
        a, b = (lines(run, phase.name, "steps") for run in (whole, broken))
        assert a == b
        a, b = (lines(run, phase.name, "epochs") for run in (whole, broken))
        for one, other in zip(a, b, strict=True):
            for key in ("loss", "train_top1", "top1", "rate", "step"):
                assert one[key] == other[key], key


def test_steps_after_the_last_checkpoint_are_taken_again(begin, store):
    """As after a kill: lines beyond the checkpoint, half a line, and half a checkpoint."""
    short = {"iterations": 0, "streams": "[flow]", "testing__controls": "[]"}
    whole, killed = begin("whole", **short), begin("killed", **short)
    train(whole, store, SETTINGS, silent)
    assert not train(killed, store, SETTINGS, silent, StopCondition(3))
    folder = killed.folder("flow")
    with (folder / "steps.jsonl").open("a") as file:
        file.write('{"step": 4, "epoch": 2, "loss": 9.0, "rate": 1}\n{"step": 5, "ep')
    (folder / "checkpoint.pt.part").write_bytes(b"half")
    assert train(killed, store, SETTINGS, silent)
    assert_same_bits(weights_of(whole), weights_of(killed))
    assert lines(killed, "flow", "steps") == lines(whole, "flow", "steps")


def test_a_signal_stops_after_the_step_with_a_checkpoint(begin, store):
    run, said = begin(training__epochs=50), []

    def log(text):
        said.append(text)
        if "epoch 2/50" in text:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    assert not train(run, store, SETTINGS, log)
    assert signal.getsignal(signal.SIGINT) is before
    state = read_tensors(run.folder("flow") / "checkpoint.pt")
    assert state["step"] == 5  # two epochs of two steps, and the one after
    assert "stopping after this step" in said[-1] or "stopping" in " ".join(said)
    assert not run.is_finished()


def test_a_second_signal_stops_at_once():
    stop = StopCondition()
    with stop.handle_signals(silent):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_first_signal_while_the_last_checkpoint_is_written_does_not_interrupt():
    """The steps of a session are over, and the process is about to end."""
    stop = StopCondition(steps=1)
    with stop.handle_signals(silent):
        assert stop()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_session_that_is_refused_is_not_recorded(begin, store):
    run = begin()
    with pytest.raises(UsageError, match="cannot be divided among 7 processes"):
        train(run, store, replace(SETTINGS, processes=7), silent)
    assert Run(run.path).facts.get("sessions", []) == []


def test_only_the_trained_branch_changes_and_batch_norm_of_the_other_rests(begin, store):
    run = begin()
    train(run, store, SETTINGS, silent)
    phase = {p.name: p for p in list_phases(run.recipe)}["iter_1"]
    before = start_network(run, phase).state_dict()
    after = read_weights(run.folder("iter_1") / "weights.pt")
    frozen = [name for name in after if name.startswith(("flow.", "to_flow."))]
    assert len(frozen) > 100
    for name in frozen:
        assert torch.equal(before[name], after[name]), name
    changed = [n for n in after if n.startswith(("rgb.", "to_rgb.")) and "tracked" not in n]
    same = {name for name in changed if torch.equal(before[name], after[name])}
    # Of 16-pixel images a single position is left: no gradient reaches what chooses among them.
    assert same <= {name for name in changed if "key.bias" in name or "query.bias" in name}
    flow = read_weights(run.folder("flow") / "weights.pt")
    assert all(torch.equal(flow[name], after[name]) for name in flow)


def test_only_last_trains_the_last_layer_alone(begin, store):
    run = begin(training__only_last="true", network__cma="true", iterations=0,
                testing__controls="[]")  # fmt: skip
    train(run, store, SETTINGS, silent)
    phase = {p.name: p for p in list_phases(run.recipe)}["rgb"]
    before = start_network(run, phase).state_dict()
    after = read_weights(run.folder("rgb") / "weights.pt")
    different = [name for name in after if not torch.equal(before[name], after[name])]
    assert sorted(different) == ["rgb.fc.bias", "rgb.fc.weight"]


def test_the_clip_bounds_a_step(begin, store):
    run = begin(training__clip=1e-6, training__weight_decay=0, training__momentum=0,
                iterations=0, streams="[rgb]", testing__controls="[]")  # fmt: skip
    phase = list_phases(run.recipe)[0]
    before = start_network(run, phase).rgb.fc.weight.clone()
    train(run, store, SETTINGS, silent)
    after = read_weights(run.folder("rgb") / "weights.pt")["rgb.fc.weight"]
    assert 0 < (after - before).norm() < 4 * 0.02 * 1e-6 * 1.01


def test_rates_by_schedule(begin):
    run = begin()
    phase = list_phases(run.recipe)[0]
    network = make_network(run.recipe, phase, "flow")

    def begin_with(training):
        return make_progress(network, network.flow, replace(phase, training=training), SETTINGS)

    def rates(training, accuracies):
        progress, found = begin_with(training), []
        for accuracy in accuracies:
            found.append(progress.schedule.rate)
            progress.schedule.step(len(found), accuracy)
        return found

    plateau = Training(schedule="plateau", patience=1, rate=1.0)
    assert rates(plateau, [0.1, 0.2, 0.2, 0.2, 0.2]) == pytest.approx([1, 1, 1, 1, 0.1])
    steps = Training(schedule="steps", steps=(2, 3), rate=1.0)
    assert rates(steps, [0.0] * 4) == pytest.approx([1, 1, 0.1, 0.01])
    assert rates(Training(schedule="constant", rate=1.0), [0.0] * 3) == [1, 1, 1]
    tsn = begin_with(Training(groups="tsn", rate=1.0))
    assert {g["name"]: g["lr"] for g in tsn.optimizer.param_groups} == {
        "first weights": 5.0, "weights": 1.0, "biases": 2.0, "batch norm": 1.0,
    }  # fmt: skip
    assert tsn.schedule.rate == 1


def test_partial_batch_norm_keeps_all_but_the_first(begin, store):
    run = begin(training__partial_bn="true", iterations=0, streams="[rgb]",
                testing__controls="[]")  # fmt: skip
    phase = list_phases(run.recipe)[0]
    before = start_network(run, phase).state_dict()
    train(run, store, SETTINGS, silent)
    after = read_weights(run.folder("rgb") / "weights.pt")
    means = [name for name in after if name.endswith("running_mean")]
    assert [n for n in means if not torch.equal(before[n], after[n])] == ["rgb.bn1.running_mean"]


# --- what goes wrong ----------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(begin, store):
    run = begin(training__epochs=40, iterations=0, streams="[rgb]", testing__controls="[]")
    assert not train(run, store, SETTINGS, silent, StopCondition(3))
    folder = run.folder("rgb")
    good = read_tensors(folder / "checkpoint.pt")
    assert good["step"] == 3
    bad = {**good, "network": {k: v.clone() for k, v in good["network"].items()}}
    bad["network"]["rgb.fc.weight"][0, 0] = math.nan
    write_tensors(folder / "checkpoint.pt", bad)
    written = (folder / "checkpoint.pt").read_bytes()
    with pytest.raises(RunError, match=r"phase rgb: step 4 gave a loss of nan.*last good"):
        train(run, store, SETTINGS, silent)
    assert (folder / "checkpoint.pt").read_bytes() == written
    assert not run.is_finished()


def test_weights_that_are_no_numbers_are_not_saved(begin, store, monkeypatch):
    run = begin()

    def spoil(context, network, progress, batch):
        taken = take_step(context, network, progress, batch)
        network.flow.fc.weight.data.fill_(math.inf)
        return taken

    monkeypatch.setattr("train.loop.epochs.take_step", spoil)
    with pytest.raises(RunError, match=r"step 1 gave weights that are not finite \(flow.fc.weight"):
        train(run, store, SETTINGS, silent, StopCondition(1))
    assert not (run.folder("flow") / "checkpoint.pt").exists()
    assert not run.is_finished()


def test_a_checkpoint_of_another_model_names_the_keys(begin, store):
    run = begin("a", iterations=0, streams="[flow]", testing__controls="[]")
    other = begin("b", iterations=0, streams="[flow]", testing__controls="[]", network__width=6)
    for one in (run, other):
        assert not train(one, store, SETTINGS, silent, StopCondition(1))
    source = other.folder("flow") / "checkpoint.pt"
    source.rename(run.folder("flow") / "checkpoint.pt")
    with pytest.raises(RunError, match=r"another model: \d+ weights differ \(.*, …\); train"):
        train(run, store, SETTINGS, silent)
    (run.folder("flow") / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(RunError, match="cannot be read"):
        train(run, store, SETTINGS, silent)


def test_a_store_that_changes_under_a_training_stops_it(begin, store):
    run = begin(training__epochs=5)

    def log(text):
        if "epoch 1/5" in text:
            table = read_annotations(store.path)
            write_annotations(store.path, replace(table, annotations=table.annotations[1:]))
            rebuild_index(store.path)

    with pytest.raises(RunError, match=r"has changed since .*version: "):
        train(run, store, SETTINGS, log)
    assert not run.is_finished()
    with pytest.raises(RunError, match="has changed since"):
        train(run, Store(store.path), SETTINGS, silent)


class Dying:
    def __len__(self):
        return 8

    def batch(self, keys):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_loader_worker_that_dies_is_an_error_that_says_so(begin, store, monkeypatch):
    run = begin()
    settings = Settings(threads=1, workers=1)
    original = make_loader

    def make(dataset, sampler, batch, settings, training):
        return original(Dying() if training else dataset, sampler, batch, settings, training)

    monkeypatch.setattr("train.loop.epochs.make_loader", make)
    with pytest.raises(RunError, match=r"loads data died.*same command again"):
        train_phase(run, list_phases(run.recipe)[0], store, settings, ONE)
    assert not run.is_finished()


def test_a_batch_larger_than_the_subset(begin, store):
    run = begin(training__batch=9)
    with pytest.raises(RunError, match="8 training videos are fewer than a batch of 9"):
        train(run, store, SETTINGS, silent)


def test_what_a_phase_keeps_is_what_its_score_needs(begin):
    run = begin()
    phases = {phase.name: phase for phase in list_phases(run.recipe)}
    for name, prefixes in (("flow", {"flow"}), ("iter_1", {"rgb", "flow", "to_rgb", "to_flow"})):
        network = make_network(run.recipe, phases[name], "both")
        set_train_mode(network, phases[name])
        kept = select_weights(network, phases[name])
        assert {key.split(".")[0] for key in kept} == prefixes


def test_settings_are_checked():
    with pytest.raises(UsageError, match="threads: expected at least 1, got 0"):
        Settings(threads=0)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="PyTorch finds no CUDA GPU"):
            Settings(device="cuda")
