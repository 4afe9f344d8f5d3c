"""RAFT with random weights, against torchvision's own network and preprocessing."""

from importlib.util import find_spec

import numpy as np
import pytest

from flowkit.errors import FlowError
from flowkit.flow.learned import raft
from flowkit.flow.learned.registry import METHODS
from flowkit.flow.learned.solver import learned_flow
from flowkit.flow.learned.torchvision_import import find_obstacle, import_raft
from flowkit.flow.learned.weights import choose_weights

torch = pytest.importorskip("torch", reason="learned methods need PyTorch")
if find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)

SIZE = (130, 141)  # padded by 6 rows, and by 3 columns: an odd number


@pytest.fixture(autouse=True)
def one_thread():
    """Quick where other processes use the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weight_files(tmp_path_factory):
    """Weight files of both variants, by name."""
    folder, files = tmp_path_factory.mktemp("weights"), {}
    for seed, variant in enumerate(raft.VARIANTS):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = getattr(import_raft(), variant)(weights=None)
        files[variant] = folder / f"{variant}.pth"
        torch.save(network.state_dict(), files[variant])
    return files


@pytest.fixture(scope="module")
def frames():
    """Two pairs of smooth RGB frames."""
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (4, 20, 20, 3), np.uint8)
    frames = np.stack([cv2.resize(image, SIZE[::-1]) for image in noise])
    return frames[:2], frames[2:]


def compute_directly(variant, file, frames0, frames1):
    """What torchvision's documentation tells to do, with edges padded by PyTorch."""
    from torchvision.transforms._presets import OpticalFlow

    network = getattr(import_raft(), variant)(weights=None).eval()
    network.load_state_dict(torch.load(file, weights_only=True))
    images = [torch.from_numpy(frames).permute(0, 3, 1, 2) for frames in (frames0, frames1)]
    height, width = SIZE
    rows, columns = -height % 8, -width % 8
    sides = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    images = [torch.nn.functional.pad(image, sides, mode="replicate") for image in
              OpticalFlow()(*images)]  # fmt: skip
    with torch.no_grad():
        flow = network(*images)[-1]
    flow = flow[..., sides[2] : sides[2] + height, sides[0] : sides[0] + width]
    return flow.permute(0, 2, 3, 1).numpy()


def test_the_flow_is_that_of_torchvision(weight_files, frames):
    flow = learned_flow(*frames, "raft_small", weight_files["raft_small"])
    assert flow.shape == (2, *SIZE, 2) and flow.dtype == np.float32
    expected = compute_directly("raft_small", weight_files["raft_small"], *frames)
    assert np.abs(flow).max() > 1  # random weights move something
    np.testing.assert_allclose(flow, expected, atol=1e-3)


def test_frames_may_be_read_only_and_reversed(weight_files, frames):
    flow = learned_flow(frames[0][0], frames[1][0], "raft_small", weight_files["raft_small"])
    reversed_frames = [np.ascontiguousarray(batch[0, :, ::-1])[:, ::-1] for batch in frames]
    for frame in reversed_frames:
        frame.flags.writeable = False
    again = learned_flow(*reversed_frames, "raft_small", weight_files["raft_small"])
    np.testing.assert_array_equal(again, flow)


@pytest.mark.slow
def test_the_flow_of_the_large_network_is_that_of_torchvision(weight_files, frames):
    flow = learned_flow(*frames, "raft_large", weight_files["raft_large"])
    expected = compute_directly("raft_large", weight_files["raft_large"], *frames)
    np.testing.assert_allclose(flow, expected, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("variant", raft.VARIANTS)
def test_a_gpu_computes_what_the_cpu_computes(weight_files, frames, variant):
    flows = [
        learned_flow(*frames, variant, weight_files[variant], backend)
        for backend in ("torch-cpu", "torch-cuda")
    ]
    # Convolutions on GPUs round to TensorFloat-32, as PyTorch has it by default.
    assert np.linalg.norm(flows[0] - flows[1], axis=-1).mean() < 0.1


@pytest.mark.parametrize(("variant", "other"), [raft.VARIANTS, raft.VARIANTS[::-1]])
def test_weights_of_the_other_variant_are_recognized(weight_files, variant, other):
    with pytest.raises(FlowError) as refusal:
        choose_weights(variant, weight_files[other])
    for part in (
        f"{other}.pth does not hold the weights of {variant}: ",
        "feature_encoder.convnormrelu.0.weight has shape (",
        f"they are the weights of {other}: use --method {other}",
    ):
        assert part in str(refusal.value)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "resnet.pth")
    with pytest.raises(FlowError, match=r"resnet\.pth does not hold .* is missing; .* torchvision"):
        choose_weights("raft_small", tmp_path / "resnet.pth")


def test_loading_leaves_the_random_numbers_of_the_caller_alone(weight_files):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    choose_weights("raft_small", weight_files["raft_small"])
    assert torch.equal(torch.rand(4), expected)


def test_the_default_files_are_those_of_torchvision():
    for variant, enum in (
        ("raft_large", "Raft_Large_Weights"),
        ("raft_small", "Raft_Small_Weights"),
    ):
        default = getattr(import_raft(), enum).DEFAULT
        assert METHODS[variant].weights_file == default.url.rpartition("/")[2]
        assert METHODS[variant].min_side == default.meta["min_size"][0]


def test_the_smallest_size_is_the_one_that_torchvision_accepts(weight_files):
    weights = torch.load(weight_files["raft_small"], weights_only=True)
    network = raft.load("raft_small", weights, "cpu")
    frames = np.zeros((1, 128, 128, 3), np.uint8)
    assert raft.compute(network, frames, frames).shape == (1, 128, 128, 2)
    with pytest.raises(ValueError, match="at least 8"):
        raft.compute(network, frames[:, 8:], frames[:, 8:])


def test_operators_are_declared_only_where_torchvision_lacks_them():
    from torchvision.extension import _has_ops

    from flowkit.flow.learned import torchvision_import

    assert find_obstacle() is None
    assert _has_ops() != bool(torchvision_import._declarations)
