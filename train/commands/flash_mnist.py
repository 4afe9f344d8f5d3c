"""Define `flowkit flash-mnist`, which builds the store of Flash-MNIST from MNIST's digits."""

from pathlib import Path

import click

from train.commands.options import PATH


@click.command("flash-mnist")
@click.option("--store", type=PATH, default=Path("stores/flash_mnist"), show_default=True,
              help="Folder of the store to build or complete.")  # fmt: skip
@click.option("--data", type=PATH,
              help="Folder of the MNIST files. [default: $FLOWKIT_DATA/mnist, or data/mnist if "
                   "FLOWKIT_DATA is not set]")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Random seed of the videos and of the digit CNN.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), help="Training epochs of the digit CNN.")
@click.option("--threads", type=click.IntRange(1),
              help="CPU threads for PyTorch. [default: all cores]")  # fmt: skip
def flash_mnist(
    store: Path, data: Path | None, seed: int, epochs: int | None, threads: int | None
) -> None:
    """Build the store of Flash-MNIST: 112,640 videos of 25 local features.

    Draws the videos from MNIST's digits, trains a CNN on noisy digits, and stores the features that
    it computes. Frames are not stored, because the seed decides them. Then train:

    \b
    flowkit train flash_mnist_clusters --store S --run R

    Run the same command again to continue after an interruption.
    """
    import torch

    from flowkit.catalog import data_root
    from flowkit.commands.terminal import progress_bar
    from flowkit.store import Store
    from flowkit.synthetic.flash_mnist import SPLITS, FlashMNIST
    from flowkit.synthetic.mnist import read_digits
    from train.flash_mnist.digits import DigitTraining
    from train.flash_mnist.store import make_store

    folder = data or data_root() / "mnist"
    digits = {split: read_digits(folder, split) for split in SPLITS}
    if threads:
        torch.set_num_threads(threads)
    training = DigitTraining(epochs=epochs) if epochs else DigitTraining()
    facts = make_store(store, FlashMNIST(digits, seed=seed), training, progress_bar)
    accuracy = facts["accuracy"]
    click.echo(
        f"{store}: {len(Store(store)):,} videos of {facts['digits']['train']:,} training and "
        f"{facts['digits']['test']:,} test digits; the CNN reads {accuracy['digits']:.2%} of the "
        f"test digits in noise and {accuracy['noise']:.2%} of the noise correctly"
    )
