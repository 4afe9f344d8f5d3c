"""The baselines of attention over sets, compared with plain loops over vectors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from models.networks.fusions import FUSIONS, TSLSTM, BiLSTM, Flatten, TemporalInception

DIMENSION = 4
OPTIONS = [
    ("average", {}),
    ("flatten", {"length": 3}),
    ("ts_lstm", {"hidden": 3}),
    ("ts_lstm", {"hidden": 3, "pooling": "mean", "segments": 2}),
    ("temporal_inception", {"hidden": 3}),
    ("temporal_inception", {"hidden": 3, "modules": 2, "kernels": (3,)}),
    ("bilstm", {"hidden": 3}),
]


def make_fusion(name, seed=0, **options):
    torch.manual_seed(seed)
    fusion = FUSIONS[name](DIMENSION, **options).double()
    for tensor in fusion.buffers():
        if tensor.is_floating_point():
            torch.nn.init.uniform_(tensor, 0.5, 2)
    return fusion


def make_sets(sets=2, length=7, seed=1):
    torch.manual_seed(seed)
    return torch.randn(sets, length, DIMENSION, dtype=torch.float64)


def fill_padding_with_nan(x, lengths):
    """Copy sets with NaN and infinities in their padding."""
    corrupted = x.clone()
    for row, length in enumerate(lengths):
        corrupted[row, length:] = torch.nan
        corrupted[row, length : length + 1, 0] = torch.inf
    return corrupted


def step_lstm(lstm, inputs, suffix=""):
    """Compute the last state of an LSTM by its definition, vector by vector."""
    weights = [getattr(lstm, f"{prefix}_l0{suffix}") for prefix in ("weight_ih", "weight_hh")]
    biases = [getattr(lstm, f"{prefix}_l0{suffix}") for prefix in ("bias_ih", "bias_hh")]
    state = cell = torch.zeros(lstm.hidden_size, dtype=torch.float64)
    for vector in inputs:
        gates = weights[0] @ vector + biases[0] + weights[1] @ state + biases[1]
        enter, forget, new, leave = gates.chunk(4)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        state = leave.sigmoid() * cell.tanh()
    return state


def average(fusion, vectors):
    return sum(vectors) / len(vectors)


def flatten(fusion, vectors):
    middles = [(index + 0.5) / fusion.length * len(vectors) for index in range(fusion.length)]
    return torch.cat([vectors[int(middle + 1e-9)] for middle in middles])


def ts_lstm(fusion, vectors):
    pooled = []
    for number in range(fusion.segments):
        own = [
            vector
            for index, vector in enumerate(vectors)  # vectors that overlap the segment
            if index + 1 > number * len(vectors) / fusion.segments + 1e-9
            and index < (number + 1) * len(vectors) / fusion.segments - 1e-9
        ]
        rows = torch.stack(own)
        pooled.append(rows.amax(0) if fusion.pooling == "maximum" else rows.mean(0))
    return step_lstm(fusion.lstm, pooled)


def temporal_inception(fusion, vectors):
    channels = torch.stack(list(vectors))[None]  # (C, time, M)
    for number, stage in enumerate(fusion.stages):
        branches = []
        for layer in stage.convolutions:
            size = layer.weight.shape[2]
            padded = functional.pad(channels, (0, 0, size // 2, size // 2))
            windows = padded.unfold(1, size, 1)  # (C, time, M, size)
            output = torch.einsum("ctmk,ock->otm", windows, layer.weight[..., 0])
            branches.append(output + layer.bias[:, None, None])
        output = torch.cat(branches)
        mean, variance = stage.norm.running_mean, stage.norm.running_var
        output = (output - mean[:, None, None]) / (variance + stage.norm.eps).sqrt()[:, None, None]
        output = output * stage.norm.weight[:, None, None] + stage.norm.bias[:, None, None]
        output = output.relu()
        last = number == len(fusion.stages) - 1
        steps = [output] if last else output.split(2, dim=1)
        channels = torch.stack([step.amax(1) for step in steps], dim=1)
    return (fusion.fc.weight @ channels.flatten() + fusion.fc.bias).relu()


def bilstm(fusion, vectors):
    ends = step_lstm(fusion.lstm, vectors), step_lstm(fusion.lstm, vectors.flip(0), "_reverse")
    return torch.cat(ends)


REFERENCES = {
    reference.__name__: reference
    for reference in (average, flatten, ts_lstm, temporal_inception, bilstm)
}


def test_all_have_a_reference():
    assert set(REFERENCES) == set(FUSIONS) == {name for name, _ in OPTIONS}


@given(
    st.sampled_from(OPTIONS),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_output_equals_the_definition(case, lengths, seed):
    name, options = case
    fusion = make_fusion(name, seed, **options).eval()
    x = make_sets(len(lengths), 9, seed)
    rows = [REFERENCES[name](fusion, row[:n]) for row, n in zip(x, lengths, strict=True)]
    output = fusion(fill_padding_with_nan(x, lengths), torch.tensor(lengths))
    assert output.shape == (len(lengths), fusion.out_features)
    torch.testing.assert_close(output, torch.stack(rows))


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_missing_lengths_mean_full_sets(name, options):
    fusion, x = make_fusion(name, **options).eval(), make_sets()
    rows = torch.stack([REFERENCES[name](fusion, row) for row in x])
    torch.testing.assert_close(fusion(x), rows)
    torch.testing.assert_close(fusion(x, torch.tensor([7, 7])), rows)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_gradcheck(name, options):
    fusion, x = make_fusion(name, **options).eval(), make_sets().requires_grad_()
    for counts in (None, torch.tensor([7, 4])):
        inputs = (x, *fusion.parameters())
        run = lambda x, *_, n=counts: fusion(x, n)  # noqa: E731
        assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_padding_has_no_influence_in_training(name, options):
    x, lengths = make_sets(3), [7, 1, 4]
    wide = torch.cat([x, torch.zeros_like(x)], dim=1)
    output = []
    for sets in (x, fill_padding_with_nan(x, lengths), fill_padding_with_nan(wide, lengths)):
        fusion, inputs = make_fusion(name, **options).train(), sets.clone().requires_grad_()
        out = fusion(inputs, torch.tensor(lengths))
        out.square().sum().backward()
        assert not inputs.grad[1, 1:].any() and not inputs.grad[2, 4:].any()
        gradients = [p.grad for p in fusion.parameters()]
        output.append((out, inputs.grad[:, :7], *gradients, *fusion.buffers()))
    for other in output[1:]:
        torch.testing.assert_close(other, output[0])


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_training_on_one_video(name, options):
    assert make_fusion(name, **options).train()(make_sets(1)).isfinite().all()


@pytest.mark.parametrize("name", [name for name in FUSIONS if name != "average"])
def test_output_depends_on_the_order_except_for_average(name):
    fusion, x = FUSIONS[name](DIMENSION).double().eval(), make_sets(2, 25)
    assert (fusion(x.flip(1)) - fusion(x)).abs().max() > 1e-6


def test_batch_statistics_ignore_padding():
    """A set padded to twice its length has the statistics of the set itself."""
    x = make_sets(2)
    whole, padded = (make_fusion("temporal_inception", hidden=3).train() for _ in range(2))
    whole(x)
    padded(torch.cat([x, x], dim=1), torch.tensor([7, 7]))
    torch.testing.assert_close(padded.stages[0].norm.running_var, whole.stages[0].norm.running_var)


def test_flatten_of_a_set_of_its_length():
    x = make_sets(2, 25)
    assert torch.equal(Flatten(DIMENSION)(x), x.flatten(1))
    five = Flatten(DIMENSION, 5)(x).unflatten(1, (5, DIMENSION))
    assert torch.equal(five, x[:, [2, 7, 12, 17, 22]])
    twice = Flatten(DIMENSION, 4)(x[:, :2]).unflatten(1, (4, DIMENSION))
    assert torch.equal(twice, x[:, [0, 0, 1, 1]])


def test_segments_of_fewer_vectors_than_segments():
    fusion, x = TSLSTM(DIMENSION, segments=5).double(), make_sets(1, 2)
    pooled = fusion.pool_segments(x, torch.tensor([2]))
    first, second = x[0]
    expected = torch.stack([first, first, x[0].amax(0), second, second])[None]
    torch.testing.assert_close(pooled, expected)


def test_sizes_of_the_papers():
    inception = TemporalInception(48)
    assert inception.fc.weight.shape == (1024, 16 * 48)
    assert [stage.norm.num_features for stage in inception.stages] == [2, 4, 8, 16]
    assert TSLSTM(48).segments == 5 and TSLSTM(48).out_features == 512
    assert BiLSTM(48).out_features == 1024
    assert Flatten(48).out_features == 25 * 48


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("flatten", {"length": 0}, "sizes of 1 or more, got 4 and 0"),
        ("ts_lstm", {"segments": 0}, "1 segment or more .* got 0 and 'maximum'"),
        ("ts_lstm", {"pooling": "sum"}, "maximum or mean, got 5 and 'sum'"),
        ("temporal_inception", {"kernels": (5, 4)}, r"odd sizes, got 4 and \(5, 4\)"),
        ("temporal_inception", {"kernels": ()}, r"odd sizes, got 4 and \(\)"),
        ("temporal_inception", {"modules": 0}, "1 module or more .* got 0"),
        ("bilstm", {"hidden": 0}, "got 4 and 0"),
    ],
)
def test_invalid_arguments_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        FUSIONS[name](DIMENSION, **options)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_wrong_sets_are_refused(name, options):
    fusion = make_fusion(name, **options)
    with pytest.raises(ValueError, match=r"\(B, L, 4\), got \(2, 5, 6\)"):
        fusion(torch.randn(2, 5, 6))
    with pytest.raises(ValueError, match="1 to 7 vectors, got lengths from 0"):
        fusion(make_sets(), torch.tensor([7, 0]))
