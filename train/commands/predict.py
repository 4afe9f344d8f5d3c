"""`flowkit predict`: what is in a video?"""

import json as json_text
from pathlib import Path

import click

from train.commands.options import machine_options, make_settings


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("video", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("prediction.png"),
    show_default=True,
    help="Picture of what the network saw and said.",
)
@click.option("--backend", default="auto", show_default=True, help="Of flow.")
@click.option("--json", is_flag=True, help="Print class → probability of the five likeliest.")
@machine_options
def predict(
    run: Path, video: Path, out: Path, backend: str, json: bool,
    device: str, workers: int | None, threads: int | None,
) -> None:  # fmt: skip
    """Classify a video file with a finished RUN: decode, flow, the five likeliest classes."""
    from flowkit.errors import UsageError
    from train.predict import draw_prediction, predict_video
    from train.run import Run

    if not video.is_file():
        raise UsageError(f"expected a video file, got {video}; check the path")
    prediction = predict_video(Run(run), video, make_settings(device, workers, threads), backend)
    draw_prediction(prediction, video.name).savefig(out)
    top = prediction.top()
    if json:
        click.echo(json_text.dumps(dict(top)))
        return
    for name, probability in top:
        click.echo(f"{probability:6.1%}  {name}")
    click.echo(str(out))
