"""Attention Clusters, compared with the printed equations unit by unit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.attention.clusters import WEIGHTINGS, AttentionCluster

DIMENSION, UNITS, HIDDEN = 4, 3, 2
CASES = [(weighting, shifting) for weighting in WEIGHTINGS for shifting in (True, False)]


def make_cluster(weighting="fc1", shifting=True, units=UNITS, seed=0):
    torch.manual_seed(seed)
    return AttentionCluster(DIMENSION, units, weighting, shifting, HIDDEN).double()


def make_sets(sets=2, length=5, seed=1):
    torch.manual_seed(seed)
    return torch.randn(sets, length, DIMENSION, dtype=torch.float64)


def fill_padding_with_nan(x, lengths):
    """Copy sets with NaN and infinities in their padding."""
    corrupted = x.clone()
    for row, length in enumerate(lengths):
        corrupted[row, length:] = torch.nan
        corrupted[row, length : length + 1, 0] = torch.inf
    return corrupted


def reference(cluster, x, lengths=None):
    """Compute equations 2 to 7 as printed from X (M, L) of each set: g and a."""
    output, weights = [], []
    for row, vectors in enumerate(x):
        columns = vectors[: None if lengths is None else lengths[row]].T
        count = columns.shape[1]
        g, rows = [], []
        for unit in range(cluster.units):
            if cluster.weighting == "average":
                a = torch.full((count,), 1 / count, dtype=x.dtype)
            elif cluster.weighting == "fc1":
                scores = cluster.score[unit] @ columns
                a = torch.exp(scores) / torch.exp(scores).sum()
            else:
                own = slice(unit * HIDDEN, (unit + 1) * HIDDEN)
                w_1, b_1 = cluster.hidden.weight[own].T, cluster.hidden.bias[own]
                scores = cluster.score[unit] @ torch.tanh(w_1.T @ columns + b_1[:, None])
                a = torch.exp(scores) / torch.exp(scores).sum()
            v = columns @ a
            if cluster.shifting:
                z = cluster.scale[unit] * v + cluster.shift[unit]
                v = z / (cluster.units**0.5 * z.square().sum().sqrt())
            g.append(v)
            rows.append(torch.cat([a, a.new_zeros(x.shape[1] - count)]))
        output.append(torch.cat(g))
        weights.append(torch.stack(rows))
    return torch.stack(output), torch.stack(weights)


@given(
    st.sampled_from(CASES),
    st.integers(1, 5),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_output_equals_the_printed_equations(case, units, lengths, seed):
    cluster = make_cluster(*case, units, seed)
    x = fill_padding_with_nan(make_sets(len(lengths), 6, seed), lengths)
    output, weights = reference(cluster, x, lengths)
    given_lengths = torch.tensor(lengths)
    torch.testing.assert_close(cluster(x, given_lengths), output)
    torch.testing.assert_close(cluster.attention(x, given_lengths), weights)


@pytest.mark.parametrize(("weighting", "shifting"), CASES)
def test_missing_lengths_mean_full_sets(weighting, shifting):
    cluster, x = make_cluster(weighting, shifting), make_sets()
    torch.testing.assert_close(cluster(x), reference(cluster, x)[0])
    assert torch.equal(cluster(x), cluster(x, torch.tensor([5, 5])))
    assert cluster(x).shape == (2, cluster.out_features) == (2, UNITS * DIMENSION)
    assert cluster.attention(x).shape == (2, UNITS, 5)


@pytest.mark.parametrize(("weighting", "shifting"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_order_of_vectors_does_not_matter(weighting, shifting, dtype):
    torch.manual_seed(0)
    cluster = AttentionCluster(50, 32, weighting, shifting).to(dtype)
    x = torch.randn(8, 25, 50, dtype=dtype)
    order = torch.randperm(25)
    torch.testing.assert_close(cluster(x[:, order]), cluster(x), rtol=1e-6, atol=1e-6)
    turned = cluster.attention(x)[:, :, order]
    torch.testing.assert_close(cluster.attention(x[:, order]), turned, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("weighting", "shifting"), CASES)
def test_output_does_not_depend_on_other_sets_or_padding(weighting, shifting):
    cluster, lengths = make_cluster(weighting, shifting), [5, 1, 3]
    x = make_sets(3)
    alone = [cluster(x[row : row + 1, :length]) for row, length in enumerate(lengths)]
    output = cluster(fill_padding_with_nan(x, lengths), torch.tensor(lengths))
    torch.testing.assert_close(output, torch.cat(alone))
    attention = cluster.attention(fill_padding_with_nan(x, lengths), torch.tensor(lengths))
    assert not attention[1, :, 1:].any() and not attention[2, :, 3:].any()
    torch.testing.assert_close(attention.sum(2), torch.ones(3, UNITS, dtype=torch.float64))


@pytest.mark.parametrize(("weighting", "shifting"), CASES)
@pytest.mark.parametrize("lengths", [None, [5, 2]])
def test_gradcheck(weighting, shifting, lengths):
    cluster, x = make_cluster(weighting, shifting), make_sets().requires_grad_()
    counts = None if lengths is None else torch.tensor(lengths)
    inputs = (x, *cluster.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: cluster(x, counts), inputs)


def test_gradients_of_float32_are_those_of_the_reference():
    cluster, x = make_cluster(), make_sets(4)
    g = torch.randn(4, UNITS * DIMENSION, dtype=torch.float64)
    inputs = list(cluster.parameters())
    expected = torch.autograd.grad(reference(cluster, x)[0], inputs, g)
    cluster = cluster.float()
    output = torch.autograd.grad(cluster(x.float()), list(cluster.parameters()), g.float())
    for one, other in zip(output, expected, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-5)


def test_padding_of_nan_gets_no_gradient():
    cluster, lengths = make_cluster(), [5, 2]
    x = fill_padding_with_nan(make_sets(), lengths).requires_grad_()
    cluster(x, torch.tensor(lengths)).square().sum().backward()
    assert not x.grad[1, 2:].any()
    assert all(p.grad.isfinite().all() for p in cluster.parameters())


def test_shifted_cluster_has_norm_one_at_any_scale():
    cluster, x = make_cluster(), make_sets()
    torch.testing.assert_close(cluster(x).norm(dim=1), torch.ones(2, dtype=torch.float64))
    with torch.no_grad():
        output = cluster(x)
        cluster.scale *= 7
        cluster.shift *= 7
    torch.testing.assert_close(cluster(x), output)


def test_zero_unit_is_finite():
    cluster, x = make_cluster(), make_sets()
    torch.nn.init.zeros_(cluster.scale)
    torch.nn.init.zeros_(cluster.shift)
    output = cluster(x)
    output.sum().backward()
    assert not output.any()
    assert all(p.grad.isfinite().all() for p in cluster.parameters())


def test_average_repeats_the_mean():
    cluster, x = make_cluster("average", shifting=False), make_sets()
    torch.testing.assert_close(cluster(x), x.mean(1).repeat(1, UNITS))
    assert not list(cluster.parameters())


def test_each_unit_has_its_own_parameters():
    def count(*options):
        return sum(p.numel() for p in AttentionCluster(50, 8, *options).parameters())

    assert count("fc1", False) == 8 * 50
    assert count("fc1", True) == 8 * (50 + 2)
    assert count("fc2", True, 10) == 8 * (50 * 10 + 10 + 10 + 2)
    assert count("average", True) == 8 * 2


def test_initialization():
    torch.manual_seed(0)
    cluster = AttentionCluster(64, 4096)
    assert cluster.score.abs().max().item() == pytest.approx(1 / 8, rel=1e-3)
    for parameter in (cluster.scale, cluster.shift):
        assert parameter.std().item() == pytest.approx(4096**-0.25, rel=0.05)
        assert parameter.mean().item() == pytest.approx(0, abs=0.01)
    second = AttentionCluster(64, 512, "fc2", hidden=16)
    assert second.hidden.weight.abs().max().item() == pytest.approx(1 / 8, rel=1e-3)
    assert second.score.abs().max().item() == pytest.approx(1 / 4, rel=1e-2)


def test_bfloat16_autocast():
    torch.manual_seed(0)
    cluster, x = AttentionCluster(40, 3), torch.randn(3, 5, 40)
    with torch.autocast("cpu", torch.bfloat16):
        output = cluster(x, torch.tensor([5, 2, 1]))
    expected = cluster(x, torch.tensor([5, 2, 1]))
    torch.testing.assert_close(output, expected, rtol=0.05, atol=0.01)
    output.square().sum().backward()


def test_empty_batch():
    assert make_cluster()(make_sets(0)).shape == (0, UNITS * DIMENSION)
    none = torch.zeros(0, dtype=torch.int64)
    assert make_cluster()(make_sets(0), none).shape == (0, UNITS * DIMENSION)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((0, 3), "got 0, 3, 10 and 'fc1'"),
        ((4, 0), "got 4, 0, 10"),
        ((4, 3, "fc2", True, 0), "got 4, 3, 0 and 'fc2'"),
        ((4, 3, "fc3"), "a weighting of fc1, fc2, average; got 4, 3, 10 and 'fc3'"),
    ],
)
def test_invalid_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AttentionCluster(*options)


@pytest.mark.parametrize("method", ["forward", "attention"])
def test_sets_of_another_dimension_are_refused(method):
    with pytest.raises(ValueError, match=r"\(B, L, 4\), got \(2, 5, 6\)"):
        getattr(make_cluster(), method)(torch.randn(2, 5, 6))
