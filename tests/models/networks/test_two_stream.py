"""The two-stream network and its attention blocks."""

import pytest
import torch

from models.backbones.resnet import ResNet
from models.networks.two_stream import (
    TwoStream,
    choose_positions,
    count_parameters,
    is_identity,
)


def make_pair(depth=18, width=4, seed=0, classes=5, dropout=0.0):
    torch.manual_seed(seed)
    return (
        ResNet(depth, in_channels=channels, num_classes=classes, width=width, dropout=dropout)
        for channels in (3, 10)
    )


def make_network(depth=18, seed=0, active=True, **options):
    """Make a network in eval mode; if ``active``, its attention blocks are not the identity."""
    network = TwoStream(*make_pair(depth, seed=seed), **options)
    if active:
        for block in list_blocks(network):
            torch.nn.init.normal_(block.norm.weight)
    return network.eval()


def list_blocks(network):
    parts = (network.to_rgb, network.to_flow, network.non_local_rgb, network.non_local_flow)
    return [block for part in parts for block in part.values()]


def make_images(height=64, width=64, batch=2):
    torch.manual_seed(9)
    return {
        "rgb": torch.randn(batch, 3, height, width),
        "flow": torch.randn(batch, 10, height, width),
    }


# --- positions of blocks -------------------------------------------------------------------------


def test_positions_of_the_paper_in_resnet_50():
    assert choose_positions(ResNet(50, width=2)) == (
        "res3_1", "res3_3", "res4_1", "res4_3", "res4_5"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [
        (18, ((3, 1), (4, 1))),
        (34, ((3, 1), (3, 3), (4, 1), (4, 3), (4, 5))),
        (101, ((3, 1), (3, 3), (4, 6), (4, 14), (4, 22))),
        (152, ((3, 3), (3, 7), (4, 11), (4, 23), (4, 35))),
    ],
)
def test_positions_follow_the_rule(depth, blocks):
    expected = tuple(f"res{stage}_{step}" for stage, step in blocks)
    assert choose_positions(ResNet(depth, width=2)) == expected


# --- scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [18, 50])
def test_network_with_zero_scales_is_bitwise_the_plain_one(depth):
    plain = TwoStream(*make_pair(depth), cma=False).eval()
    network = TwoStream(*make_pair(depth), non_local=("rgb", "flow")).eval()
    images = make_images()
    with torch.no_grad():
        alone = {"rgb": plain.rgb(images["rgb"]), "flow": plain.flow(images["flow"])}
        for name, scores in network(**images).items():
            assert torch.equal(scores, plain(**images)[name])
            assert torch.equal(scores, alone[name])


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (33, 49), (8, 64)])
def test_network_with_zero_scales_in_every_shape_and_layout(depth, form, uniform, size):
    plain = TwoStream(*make_pair(depth, 8), cma=False).eval().to(memory_format=form)
    network = TwoStream(*make_pair(depth, 8), non_local=("rgb", "flow"), uniform=uniform)
    network.eval().to(memory_format=form)
    images = {k: v.contiguous(memory_format=form) for k, v in make_images(*size).items()}
    with torch.no_grad():
        expected = plain(**images)
        for name, scores in network(**images).items():
            assert torch.equal(scores, expected[name])


def test_network_with_zero_scales_at_the_start_of_training():
    plain = TwoStream(*make_pair(), cma=False).train()
    network = TwoStream(*make_pair()).train()
    images = make_images()
    expected, scores = plain(**images), network(**images)
    sum(score.square().sum() for score in expected.values()).backward()
    sum(score.square().sum() for score in scores.values()).backward()
    for branch in ("rgb", "flow"):
        assert torch.equal(scores[branch], expected[branch])
        ours, theirs = getattr(network, branch), getattr(plain, branch)
        assert torch.equal(ours.layer4[1].bn2.running_mean, theirs.layer4[1].bn2.running_mean)
        torch.testing.assert_close(ours.conv1.weight.grad, theirs.conv1.weight.grad)
    # The scale gets a gradient, so that training can activate the block; the layers before do not.
    block = network.to_rgb["res3_1"]
    assert block.norm.weight.grad.any()
    assert not block.query.weight.grad.any()


