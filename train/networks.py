"""The network of a phase: built, filled with the weights that it starts from, and set to train."""

import zlib
from pathlib import Path

import torch
from torch import nn

from flowkit.catalog import data_root
from flowkit.errors import UsageError
from models.backbones.resnet import ResNet
from models.batch_norm import freeze_batch_norms
from models.pretrained import Loaded, load_weights, read_weights
from models.two_stream import Scores, TwoStream
from train.alternate import INITIAL, Phase
from train.journal import Log
from train.recipe import Recipe, Stream
from train.run import Run, RunError

BRANCHES: tuple[Stream, ...] = ("rgb", "flow")


def make_network(recipe: Recipe, phase: Phase, scores: Scores) -> TwoStream:
    """The network of a phase with random weights, those of the recipe's seed and the phase."""
    seed = zlib.crc32(phase.name.encode()) ^ recipe.seed
    settings = recipe.network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rgb, flow = (
            ResNet(
                settings.depth,
                in_channels=channels,
                num_classes=recipe.classes,
                dropout=settings.dropout,
                width=settings.width,
            )
            for channels in (3, 2 * recipe.data.flow_length)
        )
        network: TwoStream = TwoStream(
            rgb,
            flow,
            cma=phase.cma,
            non_local=settings.non_local,
            scores=scores,
            uniform=phase.uniform,
        )
    return network


def start_network(run: Run, phase: Phase, log: Log = lambda text: None) -> TwoStream:
    """The network that a phase begins with: weights of files, and of the phases before it.

    ``log`` is told what each file gave, and which weights it did not.
    """
    network = make_network(run.recipe, phase, phase.branch)
    for name, loaded in load_initial(network, run.recipe, phase).items():
        skipped = ", ".join(loaded.skipped) or "none"
        log(f"{phase.name}: {len(loaded.used)} weights from {name}; skipped: {skipped}")
    for branch, source in phase.start.items():
        if source != INITIAL:
            load_branch(network, branch, run, source)
    return network


def finished_network(run: Run, phase: Phase, scores: Scores) -> TwoStream:
    """The network of a finished phase, in eval mode; RunError where it is not finished."""
    network = make_network(run.recipe, phase, scores)
    for branch in BRANCHES if phase.cma else (phase.branch,):
        load_branch(network, branch, run, phase.name)
    network.eval()
    return network


def load_branch(network: TwoStream, branch: Stream, run: Run, phase: str) -> None:
    """Copy a branch, and the blocks that change it, from a finished phase.

    A phase without cross-modality blocks leaves them as they are: the identity.
    """
    path = run.folder(phase) / "weights.pt"
    if not path.is_file():
        raise RunError(f"{run.path}: phase {phase} is not finished; run flowkit train again")
    prefixes = parts_of(branch)
    weights = {name: t for name, t in read_weights(path).items() if name.startswith(prefixes)}
    others = tuple(f"{b}." for b in BRANCHES if b != branch)
    others += tuple(p for b in BRANCHES if b != branch for p in parts_of(b))
    cross = f"to_{branch}."
    if not has_part(weights, cross):
        others += (cross,)
    load_weights(network, weights, skip=others)


def has_part(weights: dict[str, torch.Tensor], prefix: str) -> bool:
    """Whether any of the weights is of a part of a network."""
    return any(name.startswith(prefix) for name in weights)


def parts_of(branch: Stream) -> tuple[str, ...]:
    """Prefixes of all weights that are trained with a branch."""
    return (f"{branch}.", f"to_{branch}.", f"non_local_{branch}.")


def select_weights(network: TwoStream, phase: Phase) -> dict[str, torch.Tensor]:
    """What a finished phase keeps: its branch alone, or both where they look at each other."""
    prefixes = sum((parts_of(b) for b in (BRANCHES if phase.cma else (phase.branch,))), ())
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if name.startswith(prefixes)}


# --- weight files --------------------------------------------------------------------------------


def load_initial(network: TwoStream, recipe: Recipe, phase: Phase) -> dict[str, Loaded]:
    """Load the recipe's weight files into what starts from them; last layers stay random.

    What each file gave, by its name and the branch.
    """
    files = recipe.network.weights
    loaded: dict[str, Loaded] = {}
    if "both" in files:
        weights = read_weights(find_weights(files["both"]))
        # Blocks that were still the identity are in no file.
        absent = (f"to_{b}." for b in BRANCHES if not has_part(weights, f"to_{b}."))
        skip = ("rgb.fc.", "flow.fc.", *absent)
        loaded[files["both"]] = load_weights(network, weights, skip=skip)
    for branch, source in phase.start.items():
        name = files.get(branch) or (files.get("rgb") if branch == "flow" else None)
        if source != INITIAL or name is None:
            continue
        weights = read_weights(find_weights(name))
        own = {k.removeprefix(f"{branch}."): v for k, v in weights.items()}
        own = {k: v for k, v in own.items() if not k.startswith(("to_", "non_local_"))}
        inflate = branch == "flow"
        trunk = getattr(network, branch)
        loaded[f"{name} for {branch}"] = load_weights(
            trunk, own, skip=("fc.",), inflate_channels=inflate
        )
    return loaded


def find_weights(name: str) -> Path:
    """A weight file by path, by phase folder of a run, or by name in the usual folders.

    A name such as ``resnet50`` finds resnet50*.pth and *.safetensors in ``$FLOWKIT_DATA/weights``
    and in torch's own cache. Nothing is downloaded. Raises UsageError saying how to get it.
    """
    path = Path(name).expanduser()
    if path.is_dir() and (path / "weights.pt").is_file():
        return path / "weights.pt"
    if path.is_file():
        return path
    folders = [data_root() / "weights", Path(torch.hub.get_dir()) / "checkpoints"]
    found = [f for folder in folders for f in sorted(folder.glob(f"{name}*")) if f.is_file()]
    found = [file for file in found if file.suffix in (".pth", ".pt", ".safetensors")]
    if found:
        return found[0]
    raise UsageError(
        f"no weights {name!r}: looked for a file, for the folder of a finished phase, and in "
        f"{' and '.join(map(str, folders))}. torchvision's come there by "
        f"torchvision.models.{name}(weights='DEFAULT'); others: --weights rgb=FILE"
    )


# --- modes ---------------------------------------------------------------------------------------


def set_training(network: TwoStream, phase: Phase) -> None:
    """What of a network learns in a phase, and which BN layers gather statistics.

    To be called before each stretch of training, since evaluation puts all to rest.
    """
    network.train().requires_grad_(True)
    network.freeze("flow" if phase.branch == "rgb" else "rgb")
    branch = network.modules_of(phase.branch)
    if phase.training.only_last:
        branch.eval().requires_grad_(False)
        trunk: ResNet = getattr(network, phase.branch)
        trunk.dropout.train()
        assert isinstance(trunk.fc, nn.Linear)
        trunk.fc.requires_grad_(True)
    elif phase.training.partial_bn:
        freeze_batch_norms(getattr(network, phase.branch))
