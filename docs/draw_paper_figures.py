"""Draw the pictures of docs/papers.md: figures of the papers, made on motion8 and Flash-MNIST.

    flowkit demo --write --videos 480 --test-videos 80 --frames 6 --size 64x64
    flowkit extract --dataset motion8 --size 64x64 --bound 5
    flowkit demo --write --seed 1 --videos 80 --test-videos 160 --frames 6 --size 64x64 \\
        --data OTHER/motion8
    FLOWKIT_DATA=OTHER flowkit extract --dataset motion8 --size 64x64 --bound 5 \\
        --store stores/motion8_other
    python docs/draw_paper_figures.py motion8 --store stores/motion8
    flowkit flash-mnist --data MNIST --store F
    flowkit train flash_mnist_clusters --store F --run R \\
        --row "FC1, N=8, no shifting, authors' schedule"
    flowkit evaluate R --store F
    python docs/draw_paper_figures.py flash-mnist --data MNIST --store F --run R

motion8: trains the small networks of docs/paper_runs in runs/papers, prints their tables and draws
their figures; what is finished there is not trained again. flash-mnist: draws videos of MNIST's digits; with a store and a run, also the
weights of the run. Both write docs/paper_*.
"""

import argparse
import io
from pathlib import Path

from paper_runs.motion8 import FIGURES, RUNS, format_tables, run_flowkit, train_all
from PIL import Image

DOCS = Path(__file__).parent
MAX_WIDTH, MAX_BYTES = 900, 95_000


def main() -> None:
    """Read the arguments and draw the pictures of one dataset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=("motion8", "flash-mnist"))
    parser.add_argument("--store", type=Path, help="store of the dataset")
    parser.add_argument("--other", type=Path, default=Path("stores/motion8_other"),
                        help="other store of motion8, to which networks are transferred"
                        )  # fmt: skip
    parser.add_argument("--run", type=Path, help="run of flash_mnist_clusters")
    parser.add_argument("--data", type=Path, default=Path("mnist"))
    parser.add_argument("--only", action="append", help="draw this picture only")
    options = parser.parse_args()
    if options.dataset == "motion8":
        store = options.store or Path("stores/motion8")
        draw_motion8(store, options.other, options.only or [*FIGURES])
    else:
        draw_flash_mnist(options.data, options.store, options.run)


def draw_motion8(store: Path, other: Path, names: list[str]) -> None:
    """Train the runs, print their tables, and draw the pictures."""
    train_all(store, other)
    print(format_tables())
    for name in names:
        run, words = FIGURES[name]
        before = list_pictures(RUNS / run)
        run_flowkit("report", RUNS / run, *words, "--store", store)
        drawn = [path for path, time in list_pictures(RUNS / run).items()
                 if before.get(path) != time]  # fmt: skip
        for number, path in enumerate(sorted(drawn), 1):
            save(Image.open(path), f"paper_{name}" + (f"_{number}" if number > 1 else ""))


def list_pictures(run: Path) -> dict[Path, int]:
    """List the pictures of a run, with the time at which each was written."""
    return {path: path.stat().st_mtime_ns for path in (run / "figures").glob("*.png")}


def draw_flash_mnist(data: Path, store: Path | None, run: Path | None) -> None:
    """Draw videos of Flash-MNIST (Fig. 3), and the weights of the units of a run (Fig. 5)."""
    from flowkit.synthetic.flash_mnist import SPLITS, FlashMNIST
    from flowkit.synthetic.mnist import read_digits

    draw_videos(FlashMNIST({split: read_digits(data, split) for split in SPLITS}))
    if store is not None and run is not None:
        run_flowkit("report", run, "weights", "--store", store)
        save(Image.open(run / "figures" / "weights_digits.png"), "paper_clusters_weights")


def draw_videos(videos: "object") -> None:
    """Draw five test videos of Flash-MNIST, a row each, beside the names of their classes."""
    from matplotlib.figure import Figure

    from flowkit.synthetic.flash_mnist import CLASS_NAMES, NO_DIGIT

    figure = Figure(figsize=(9, 2.4), layout="constrained")
    labels = (0b0000000110, 0b1010010001, 0b0100101000, 0b1101000011, 0b0010110100)
    grid = figure.subplots(len(labels), 1)
    for axes, label in zip(grid, labels, strict=True):
        index = label * videos.videos["test"]
        frames, flashes = videos.frames("test", index), videos.flashes("test", index)
        axes.imshow(frames.transpose(1, 0, 2).reshape(frames.shape[1], -1), cmap="gray")
        for frame in (flashes != NO_DIGIT).nonzero()[0]:
            corner = (frame * 28 - 0.5, -0.5)
            axes.add_patch(make_frame(corner))
        axes.set_ylabel(CLASS_NAMES[label], rotation=0, ha="right", va="center")
        axes.set_xticks([])
        axes.set_yticks([])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    save(Image.open(buffer), "paper_flash_mnist_videos")


def make_frame(corner: tuple[float, float]) -> "object":
    """Make the frame around an image in which a digit flashes up."""
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 28, 28, fill=False, edgecolor="#d55e00", linewidth=1.2)


def save(picture: Image.Image, name: str) -> None:
    """Save a picture in docs/, as a small PNG, or as JPEG if that would be too large."""
    picture = picture.convert("RGB")
    if picture.width > MAX_WIDTH:
        height = round(picture.height * MAX_WIDTH / picture.width)
        picture = picture.resize((MAX_WIDTH, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.quantize(64).save(buffer, "PNG", optimize=True)
    path = DOCS / f"{name}.png"
    for quality in (85, 75, 65, 50):
        if buffer.tell() <= MAX_BYTES:
            break
        buffer, path = io.BytesIO(), DOCS / f"{name}.jpg"
        picture.save(buffer, "JPEG", quality=quality)
    path.write_bytes(buffer.getvalue())
    print(f"{path}: {buffer.tell():,} bytes")


if __name__ == "__main__":
    main()