def walk(network, rgb, flow, one_after_another=False):
    """Run the network by its description: both blocks take the features before either block."""
    x, y = rgb, flow
    for (name, a), (_, b) in zip(network.rgb.steps(), network.flow.steps(), strict=True):
        x, y = a(x), b(y)
        if name in network.non_local_rgb:
            x = network.non_local_rgb[name](x)
        if name in network.to_rgb:
            new_x = network.to_rgb[name](x, y)
            y = network.to_flow[name](y, new_x if one_after_another else x)
            x = new_x
    return {"rgb": network.rgb.head(x), "flow": network.flow.head(y)}


def test_both_directions_use_unchanged_features():
    network, images = make_network(), make_images()
    with torch.no_grad():
        scores, expected = network(**images), walk(network, **images)
        other = walk(network, **images, one_after_another=True)
    for name in ("rgb", "flow"):
        assert torch.equal(scores[name], expected[name])
    assert not torch.allclose(scores["flow"], other["flow"])


def test_cma_follows_non_local_blocks():
    network, images = make_network(non_local=("rgb",)), make_images()
    assert len(network.non_local_rgb) == 2
    assert len(network.non_local_flow) == 0
    with torch.no_grad():
        expected = walk(network, **images)
        for name, scores in network(**images).items():
            assert torch.equal(scores, expected[name])


@pytest.mark.parametrize("branch", ["rgb", "flow"])
def test_single_score_equals_that_of_both(branch):
    both, one = make_network(), make_network(scores=branch)
    images, ran = make_images(), []
    with torch.no_grad():
        expected = both(**images)[branch]
        for name, module in one.named_modules():
            if list(module.parameters(recurse=False)):
                module.register_forward_hook(lambda *_, name=name: ran.append(name))
        scores = one(**images)
    assert set(scores) == {branch}
    assert torch.equal(scores[branch], expected)
    other = "flow" if branch == "rgb" else "rgb"
    unused = {f"{other}.fc", f"{other}.layer4.0.conv1", f"to_{other}.res4_1.query"}
    assert unused.isdisjoint(ran)
    assert {f"to_{branch}.res4_1.query", f"to_{other}.res3_1.query"} <= set(ran)
    counted = sum(count_own(one.get_submodule(name)) for name in ran)
    assert one.count_used_parameters() == counted


def run_counting(network, images):
    """List the names of the layers that run, once for each run, and count their parameters."""
    ran, hooks = [], []
    for name, module in network.named_modules():
        if list(module.parameters(recurse=False)):
            hooks.append(module.register_forward_hook(lambda *_, name=name: ran.append(name)))
    with torch.no_grad():
        network(**images)
    for hook in hooks:
        hook.remove()
    return ran, sum(count_own(network.get_submodule(name)) for name in ran)


@pytest.mark.parametrize("non_local", [(), ("rgb", "flow")])
def test_which_layers_run_in_resnet_50(non_local):
    def make(active=True, scores="rgb"):
        return make_network(50, non_local=non_local, active=active, scores=scores)

    images = make_images(32, 32)
    all_run, all_count = run_counting(make(scores="both"), images)
    assert all_count == count_parameters(make(scores="both"))
    some, count = run_counting(make(), images)
    assert count == make().count_used_parameters() < all_count
    # Flow goes without its last layer, stage 5 (6 convolutions and BNs a block, 2 of the
    # shortcut) and the last block of CMA (5 layers).
    assert len(all_run) - len(some) == 1 + (3 * 6 + 2) + 5
    # At its first four positions CMA still changes features that RGB attends to later.
    assert {name.split(".")[1] for name in some if name.startswith("to_flow")} == {
        "res3_1", "res3_3", "res4_1", "res4_3",
    }  # fmt: skip
    dropped = make()
    for block in dropped.to_flow.values():
        torch.nn.init.zeros_(block.norm.weight)
    before = dropped(**images)["rgb"]
    assert dropped.drop_identities() == 5
    fewer, count = run_counting(dropped, images)
    assert count == dropped.count_used_parameters()
    assert len(some) - len(fewer) == 4 * 5
    assert torch.equal(dropped(**images)["rgb"], before)


