"""Define `flowkit features`, which computes features of videos as files or in a store."""

from typing import TYPE_CHECKING, Any

import click

from train.commands.feature_options import OPTION_GROUPS, add_feature_options
from train.commands.grouped_help import GroupedCommand

if TYPE_CHECKING:
    from train.feature_files.summary import Summary as FileSummary
    from train.features import Summary


@click.command(cls=GroupedCommand, option_groups=OPTION_GROUPS)
@add_feature_options
@click.pass_context
def features(context: click.Context, /, as_json: bool, strict: bool, **options: Any) -> None:
    """Compute features of videos with a network, as files (--out) or in their store (--name).

    Run the same command again to continue after an interruption.

    \b
    flowkit features --videos DIR --model i3d --weights rgb=rgb_imagenet.pt \\
        --weights flow=flow_imagenet.pt --window 16 --stride 4 --fps 25 --out feats/
    flowkit features --store S --model runs/rgb --window 16 --out feats/
    flowkit features --store S --model runs/flow --stream flow --name flow --positions 20
    flowkit features --store S --model resnet152.pth --backbone resnet152 --name rgb
    flowkit features --store S --model timm/convnext_tiny.in12k_ft_in1k --name rgb

    A feature is the pooled output of the network before its last layer: float32 in files, float16
    in a store.
    """
    from flowkit.commands.terminal import print_json, print_table
    from flowkit.errors import UsageError
    from train.commands.feature_request import compute_files, compute_stream

    if (options["out"] is None) == (options["name"] is None):
        raise UsageError(
            "expected either --out DIR, to write files, or --name NAME, to store the features in "
            "the store"
        )
    compute = compute_stream if options["out"] is None else compute_files
    summary, target = compute(options, strict)
    if as_json:
        print_json(summary.to_dict())
    else:
        print_table(summary.render())
        click.echo(target)
    context.exit(choose_exit_code(summary, strict))


def choose_exit_code(summary: "Summary | FileSummary", strict: bool) -> int:
    """Return the exit code of the command for its summary."""
    if summary.interrupted:
        click.echo("interrupted; run the same command again to continue", err=True)
        return 130
    if strict and summary.without_features:
        return 4
    if summary.is_failure:
        click.echo("error: no video has features; the reasons are above", err=True)
        return 1
    return 0
