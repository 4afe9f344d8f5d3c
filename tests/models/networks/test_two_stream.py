"""Two branches and the blocks between them."""

import pytest
import torch

from models.backbones.resnet import ResNet
from models.networks.two_stream import (
    TwoStream,
    choose_positions,
    count_parameters,
    is_identity,
)  # fmt: skip


def make_pair(depth=18, width=4, seed=0, classes=5, dropout=0.0):
    torch.manual_seed(seed)
    return (
        ResNet(depth, in_channels=channels, num_classes=classes, width=width, dropout=dropout)
        for channels in (3, 10)
    )


def make_network(depth=18, seed=0, awake=True, **options):
    """A network in eval mode; ``awake`` gives its blocks something to say."""
    network = TwoStream(*make_pair(depth, seed=seed), **options)
    if awake:
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


# --- where blocks stand --------------------------------------------------------------------------


def test_the_papers_places_in_resnet_50():
    assert choose_positions(ResNet(50, width=2)) == (
        "res3_1", "res3_3", "res4_1", "res4_3", "res4_5"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("depth", "places"),
    [
        (18, ((3, 1), (4, 1))),
        (34, ((3, 1), (3, 3), (4, 1), (4, 3), (4, 5))),
        (101, ((3, 1), (3, 3), (4, 6), (4, 14), (4, 22))),
        (152, ((3, 3), (3, 7), (4, 11), (4, 23), (4, 35))),
    ],
)
def test_places_by_the_stated_rule(depth, places):
    expected = tuple(f"res{stage}_{place}" for stage, place in places)
    assert choose_positions(ResNet(depth, width=2)) == expected


# --- what is computed ----------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [18, 50])
def test_a_zero_scaled_network_is_the_plain_one_to_the_bit(depth):
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
def test_so_it_is_in_every_shape_and_layout(depth, form, uniform, size):
    plain = TwoStream(*make_pair(depth, 8), cma=False).eval().to(memory_format=form)
    network = TwoStream(*make_pair(depth, 8), non_local=("rgb", "flow"), uniform=uniform)
    network.eval().to(memory_format=form)
    images = {k: v.contiguous(memory_format=form) for k, v in make_images(*size).items()}
    with torch.no_grad():
        expected = plain(**images)
        for name, scores in network(**images).items():
            assert torch.equal(scores, expected[name])


def test_so_it_is_as_training_begins():
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
    # What wakes the blocks: their scale gets a gradient, nothing behind it does.
    block = network.to_rgb["res3_1"]
    assert block.norm.weight.grad.any()
    assert not block.query.weight.grad.any()


def walk(network, rgb, flow, one_after_another=False):
    """The network by its description: both blocks see what was there before either."""
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


def test_both_directions_look_at_unchanged_features():
    network, images = make_network(), make_images()
    with torch.no_grad():
        scores, expected = network(**images), walk(network, **images)
        other = walk(network, **images, one_after_another=True)
    for name in ("rgb", "flow"):
        assert torch.equal(scores[name], expected[name])
    assert not torch.allclose(scores["flow"], other["flow"])


def test_cma_stands_behind_non_local_blocks():
    network, images = make_network(non_local=("rgb",)), make_images()
    assert len(network.non_local_rgb) == 2
    assert len(network.non_local_flow) == 0
    with torch.no_grad():
        expected = walk(network, **images)
        for name, scores in network(**images).items():
            assert torch.equal(scores, expected[name])