def count_own(module):
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


@pytest.mark.parametrize("scores", ["rgb", "flow", "both"])
@pytest.mark.parametrize("cma", [False, True])
def test_counted_parameters_are_those_with_gradients(scores, cma):
    network = make_network(scores=scores, cma=cma, non_local=("rgb",))
    images = make_images()
    sum(score.sum() for score in network(**images).values()).backward()
    used = [p for p in network.parameters() if p.grad is not None]
    assert network.count_used_parameters() == sum(p.numel() for p in used)


def test_images_that_no_score_needs_may_be_missing():
    images = make_images()
    alone = make_network(cma=False, scores="flow")
    with torch.no_grad():
        assert torch.equal(alone(flow=images["flow"])["flow"], alone.flow(images["flow"]))
    with pytest.raises(ValueError, match="scores 'flow' need flow images, got none"):
        alone(rgb=images["rgb"])
    with pytest.raises(ValueError, match="need rgb images"):
        make_network(scores="flow")(flow=images["flow"])
    for name in ("rgb", "flow"):
        with pytest.raises(ValueError, match=f"scores 'both' need {name} images, got none"):
            make_network(cma=False)(**{**images, name: None})
    inactive = make_network(active=False, scores="rgb")
    with pytest.raises(ValueError, match="scores 'rgb' need flow images, got none"):
        inactive(rgb=images["rgb"])
    inactive.drop_identities()  # now flow does not influence RGB
    assert torch.equal(inactive(rgb=images["rgb"])["rgb"], inactive.rgb(images["rgb"]))


def test_dropping_identities_is_bitwise_exact_and_counted():
    network, images = make_network(active=False, non_local=("rgb",)), make_images()
    for block in network.to_rgb.values():
        torch.nn.init.normal_(block.norm.weight)
    with torch.no_grad():
        before = network(**images)
        assert network.drop_identities() == 2 + 2
        after = network(**images)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(network.to_rgb) == 2
    assert not len(network.to_flow)
    assert network.drop_identities() == 0


@pytest.mark.parametrize("branch", ["rgb", "flow"])
def test_identities_of_one_branch_are_dropped(branch):
    network, images = make_network(active=False, non_local=("rgb", "flow")), make_images()
    with torch.no_grad():
        before = network(**images)
        assert network.drop_identities((branch,)) == 4
        after = network(**images)
    other = "flow" if branch == "rgb" else "rgb"
    assert [len(blocks) for blocks in network.list_branch_modules(branch)[1:]] == [0, 0]
    assert [len(blocks) for blocks in network.list_branch_modules(other)[1:]] == [2, 2]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_uniform_control_has_equal_weights_in_all_blocks():
    network, control = (make_network(non_local=("rgb",), uniform=u) for u in (False, True))
    control.load_state_dict(network.state_dict())
    assert all(block.uniform for block in list_blocks(control))
    assert not any(block.uniform for block in list_blocks(network))
    images = make_images()
    with torch.no_grad():
        assert not torch.allclose(network(**images)["rgb"], control(**images)["rgb"])


def test_blocks_at_other_positions():
    network = TwoStream(*make_pair(), positions=("res2_0", "res5_1"))
    assert set(network.to_rgb) == set(network.to_flow) == {"res2_0", "res5_1"}
    assert network.to_rgb["res2_0"].norm.num_features == 4
    assert network.to_rgb["res5_1"].norm.num_features == 32
    for block in list_blocks(network):
        torch.nn.init.normal_(block.norm.weight)
    network.eval()
    images = make_images()
    with torch.no_grad():
        scores, expected = network(**images), walk(network, **images)
        for name in scores:
            assert torch.equal(scores[name], expected[name])
            assert not torch.allclose(scores[name], getattr(network, name)(images[name]))


