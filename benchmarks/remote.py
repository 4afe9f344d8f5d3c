"""Training samples from a store over HTTP, by latency and loader workers, beside the local store.

    python benchmarks/remote.py [--latencies MS …] [--workers N …] [--rounds N]

A server in a process of its own answers range requests after a given time. A sample is TSN's: 3
segments, in each an RGB frame and 5 flow fields (33 JPEGs of 256×256), one crop to 224 for all, as
uint8, through torch's DataLoader. Each video gives one sample of an epoch, so with a cold cache
nothing was read before: neither its shard's footer, nor its headers, nor its images. The warm cache
is that of the epoch before. Rates are those after the first batch of each worker; local, cold and
warm are measured in turn, and ratios are medians over the rounds.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import ClassVar

import cv2
import torch
from clips import find_clips
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from store import compute_flows, make_reading_store, read_pairs
from torch.utils.data import BatchSampler, DataLoader

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.datasets.loading import Batches, EpochSampler
from flowkit.datasets.snippets import SnippetDataset
from flowkit.datasets.transforms import FLOW_SCALES, MultiScaleCrop
from flowkit.store import Store, rebuild_index, write_annotations

BARS = {"cold": 0.5, "warm": 0.9}
console = Console(width=120, markup=False, highlight=False)


class RangeServer(asyncio.Protocol):
    """Answers GET and HEAD of files, with ranges, after ``latency`` seconds."""

    root: Path
    latency = 0.0
    files: ClassVar[dict[str, int]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.data = transport, b""
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (stop := self.data.find(b"\r\n\r\n")) >= 0:
            request, self.data = self.data[:stop], self.data[stop + 4 :]
            self.loop.call_later(self.latency, self.answer, request.decode())

    def answer(self, request: str) -> None:
        first, *lines = request.split("\r\n")
        method, path, _ = first.split(" ")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        if path not in self.files:
            try:
                self.files[path] = os.open(self.root / path.lstrip("/"), os.O_RDONLY)
            except OSError:
                self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
        descriptor = self.files[path]
        size = os.fstat(descriptor).st_size
        start, last = 0, size - 1
        status = "200 OK"
        if "range" in headers:
            first_byte, last_byte = headers["range"].removeprefix("bytes=").split("-")
            start, last = int(first_byte), min(int(last_byte), last)
            status = f"206 Partial Content\r\nContent-Range: bytes {start}-{last}/{size}"
        head = (
            f'HTTP/1.1 {status}\r\nContent-Length: {last + 1 - start}\r\nETag: "{size}"\r\n'
            "Last-Modified: Wed, 21 Oct 2026 07:28:00 GMT\r\n\r\n"
        )
        body = b"" if method == "HEAD" else os.pread(descriptor, last + 1 - start, start)
        self.transport.write(head.encode() + body)


def serve(root: Path, latency: float) -> None:
    """Print the port, and serve until the process is ended."""
    RangeServer.root, RangeServer.latency = root, latency

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(RangeServer, "127.0.0.1", 0, backlog=512)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(run())


def one_thread(worker: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def measure(store: str | Path, workers: int, batches: int, batch: int) -> float:
    """Samples per second of the first epoch."""
    samples = SnippetDataset(
        store, "train", 3, flow_length=5, training=True, as_bytes=True,
        crops=MultiScaleCrop(FLOW_SCALES, 224),
    )  # fmt: skip
    sampler = EpochSampler(len(samples), training=True)
    loader = iter(DataLoader(Batches(samples), None, sampler=BatchSampler(sampler, batch, True),
                             num_workers=workers, worker_init_fn=one_thread))  # fmt: skip
    for _ in range(max(1, workers)):
        next(loader)
    begin = time.perf_counter()
    for _ in range(batches):
        next(loader)
    rate = batches * batch / (time.perf_counter() - begin)
    del loader
    return rate


def measure_latency(
    root: Path, cache: Path, latency: float, workers: int, options: argparse.Namespace
) -> dict[str, float]:
    """Rates with a cold and a warm cache."""
    command = [sys.executable, __file__, "--serve", str(root), "--latencies", str(latency)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    shutil.rmtree(cache, ignore_errors=True)
    try:
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        rates = {}
        for state in ("cold", "warm"):
            rates[state] = run_alone(url, cache, workers, options)
        return rates
    finally:
        server.kill()
        server.wait()


def run_alone(store: str | Path, cache: Path, workers: int, options: argparse.Namespace) -> float:
    """The rate in a process of its own, which has nothing in memory."""
    command = [
        sys.executable, __file__, "--measure", str(store), "--workers", str(workers),
        "--batches", str(options.batches), "--batch", str(options.batch),
    ]  # fmt: skip
    environment = os.environ | {"FLOWKIT_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout)


def make_store(root: Path, work: Path, options: argparse.Namespace) -> None:
    """A store of real JPEGs whose videos are all in the subset train."""
    pairs = read_pairs(find_clips(options.clips, work), 2)
    make_reading_store(root, pairs, compute_flows(pairs), options.videos, options.frames)
    rows = [Annotation(id, (Label("x"),), ("train",)) for id in Store(root)]
    write_annotations(root, AnnotationTable(("x",), tuple(rows)))
    rebuild_index(root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, help="folder of clips; default: beside the checkout")
    parser.add_argument("--latencies", type=float, nargs="+", default=[0, 5, 20, 80])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--videos", type=int, default=400)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--batches", type=int, default=80, help="far more than workers")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder for the store and the cache")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.latencies[0] / 1000)
        return
    if options.measure is not None:
        print(measure(options.measure, options.workers[0], options.batches, options.batch))
        return
    console.print(f"{describe_machine()}\n")
    table = Table("latency ms", "workers", "local", "cold", "cold/local", "warm", "warm/local")
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        make_store(work / "store", work, options)
        for workers in options.workers:
            for latency in options.latencies:
                rounds = []
                for _ in range(options.rounds):
                    local = run_alone(work / "store", work / "cache", workers, options)
                    rounds.append({"local": local} | measure_latency(
                        work / "store", work / "cache", latency, workers, options
                    ))  # fmt: skip
                cells = [f"{latency:g}", str(workers), f"{median(r['local'] for r in rounds):.0f}"]
                for state in BARS:
                    ratio = median(r[state] / r["local"] for r in rounds)
                    cells += [f"{median(r[state] for r in rounds):.0f}", f"{ratio:.2f}"]
                table.add_row(*cells)
    console.print("Samples per second through the DataLoader (bars at 20 ms and 8 workers: cold ≥ "
                  f"{BARS['cold']} of local, warm ≥ {BARS['warm']})")  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
