"""Networks of several modalities, and the means that replace empty sets."""

import pytest
import torch
from torch import nn

from models.attention.catnet import CascadeAttention
from models.attention.clusters import AttentionCluster
from models.networks.feature_sets import SetNetwork
from models.networks.fusions import FUSIONS

DIMENSIONS = {"rgb": 4, "audio": 3}


def make_network(dropout=0.0, classes=5):
    torch.manual_seed(0)
    parts = {"rgb": AttentionCluster(4, 3), "audio": AttentionCluster(3, 2, "fc2")}
    return SetNetwork(parts, DIMENSIONS, classes, dropout)


def make_sets(sets=3, length=4):
    torch.manual_seed(1)
    return {modality: torch.randn(sets, length, size) for modality, size in DIMENSIONS.items()}


def test_outputs_of_fusions_are_concatenated_and_classified():
    network, sets = make_network(), make_sets()
    lengths = {"rgb": torch.tensor([4, 2, 1]), "audio": torch.tensor([1, 4, 3])}
    parts = [network.parts[name](sets[name], lengths[name]) for name in DIMENSIONS]
    joined = torch.cat(parts, dim=1)
    expected = joined @ network.classifier.weight.T + network.classifier.bias
    assert network.classifier.weight.shape == (5, 3 * 4 + 2 * 3)
    torch.testing.assert_close(network(sets, lengths), expected)


def test_missing_lengths_mean_full_sets():
    network, sets = make_network(), make_sets()
    full = {name: torch.full((3,), 4) for name in DIMENSIONS}
    assert torch.equal(network(sets), network(sets, full))
    assert torch.equal(network(sets), network(sets, {"rgb": full["rgb"]}))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_are_converted_to_the_type_of_the_parameters(kind):
    network = make_network()
    sets = {name: tensor.to(kind) for name, tensor in make_sets().items()}
    same = {name: tensor.float() for name, tensor in sets.items()}
    assert network(sets).dtype == torch.float32
    assert torch.equal(network(sets), network(same))
    assert network.double()(sets).dtype == torch.float64


def test_dropout_precedes_the_last_layer_in_training():
    network, sets = make_network(dropout=1.0), make_sets()
    torch.testing.assert_close(network.train()(sets), network.classifier.bias.expand(3, -1))
    assert not torch.equal(network.eval()(sets), network.classifier.bias.expand(3, -1))
    assert SetNetwork({"a": AttentionCluster(2, 1)}, {"a": 2}, 3).dropout.p == 0.9


@pytest.mark.parametrize("training", [False, True])
def test_mean_replaces_an_empty_set(training):
    network, sets = make_network().train(training), make_sets()
    mean = torch.tensor([1.0, -2.0, 0.5])
    network.set_means({"audio": mean})
    lengths = {"rgb": torch.tensor([4, 4, 4]), "audio": torch.tensor([4, 0, 2])}
    sets["audio"][1] = torch.nan
    sets["audio"][2, 2:] = torch.inf
    output = network(sets, lengths)
    by_hand = sets["audio"].clone()
    by_hand[1, 0] = mean
    torch.testing.assert_close(
        output, network({**sets, "audio": by_hand}, {"audio": torch.tensor([4, 1, 2])})
    )
    assert sets["audio"][1].isnan().all()  # the caller's tensors are unchanged


def test_batch_of_empty_sets():
    network, sets = make_network(), make_sets()
    network.set_means({"audio": torch.ones(3)})
    none = {**sets, "audio": torch.zeros(3, 0, 3).half()}
    output = network(none, {"audio": torch.zeros(3, dtype=torch.int64)})
    torch.testing.assert_close(output, network({**sets, "audio": torch.ones(3, 1, 3)}))


@pytest.mark.parametrize("length", [0, 4])
def test_an_empty_set_without_a_mean_is_refused(length):
    network, sets = make_network(), make_sets()
    network.set_means({"rgb": torch.ones(4)})
    sets["audio"] = sets["audio"][:, :length]
    lengths = {"audio": torch.tensor([0, length, 0])}
    message = rf"{2 + (not length)} sets of audio are empty, and no mean .* set_means"
    with pytest.raises(ValueError, match=message):
        network(sets, lengths)


def test_empty_sets_without_lengths_are_refused():
    network = make_network()
    network.set_means({"audio": torch.ones(3)})
    with pytest.raises(ValueError, match="sets of 1 vector or more"):
        network({**make_sets(), "audio": torch.zeros(3, 0, 3)})


