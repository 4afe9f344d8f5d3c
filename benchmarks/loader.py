"""Reading training samples: a store beside the same frames as loose JPEG files.

    python benchmarks/loader.py [--videos N] [--frames N] [--workers N] [--batch N] [--repeat N]

A sample is TSN's: 3 segments, in each an RGB frame and 5 flow fields (33 JPEGs of 256×256), one
multi-scale crop to 224 for all, as uint8. All readers draw the same samples.

1. Layout alone: the bytes of a sample, without decoding; warm, and cold (page cache dropped).
2. End to end through torch's DataLoader: the store; loose files by OpenCV; loose files by PIL,
   which is how TSN and its successors read. Warm and cold. They take turns; medians are printed.
3. Anonymous memory of each loader worker over an epoch.
4. Where the time of a sample goes.
"""

import argparse
import ctypes
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from clips import find_clips
from machine import describe_machine
from PIL import Image
from rich.console import Console
from store import compute_flows, make_reading_store, read_pairs, write_loose
from torch.utils.data import BatchSampler, DataLoader

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.datasets.loading import Batches, EpochSampler
from flowkit.datasets.sampling import list_times, make_generator
from flowkit.datasets.snippets import SnippetDataset
from flowkit.datasets.transforms import FLOW_SCALES, Crop, MultiScaleCrop, apply_crop
from flowkit.store import Store, rebuild_index, write_annotations
from flowkit.store.format.jpeg import decode_grey, decode_rgb

SEGMENTS, FIELDS, SIZE = 3, 5, 224
console = Console(width=120, markup=False, highlight=False)


class StoreSamples(SnippetDataset):
    """What the benchmark reads from the store."""

    def __init__(self, store: Path) -> None:
        crops = MultiScaleCrop(FLOW_SCALES, SIZE)
        super().__init__(
            store, "train", SEGMENTS, flow_length=FIELDS, training=True, crops=crops, as_bytes=True
        )

    def plan(self, epoch: int, index: int) -> tuple[int, list[int]]:
        """The row of a sample, and where its snippets begin."""
        row = int(self.subset.rows[index])
        times, _ = self.sample_times(row, make_generator(self.seed, epoch, row))
        return row, times[:, 0].tolist()

    def read_only(self, row: int, times: list[int]) -> int:
        """The bytes of a sample: how many."""
        video, total = self.subset.store[row], 0
        for t in times:
            total += len(video.rgb_bytes(t))
            total += sum(len(x) + len(y) for x, y in video.flow_jpegs(t, FIELDS))
        return total


class LooseSamples(StoreSamples):
    """The same samples from loose files, by OpenCV."""

    def __init__(self, store: Path, loose: Path) -> None:
        super().__init__(store)
        self.loose = loose

    def names(self, row: int, stream: str, t: int) -> list[str]:
        folder = f"{self.loose}/{self.subset.store.index.id(row)}"
        if stream == "rgb":
            return [f"{folder}/img_{t:05d}.jpg"]
        times = list_times(t, self.flow_length, self.subset.count(row, "flow"))
        return [f"{folder}/flow_{axis}_{time:05d}.jpg" for time in times for axis in "xy"]

    def read_only(self, row: int, times: list[int]) -> int:
        total = 0
        for t in times:
            for name in self.names(row, "rgb", t) + self.names(row, "flow", t):
                with open(name, "rb", buffering=0) as file:  # noqa: PTH123  # the fastest way
                    total += len(file.read())
        return total

    def read_images(self, video: Any, row: int, stream: str, t: int) -> list[Any]:
        if stream == "rgb":
            [name] = self.names(row, stream, t)
            return [cv2.cvtColor(cv2.imread(name), cv2.COLOR_BGR2RGB)]
        return [cv2.imread(name, cv2.IMREAD_GRAYSCALE) for name in self.names(row, stream, t)]


class PILSamples(LooseSamples):
    """The same samples from loose files, as TSN reads, crops, mirrors and stacks them."""

    def __getitem__(self, key: Any) -> dict[str, torch.Tensor]:
        epoch, index = key
        row = int(self.subset.rows[index])
        video, random = self.subset.store[row], make_generator(self.seed, epoch, row)
        times, label = self.sample_times(row, random)
        [crop] = self.crops(video.height, video.width, random)
        sample = {}
        for stream, mode in (("rgb", "RGB"), ("flow", "L")):
            stacks = []
            for [t] in times.tolist():
                names = self.names(row, stream, t)
                images = [Image.open(name).convert(mode) for name in names]
                stacks.append(stack_images([crop_image(i, crop) for i in images], stream, crop))
            sample[stream] = torch.from_numpy(np.stack(stacks))
        return {**sample, "label": label, "row": torch.tensor(row)}


def crop_image(image: Image.Image, crop: Crop) -> Image.Image:
    box = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
    image = image.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop.mirrored else image