def test_channels_last_gives_the_same_scores():
    network, images = make_network(non_local=("rgb", "flow")), make_images()
    with torch.no_grad():
        plain = network(**images)
        network.to(memory_format=torch.channels_last)
        last = network(
            **{k: v.contiguous(memory_format=torch.channels_last) for k, v in images.items()}
        )
    for name, scores in plain.items():
        assert (scores - last[name]).abs().max() <= 1e-5 * scores.abs().max()


def test_dropout_is_active_only_in_training():
    network, images = TwoStream(*make_pair(dropout=0.5)).eval(), make_images()
    plain = TwoStream(*make_pair()).eval()
    plain.load_state_dict(network.state_dict())
    with torch.no_grad():
        for name, scores in network(**images).items():
            assert torch.equal(scores, plain(**images)[name])
        network.rgb.dropout.train()
        network.flow.dropout.train()
        for name, scores in network(**images).items():
            assert not torch.allclose(scores, plain(**images)[name])


def test_block_with_a_shift_is_not_the_identity():
    network = make_network(active=False)
    block = network.to_rgb["res3_1"]
    assert is_identity(block)
    torch.nn.init.constant_(block.norm.bias, 0.1)
    assert not is_identity(block)


# --- counts --------------------------------------------------------------------------------------


def test_counts_of_resnet_50_with_400_classes():
    with torch.device("meta"):
        plain = TwoStream(*make_pair(50, 64, classes=400), cma=False)
        network = TwoStream(*make_pair(50, 64, classes=400))
        rgb = TwoStream(*make_pair(50, 64, classes=400), scores="rgb")
    one = count_parameters(plain.rgb)
    assert one == 24_327_632
    assert count_parameters(plain) == plain.count_used_parameters() == 48_677_216
    assert (
        count_parameters(network) == network.count_used_parameters() == 48_677_216 + 2 * 7_358_464
    )
    assert rgb.count_used_parameters() == 45_508_048
    assert round(45_508_048 / one, 2) == 1.87
    # As after iter_1: of the ten blocks only those that change RGB have been trained.
    for blocks, scale in ((rgb.to_rgb, 1.0), (rgb.to_flow, 0.0)):
        for block in blocks.values():
            block.norm.to_empty(device="cpu")
            torch.nn.init.constant_(block.norm.weight, scale)
            torch.nn.init.zeros_(block.norm.bias)
    assert rgb.drop_identities() == 5
    assert rgb.count_used_parameters() == 40_251_344
    assert round(40_251_344 / one, 2) == 1.65


# --- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("branch", ["rgb", "flow"])
def test_a_frozen_branch_learns_nothing(branch):
    network = make_network().train()
    network.freeze(branch)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    sum(score.sum() for score in network(**make_images()).values()).backward()
    assert all(
        parameter.grad is None for parameter in network.list_branch_modules(branch).parameters()
    )
    optimizer.step()
    frozen = (f"{branch}.", f"to_{branch}.")
    for name, tensor in network.state_dict().items():
        if name.startswith(frozen):
            assert torch.equal(tensor, before[name]), name
    other = "flow" if branch == "rgb" else "rgb"
    changed = network.state_dict()
    for name in (f"{other}.fc.weight", f"{other}.bn1.running_mean", f"to_{other}.res3_1.out.bias"):
        assert not torch.equal(changed[name], before[name]), name


def test_unknown_positions_and_branches_are_refused():
    for step in ("res3_2", "res3_-1", "res6_0", "stem"):
        with pytest.raises(ValueError, match=f"no step {step} .* ResNet .* has res2_0, res2_1"):
            TwoStream(*make_pair(), positions=(step,))
    with pytest.raises(ValueError, match="a branch rgb or flow, got 'audio'"):
        make_network().freeze("audio")


def test_different_branches_are_refused():
    rgb, _ = make_pair(18)
    _, deeper = make_pair(34)
    _, wider = make_pair(18, 8)
    for flow in (deeper, wider):
        with pytest.raises(ValueError, match="branches of the same backbone, depth and width"):
            TwoStream(rgb, flow)
    with pytest.raises(ValueError, match="expected branches rgb and flow"):
        TwoStream(*make_pair(), non_local=("audio",))
    with pytest.raises(ValueError, match="scores of one or both"):
        TwoStream(*make_pair(), scores="all")