@pytest.mark.parametrize("branch", ["rgb", "flow"])
def test_one_score_is_that_of_both_with_less_work(branch):
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
    """Names of the layers that are run, once for each run; their parameters' number."""
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
def test_layers_that_are_run_in_resnet_50(non_local):
    def make(awake=True, scores="rgb"):
        return make_network(50, non_local=non_local, awake=awake, scores=scores)

    images = make_images(32, 32)
    all_run, all_count = run_counting(make(scores="both"), images)
    assert all_count == count_parameters(make(scores="both"))
    some, count = run_counting(make(), images)
    assert count == make().count_used_parameters() < all_count
    # Flow goes without its last layer, stage 5 (6 convolutions and BNs a block, 2 of the
    # shortcut) and the last block of CMA (5 layers).
    assert len(all_run) - len(some) == 1 + (3 * 6 + 2) + 5
    # At its first four places CMA still changes what RGB looks at later.
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
def test_what_is_counted_is_what_gets_a_gradient(scores, cma):
    network = make_network(scores=scores, cma=cma, non_local=("rgb",))
    images = make_images()
    sum(score.sum() for score in network(**images).values()).backward()
    used = [p for p in network.parameters() if p.grad is not None]
    assert network.count_used_parameters() == sum(p.numel() for p in used)


def test_an_image_that_no_score_needs_may_be_left_out():
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
    silent = make_network(awake=False, scores="rgb")
    with pytest.raises(ValueError, match="scores 'rgb' need flow images, got none"):
        silent(rgb=images["rgb"])
    silent.drop_identities()  # now nothing of flow reaches RGB
    assert torch.equal(silent(rgb=images["rgb"])["rgb"], silent.rgb(images["rgb"]))


def test_dropping_identities_changes_no_bit_and_says_how_many():
    network, images = make_network(awake=False, non_local=("rgb",)), make_images()
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
    network, images = make_network(awake=False, non_local=("rgb", "flow")), make_images()
    with torch.no_grad():
        before = network(**images)
        assert network.drop_identities((branch,)) == 4
        after = network(**images)
    other = "flow" if branch == "rgb" else "rgb"
    assert [len(blocks) for blocks in network.modules_of(branch)[1:]] == [0, 0]
    assert [len(blocks) for blocks in network.modules_of(other)[1:]] == [2, 2]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_control_has_equal_weights_in_all_its_blocks():
    network, control = (make_network(non_local=("rgb",), uniform=u) for u in (False, True))
    control.load_state_dict(network.state_dict())
    assert all(block.uniform for block in list_blocks(control))
    assert not any(block.uniform for block in list_blocks(network))
    images = make_images()
    with torch.no_grad():
        assert not torch.allclose(network(**images)["rgb"], control(**images)["rgb"])


def test_blocks_can_stand_elsewhere():
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


def test_dropout_is_for_training_only():
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


def test_a_shift_alone_is_no_identity():
    network = make_network(awake=False)
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
    # As after iter_1: of the ten blocks only those that change RGB have learned something.
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
    assert all(parameter.grad is None for parameter in network.modules_of(branch).parameters())
    optimizer.step()
    frozen = (f"{branch}.", f"to_{branch}.")
    for name, tensor in network.state_dict().items():
        if name.startswith(frozen):
            assert torch.equal(tensor, before[name]), name
    other = "flow" if branch == "rgb" else "rgb"
    changed = network.state_dict()
    for name in (f"{other}.fc.weight", f"{other}.bn1.running_mean", f"to_{other}.res3_1.out.bias"):
        assert not torch.equal(changed[name], before[name]), name


def test_places_and_branches_must_exist():
    for place in ("res3_2", "res3_-1", "res6_0", "stem"):
        with pytest.raises(ValueError, match=f"no step {place} .* ResNet .* has res2_0, res2_1"):
            TwoStream(*make_pair(), positions=(place,))
    with pytest.raises(ValueError, match="a branch rgb or flow, got 'audio'"):
        make_network().freeze("audio")


def test_branches_must_fit():
    rgb, _ = make_pair(18)
    _, deeper = make_pair(34)
    _, wider = make_pair(18, 8)
    for flow in (deeper, wider):
        with pytest.raises(ValueError, match="branches of one kind, depth and width"):
            TwoStream(rgb, flow)
    with pytest.raises(ValueError, match="expected branches rgb and flow"):
        TwoStream(*make_pair(), non_local=("audio",))
    with pytest.raises(ValueError, match="scores of one or both"):
        TwoStream(*make_pair(), scores="all")
