"""The steps of `benchmarks/gpu.py`, most valuable first, and their limits of time.

All limits together, with the one for the installation, must not exceed TOTAL_SECONDS: a machine
with a GPU may be lent for no longer (tests/benchmarks/test_gpu_steps.py checks it).
"""

from dataclasses import dataclass, field
from pathlib import Path

TOTAL_SECONDS = 480
SIZES = ((256, 256), (340, 256))  # width, height of the frames of a pack
INSTALL_SECONDS = 25


@dataclass(frozen=True)
class Step:
    """One measurement, run in a process of its own."""

    name: str
    title: str
    """What it measures, for the terminal."""

    function: str
    """``module:function`` in gpu_steps; it is called with a `Scale` and a `Recorder`."""

    seconds: float
    """Its process is killed after this long."""


STEPS = (
    Step("machine", "versions, clocks, compile time", "flow:measure_machine", 60),
    Step("agreement", "agreement with numba, the same bits always", "flow:measure_agreement", 45),
    Step("speed", "pairs per second by preset, size and batch", "flow:measure_speed", 75),
    Step("structure", "OpenCV's structure of launches", "flow:measure_structure", 30),
    Step("accuracy", "endpoint error against known flow", "flow:measure_accuracy", 20),
    Step("extraction", "extraction from end to end", "extraction:measure", 50),
    Step("training", "training steps of two-stream networks", "networks:measure_training", 45),
    Step("attention", "attention blocks and their equations", "networks:measure_attention", 25),
    Step("features", "feature extraction", "networks:measure_features", 45),
    Step("tests", "pytest -m gpu", "gpu_tests:run_tests", 60),
)


@dataclass(frozen=True)
class Scale:
    """How much each step does: everything on a GPU, or just enough to rehearse it on a CPU."""

    data: Path
    """The folder of frames, clips and Middlebury sequences of the pack."""

    rehearsal: bool = False
    batches: tuple[int, ...] = (256, 64, 8, 1)
    agreement_pairs: int = 32
    structure_pairs: int = 6
    repeat: int = 3
    thread_runs: int = 3
    """Batches that each of two threads solves while they are timed."""

    batch_seconds: float = 1.5
    """How long the repetitions of one batch may take, about, in one thread and in two."""

    copies: int = 6
    """Of each clip, for extraction."""

    train_batch: int = 32
    train_steps: int = 15
    attention_batch: int = 4
    attention_steps: int = 10
    feature_videos: int = 160
    networks: tuple[tuple[str, str, int], ...] = field(
        default=(("inception_resnet_v2", "float32", 256), ("resnet152", "bfloat16", 256))
    )
    """Backbone, precision and batch of feature extraction."""

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of frames; a rehearsal shrinks them, so that one will do."""
        return SIZES[:1] if self.rehearsal else SIZES

    @property
    def device(self) -> str:
        """Torch's name of what is measured."""
        return "cpu" if self.rehearsal else "cuda"


def make_rehearsal(data: Path) -> Scale:
    """Make a scale that a CPU does in seconds, with Triton's kernels in its interpreter."""
    return Scale(
        data=data,
        rehearsal=True,
        batches=(1,),
        agreement_pairs=2,
        structure_pairs=1,
        repeat=1,
        thread_runs=1,
        copies=1,
        train_batch=1,
        train_steps=1,
        attention_batch=1,
        attention_steps=1,
        feature_videos=2,
        networks=(("resnet50", "float32", 2),),
    )


def find_step(name: str) -> Step:
    """Return the step of that name; ValueError where there is none."""
    for step in STEPS:
        if step.name == name:
            return step
    names = ", ".join(step.name for step in STEPS)
    raise ValueError(f"there is no step {name!r}: expected one of {names}")