def stack_images(images: list[Image.Image], stream: str, crop: Crop) -> np.ndarray:
    """(C, H, W): RGB's channels, or x and y in turn, x negated in a mirror."""
    if stream == "rgb":
        return np.ascontiguousarray(np.asarray(images[0]).transpose(2, 0, 1))
    planes = np.stack([np.asarray(image) for image in images])
    if crop.mirrored:
        planes[0::2] = 255 - planes[0::2]
    return planes


# --- measuring -----------------------------------------------------------------------------------


def drop_cache(folder: Path) -> None:
    """Ask the kernel to forget the pages of all files below a folder."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def list_states(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Warm and cold, and what makes each so before a turn."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()
    yield "warm", lambda: None
    drop_cache(folder)
    console.print(f"Page cache dropped: {describe_residency(folder)}")
    yield "cold", lambda: drop_cache(folder)


def describe_residency(folder: Path) -> str:
    """How many pages of the files are in the page cache, by mincore."""
    library, pages, resident = ctypes.CDLL(None, use_errno=True), 0, 0
    for path in folder.rglob("*"):
        size = path.stat().st_size if path.is_file() else 0
        if not size:
            continue
        if not os.access(path, os.W_OK):  # mincore would call every page resident
            return "residency cannot be checked: the files are not ours"
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            seen = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
            view = np.frombuffer(mapped, np.uint8)
            where = [ctypes.c_void_p(array.ctypes.data) for array in (view, seen)]
            failed = library.mincore(where[0], ctypes.c_size_t(size), where[1])
            del view
        if failed:
            return "residency cannot be checked: mincore failed"
        pages, resident = pages + len(seen), resident + int((seen & 1).sum())
    return f"{resident / pages:.2%} of {pages:,} pages are resident"


def take_turns(
    readers: dict[str, Callable[[], float]], before: Callable[[], None], repeat: int
) -> dict[str, float]:
    """The median of what each reader returns, all taking turns."""
    rates: dict[str, list[float]] = {name: [] for name in readers}
    names = list(readers)
    for turn in range(repeat):  # another one first each time
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            before()
            rates[name].append(readers[name]())
    return {name: float(np.median(values)) for name, values in rates.items()}


def measure_layout(store: Path, loose: Path, count: int, repeat: int) -> None:
    """Samples' bytes per second; a new reader each time, so that cold is cold."""
    makers: dict[str, Callable[[], StoreSamples]] = {
        "store": lambda: StoreSamples(store),
        "loose": lambda: LooseSamples(store, loose),
    }

    def reader(make: Callable[[], StoreSamples]) -> Callable[[], float]:
        def read() -> float:
            samples = make()
            order = np.random.default_rng(0).permutation(len(samples)).tolist()
            keys = [divmod(n, len(order)) for n in range(taken)]
            # Drawing the times is no part of the layout, and would blur what is.
            plans = [samples.plan(epoch, order[place]) for epoch, place in keys]
            begin = time.perf_counter()
            for row, times in plans:
                samples.read_only(row, times)
            return taken / (time.perf_counter() - begin)

        return read

    readers = {name: reader(make) for name, make in makers.items()}
    for state, before in list_states(store.parent):
        # cold: each video once, as what was read is warm
        taken = count if state == "warm" else min(count, len(StoreSamples(store)))
        rates = take_turns(readers, before, repeat)
        console.print(
            f"Bytes alone, {state}: {rates['store']:,.0f} samples/s from the store, "
            f"{rates['loose']:,.0f} from loose files: {rates['store'] / rates['loose']:.2f}×"
            + (" (bar: ≥ 3)" if state == "warm" else "")
        )


def make_loader(samples: StoreSamples, workers: int, batch: int) -> Iterator[Any]:
    """Batches of many epochs, one after another."""

    class Endless(EpochSampler):
        def __iter__(self) -> Any:
            for epoch in range(10_000):
                self.set_epoch(epoch)
                yield from super().__iter__()

    sampler = Endless(len(samples), training=True)
    if type(samples) is StoreSamples:  # as flowkit trains; the others as their toolboxes do
        return iter(DataLoader(Batches(samples), None, sampler=BatchSampler(sampler, batch, True),
                               num_workers=workers, worker_init_fn=one_thread))  # fmt: skip
    return iter(DataLoader(samples, batch, sampler=sampler, num_workers=workers,
                           worker_init_fn=one_thread, drop_last=True))  # fmt: skip


