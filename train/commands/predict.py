"""Define `flowkit predict`, which classifies a video."""

import json as json_text
from pathlib import Path

import click
from click.core import ParameterSource

from train.commands.options import PATH, device_option, run_argument, threads_option


@click.command()
@run_argument
@click.argument("video")
@click.option("--store", type=PATH,
              help="Store with features, for a run on feature sets; VIDEO is then the id of a "
                   "video in it.")  # fmt: skip
@click.option("-o", "--out", type=PATH, default=Path("prediction.png"), show_default=True,
              help="Image file to write: frames, flow and the most probable classes. Without an "
                   "extension, .png is added.")  # fmt: skip
@click.option("--backend", default="auto", show_default=True, help="Optical-flow backend.")
@click.option("--frame-rate", type=float, metavar="FPS",
              help="Frames per second of a folder of images, which a RUN needs whose store is "
                   "resampled to a frame rate.")  # fmt: skip
@click.option("--json", is_flag=True,
              help="Print the five most probable classes and their probabilities as JSON; the "
                   "image is written all the same.")  # fmt: skip
@device_option
@threads_option
# One video needs no loader processes; older versions accepted their number, and ignored it.
@click.option("--workers", type=click.IntRange(0), hidden=True, expose_value=False)
@click.pass_context
def predict(
    context: click.Context, run: Path, video: str, store: Path | None, out: Path, backend: str,
    frame_rate: float | None, json: bool, device: str, threads: int | None,
) -> None:  # fmt: skip
    """Classify VIDEO with a finished RUN, and print the five most probable classes.

    \b
    flowkit predict R a.mp4               classify a video file, or a folder of images
    flowkit predict R ID --store S        classify a video of S from its features
    """
    from flowkit.errors import UsageError
    from flowkit.path_text import argument_to_text, printable_path
    from flowkit.store import Store
    from flowkit.store.format.atomic import convert_disk_errors
    from train.evaluation.predict import (
        choose_store_recipe,
        draw_prediction,
        predict_stored,
        predict_video,
    )
    from train.runs.run import Run
    from train.runs.settings import make_settings

    out = choose_image_path(out)
    settings = make_settings(device, 0, threads)
    opened_run = Run(run)
    if store is not None:
        if context.get_parameter_source("backend") is not ParameterSource.DEFAULT:
            raise UsageError("--backend has an effect only with a video file, not with --store")
        if frame_rate is not None:
            raise UsageError("--frame-rate is for a folder of images, not for --store")
        prediction = predict_stored(opened_run, Store(store), argument_to_text(video), settings)
    else:
        choose_store_recipe(opened_run)  # a run on features needs an id, which is no path
        check_video_path(Path(video))
        prediction = predict_video(opened_run, Path(video), settings, backend, frame_rate)
    with convert_disk_errors(out):
        draw_prediction(prediction, printable_path(Path(video).name)).savefig(out)
    top = prediction.top()
    if json:
        click.echo(json_text.dumps(dict(top)))
        return
    for name, probability in top:
        click.echo(f"{probability:6.1%}  {name}")
    click.echo(str(out))


def choose_image_path(out: Path) -> Path:
    """Choose the image file to write, and check that it can be one.

    Args:
        out: Value of --out.

    Returns:
        The path, with the extension .png if it had none.

    Raises:
        UsageError: It is a folder, its folder does not exist, or no image has its extension.
    """
    from matplotlib.figure import Figure

    from flowkit.caches import is_folder
    from flowkit.errors import UsageError

    if is_folder(out):
        raise UsageError(f"-o {out} is a folder; name an image file in it, such as x.png")
    if not is_folder(out.parent):
        raise UsageError(f"-o {out}: there is no folder {out.parent}; create it first")
    if not out.suffix:
        return out.with_name(f"{out.name}.png")
    known = sorted(Figure().canvas.get_supported_filetypes())
    if out.suffix.lower().removeprefix(".") not in known:
        raise UsageError(
            f"-o {out}: {out.suffix} is no kind of image that can be written; expected one of "
            f"{', '.join(known)}"
        )
    return out


def check_video_path(video: Path) -> None:
    """Check that a path is a video file or a folder of images.

    Raises:
        UsageError: It is neither.
    """
    from flowkit.errors import UsageError
    from flowkit.frame_files import holds_images

    if video.is_file() or holds_images(video):
        return
    found = f"there is no file {video}; check the path"
    if video.is_dir():
        found = f"{video} is a folder without images; name one video in it"
    raise UsageError(f"expected a video file, or a folder with the images of a video, but {found}")
