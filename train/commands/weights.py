"""Define `flowkit weights`, which says what a weight file is."""

import json as json_text

import click

from flowkit.path_text import argument_to_text


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=argument_to_text)
@click.option("--json", is_flag=True, help="Print one JSON object for each file.")
def weights(files: tuple[str, ...], json: bool) -> None:
    """Say what the weight files FILE are, and which recipes can start from them.

    A FILE is a file, the folder of a finished phase, or the beginning of a name that flowkit train
    finds, such as resnet50. No code in a file is run: only its tensors are read.

    \b
    flowkit weights resnet50-0676ba61.pth
    flowkit weights p3d_rgb_199.checkpoint.pth.tar --json
    flowkit weights runs/tsn/phases/rgb

    Shown are the network and the publisher whose parameter names the file has, the classes and the
    last layer, the channels of the input and how the publisher normalizes it, the digest, the
    tensors that training would skip, and the recipes with the option of flowkit train. For an
    unknown file, the nearest network is shown, and how the file differs from it.
    """
    from flowkit.errors import UsageError
    from models.weights.pretrained import WeightsError
    from train.tasks.weight_description import describe_weights, format_description, make_json

    for file in files:
        try:
            description = describe_weights(file)
        except WeightsError as error:
            raise UsageError(str(error)) from error
        if json:
            click.echo(json_text.dumps(make_json(description)))
            continue
        for line in format_description(description):
            click.echo(line)