def one_thread(worker: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def measure_loading(store: Path, loose: Path, options: argparse.Namespace) -> None:
    """Samples per second through the DataLoader, after its first batches."""
    makers: dict[str, Callable[[], StoreSamples]] = {
        "store": lambda: StoreSamples(store),
        "OpenCV": lambda: LooseSamples(store, loose),
        "PIL": lambda: PILSamples(store, loose),
    }

    def reader(make: Callable[[], StoreSamples]) -> Callable[[], float]:
        def read() -> float:
            batches = make_loader(make(), options.workers, options.batch)
            for _ in range(2 * options.workers):
                next(batches)
            begin = time.perf_counter()
            for _ in range(options.batches):
                next(batches)
            return options.batches * options.batch / (time.perf_counter() - begin)

        return read

    readers = {name: reader(make) for name, make in makers.items()}
    for state, before in list_states(store.parent):
        rates = take_turns(readers, before, options.repeat)
        console.print(
            f"End to end, {state}, {options.workers} workers: "
            + ", ".join(f"{name} {rate:.1f} samples/s" for name, rate in rates.items())
            + f": {rates['store'] / rates['OpenCV']:.2f}× OpenCV (bar: ≥ 1.05), "
            f"{rates['store'] / rates['PIL']:.2f}× PIL (bar: ≥ 1.7)"
        )


def measure_memory(store: Path, options: argparse.Namespace) -> None:
    """Anonymous memory of each worker, at the beginning and the end of an epoch."""
    samples = StoreSamples(store)
    batches = make_loader(samples, options.workers, options.batch)
    for _ in range(2 * options.workers):
        next(batches)
    workers = [worker.pid for worker in batches._workers]  # type: ignore[attr-defined]
    marks = [[read_anonymous(pid) for pid in workers]]
    epoch = max(2, len(samples) // options.batch)
    for step in range(1, epoch + 1):
        next(batches)
        if step in (epoch // 2, epoch):
            marks.append([read_anonymous(pid) for pid in workers])
    for place, values in zip(("begin", "middle", "end"), marks, strict=True):
        shown = ", ".join(f"{value / 1024:.0f} MiB" for value in values)
        console.print(f"Anonymous memory of the workers, {place} of an epoch: {shown}")


def read_anonymous(pid: int) -> int:
    """RssAnon of a process, KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1])
    return 0


def profile_sample(store: Path, count: int = 200) -> None:
    """Milliseconds of each stage of a sample, one thread, warm."""
    samples = StoreSamples(store)
    spent: dict[str, float] = {}
    rgb_out = np.empty((3, SIZE, SIZE), np.uint8)
    flow_out = np.empty((2 * FIELDS, SIZE, SIZE), np.uint8)

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - begin

    for index in range(count):
        row = int(samples.subset.rows[index % len(samples)])
        video, random = samples.subset.store[row], np.random.default_rng(index)
        [crop] = samples.crops(video.height, video.width, random)
        for [t] in samples.sample_times(row, random)[0].tolist():
            with stage("read"):
                rgb, fields = video.rgb_bytes(t), video.flow_jpegs(t, FIELDS)
            with stage("decode RGB"):
                frame = decode_rgb(rgb)
            with stage("decode flow"):
                planes = [decode_grey(plane) for field in fields for plane in field]
            with stage("crop and stack"):
                apply_crop([frame], crop, rgb_out)
                apply_crop(planes, crop, flow_out, flow=True)
    begin = time.perf_counter()
    for index in range(count):
        _ = samples[0, index % len(samples)]
    whole = (time.perf_counter() - begin) / count * 1e3
    parts = ", ".join(f"{name} {1e3 * seconds / count:.2f}" for name, seconds in spent.items())
    console.print(f"A sample takes {whole:.2f} ms in one thread: {parts} ms")


def annotate(store: Path) -> None:
    """All videos into one subset, with one label."""
    rows = tuple(Annotation(id, (Label("any"),), ("train",)) for id in sorted(Store(store)))
    write_annotations(store, AnnotationTable(("any",), rows))
    rebuild_index(store)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, help="folder of clips; default: beside the checkout")
    parser.add_argument("--pairs", type=int, default=8, help="frame pairs of each clip")
    parser.add_argument("--videos", type=int, default=400)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--samples", type=int, default=1500, help="of which bytes are read")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--work", type=Path, help="folder on the disk to measure")
    options = parser.parse_args()
    console.print(f"{describe_machine()}, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        videos = find_clips(options.clips, work / "rendered")
        pairs = read_pairs(videos, options.pairs)
        store, loose = work / "reading" / "store", work / "reading" / "loose"
        store.parent.mkdir()
        size = make_reading_store(
            store, pairs, compute_flows(pairs), options.videos, options.frames
        )
        annotate(store)
        write_loose(Store(store), loose)
        console.print(f"{options.videos} videos, {size / 2**20:,.0f} MiB of JPEG\n")
        measure_layout(store, loose, options.samples, options.repeat)
        measure_loading(store, loose, options)
        measure_memory(store, options)
        profile_sample(store)


if __name__ == "__main__":
    main()