def test_means_are_saved_with_the_network():
    network = make_network()
    network.set_means({"audio": torch.tensor([1.0, 2.0, 3.0])})
    state = network.state_dict()
    assert state["mean.audio"].tolist() == [1, 2, 3]
    assert state["mean.rgb"].isnan().all() and state["mean.rgb"].shape == (4,)
    other = make_network()
    other.load_state_dict(state)
    lengths = {"audio": torch.tensor([0, 4, 1])}
    torch.testing.assert_close(other(make_sets(), lengths), network(make_sets(), lengths))
    assert "mean.audio" not in dict(network.named_parameters())


@pytest.mark.parametrize(
    ("means", "message"),
    [
        ({"flow": torch.ones(4)}, "expected one of rgb, audio, got 'flow'"),
        ({"rgb": torch.ones(3)}, r"a mean of rgb of 4 finite numbers, got \(3,\), 3 of them"),
        ({"rgb": torch.tensor([1, 2, 3, torch.nan])}, r"got \(4,\), 3 of them finite"),
    ],
)
def test_wrong_means_are_refused(means, message):
    with pytest.raises(ValueError, match=message):
        make_network().set_means(means)


def test_missing_modality_is_refused():
    sets = make_sets()
    del sets["audio"]
    with pytest.raises(ValueError, match="sets of rgb, audio; audio is missing"):
        make_network()(sets)


@pytest.mark.parametrize(
    ("sets", "lengths", "message"),
    [
        (torch.zeros(3, 4, 3), [0, -1, 4], "got lengths from -1 to 4"),
        (torch.zeros(1, 4, 3), [0, 4, 4], r"expected 1 integer lengths.* got \(3,\)"),
        (torch.zeros(3, 4, 3), [0, 4], r"expected 3 integer lengths.* got \(2,\)"),
        (torch.zeros(3, 4, 3), 0, r"expected 3 integer lengths.* got \(\)"),
        (torch.zeros(3, 4, 1), [0, 4, 4], r"\(B, L, 3\), got \(3, 4, 1\)"),
        (torch.zeros(3, 4), [0, 4, 4], r"\(B, L, 3\), got \(3, 4\)"),
    ],
)
def test_wrong_lengths_beside_an_empty_set_are_refused(sets, lengths, message):
    network = make_network()
    network.set_means({"audio": torch.ones(3)})
    with pytest.raises(ValueError, match=message):
        network({**make_sets(), "audio": sets}, {"audio": torch.tensor(lengths)})


def test_modality_of_another_dimension_is_refused():
    with pytest.raises(ValueError, match=r"\(B, L, 3\), got \(3, 4, 4\)"):
        make_network()({**make_sets(), "audio": torch.zeros(3, 4, 4)})


def test_other_modalities_are_ignored():
    sets = make_sets()
    assert torch.equal(make_network()({**sets, "flow": "anything"}), make_network()(sets))


@pytest.mark.parametrize(
    ("fusions", "dimensions", "message"),
    [
        ({}, {}, "got fusions for none and dimensions for none"),
        (
            {"rgb": nn.Identity()},
            {"rgb": 4, "flow": 4},
            "fusions for rgb and dimensions for rgb, fl",
        ),
    ],
)
def test_fusions_without_dimensions_are_refused(fusions, dimensions, message):
    with pytest.raises(ValueError, match=message):
        SetNetwork(fusions, dimensions, 5)


def test_gradcheck():
    network, sets = make_network().double(), make_sets()
    network.set_means({"audio": torch.ones(3)})
    wide = {name: tensor.double().requires_grad_() for name, tensor in sets.items()}
    lengths = {"rgb": torch.tensor([4, 2, 1]), "audio": torch.tensor([0, 4, 3])}

    def run(rgb, audio, *_):
        return network({"rgb": rgb, "audio": audio}, lengths)

    given = (*wide.values(), *network.parameters())
    assert torch.autograd.gradcheck(run, given)


@pytest.mark.parametrize("kind", [*FUSIONS.values(), CascadeAttention])
def test_every_kind_of_part_is_accepted(kind):
    network = SetNetwork({"rgb": kind(4)}, {"rgb": 4}, 5)
    network.set_means({"rgb": torch.ones(4)})
    output = network({"rgb": torch.randn(3, 6, 4)}, {"rgb": torch.tensor([6, 0, 2])})
    assert output.shape == (3, 5) and output.isfinite().all()
