"""Define `flowkit predict`, which classifies a video."""

import json as json_text
from pathlib import Path

import click

from train.commands.options import PATH, device_option, run_argument, threads_option


@click.command()
@run_argument
@click.argument("video")
@click.option("--store", type=PATH,
              help="Store with features, for a run on feature sets; VIDEO is then the id of a "
                   "video in it.")  # fmt: skip
@click.option("-o", "--out", type=PATH, default=Path("prediction.png"), show_default=True,
              help="Image file to write: frames, flow and the most probable classes.")  # fmt: skip
@click.option("--backend", default="auto", show_default=True, help="Optical-flow backend.")
@click.option("--json", is_flag=True,
              help="Print the five most probable classes and their probabilities as "
                   "JSON.")  # fmt: skip
@device_option
@threads_option
# One video needs no loader processes; older versions accepted their number, and ignored it.
@click.option("--workers", type=click.IntRange(0), hidden=True, expose_value=False)
def predict(
    run: Path, video: str, store: Path | None, out: Path, backend: str, json: bool,
    device: str, threads: int | None,
) -> None:  # fmt: skip
    """Classify VIDEO with a finished RUN, and print the five most probable classes.

    \b
    flowkit predict R a.mp4               classify a video file, or a folder of images
    flowkit predict R ID --store S        classify a video of S from its features
    """
    from flowkit.errors import UsageError
    from flowkit.frame_files import holds_images
    from flowkit.path_text import argument_to_text
    from flowkit.store import Store
    from train.evaluation.predict import draw_prediction, predict_stored, predict_video
    from train.runs.run import Run
    from train.runs.settings import make_settings

    settings = make_settings(device, 0, threads)
    if store is not None:
        prediction = predict_stored(Run(run), Store(store), argument_to_text(video), settings)
    elif not (Path(video).is_file() or holds_images(Path(video))):
        found = f"there is no file {video}; check the path"
        if Path(video).is_dir():
            found = f"{video} is a folder without images; name one video in it"
        raise UsageError(
            f"expected a video file, or a folder with the images of a video, but {found}"
        )
    else:
        prediction = predict_video(Run(run), Path(video), settings, backend)
    draw_prediction(prediction, Path(video).name).savefig(out)
    top = prediction.top()
    if json:
        click.echo(json_text.dumps(dict(top)))
        return
    for name, probability in top:
        click.echo(f"{probability:6.1%}  {name}")
    click.echo(str(out))
