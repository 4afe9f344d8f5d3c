"""Use an installed flowkit as a newcomer does, from end to end, in about a minute.

    python tests/matrix/smoke.py [--folder EMPTY_FOLDER] [--allow-findings]

Run it with the Python of the environment that flowkit is installed in. Everything happens
through the ``flowkit`` command, in a working folder that knows nothing of the checkout:
``doctor``; ``demo``; a video of each codec that datasets use, with sound, extracted and
verified; one step of training of a 2-D, a 3-D and a sound network; ``evaluate``, ``predict``,
``features`` and ``report``.

The last line of the output is a JSON object: what was measured, and the versions that ran.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

FRAMES, WIDTH, HEIGHT, RATE = 12, 96, 80, 24
SOUND_RATE, SOUND_SECONDS = 48000, 2.5
STEP_SECONDS = 300
# class/name: (video encoder, its options, audio encoder). Two classes, each in both subsets.
VIDEOS = {
    "train/walk/h264.mp4": ("libx264", {"preset": "ultrafast"}, "aac"),
    "train/jump/hevc.mp4": (
        "libx265",
        {"preset": "ultrafast", "x265-params": "log-level=0"},
        "aac",
    ),
    "train/walk/vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, "libopus"),
    "val/walk/av1.mkv": ("libsvtav1", {"preset": "12"}, "libopus"),
    "val/jump/mpeg4.avi": ("mpeg4", {}, "libmp3lame"),
}
CODECS = {"h264", "hevc", "vp9", "av1", "mpeg4"}
# What makes a paper's recipe a matter of seconds on these videos.
SMALL = {
    "dataset": "videos",
    "classes": "2",
    "network.weights": "{}",
    "network.dropout": "0",
    "training.iterations": "1",
    "training.batch": "2",
    "training.schedule": "constant",
    "data.num_segments": "1",
    "testing.segments": "1",
    "testing.crops": "centre",
    "subsets.train": "train",
    "subsets.validate": "val",
    "subsets.test": "val",
}
TRAININGS = {
    "2-D": (
        "motion8_cma",
        {"network.width": "8", "data.short_side": "64", "testing.controls": "[]"},
    ),
    "3-D": (
        "kinetics_i3d",
        {
            "network.width": "8",
            "network.stem": "8",
            "data.short_side": "64",
            "data.size": "56",
            "data.crops": "random",
            "data.clip": "{length: 8}",
        },
    ),
    "sound": ("kinetics_audio_vgg16", {"network.width": "8", "training.groups": "plain"}),
}
SHOWN = ("av", "numpy", "torch", "ray", "pyarrow", "numba", "pydantic", "click")
OPENCV = ("opencv-contrib-python-headless", "opencv-contrib-python")


def run_flowkit(*arguments: str) -> str:
    """Run a ``flowkit`` command here and return what it printed.

    Raises:
        SystemExit: It failed or hung; the message has its output.
    """
    command = [str(Path(sys.executable).with_name("flowkit")), *arguments]
    start = time.monotonic()
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=STEP_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SystemExit(f"FAILED: no end after {STEP_SECONDS} s: {' '.join(command)}") from error
    said = " ".join(word for word in arguments if not word.startswith("--set="))
    print(f"{time.monotonic() - start:6.1f} s  flowkit {said}", flush=True)
    if result.returncode != 0:
        output = f"{result.stdout}\n{result.stderr}".strip()
        raise SystemExit(f"FAILED with exit code {result.returncode}:\n{output}")
    return result.stdout


def expect(condition: bool, message: str) -> None:
    """End the run with ``message`` unless ``condition`` holds."""
    if not condition:
        raise SystemExit(f"FAILED: {message}")


def check_doctor(allow_findings: bool) -> list[str]:
    """Run ``doctor``; its findings that are not ``ok`` are returned, or end the run."""
    findings = json.loads(run_flowkit("doctor", "--json"))
    lines = [f"{f['topic']}: {f['message']}" for f in findings if f["status"] != "ok"]
    expect(allow_findings or not lines, f"doctor has findings: {lines}")
    return lines


def check_demo() -> float:
    """Run the demo; returns its endpoint error in pixels."""
    output = run_flowkit("demo")
    match = re.search(r"end-to-end AEE: ([\d.]+) px over ([\d,]+) pairs", output)
    if match is None:
        raise SystemExit(f"FAILED: the demo prints no error:\n{output}")
    error, pairs = float(match[1]), int(match[2].replace(",", ""))
    expect(pairs == 144 and 0 < error < 0.12, f"expected 0.09 px over 144 pairs, got {match[0]}")
    return error


def write_videos(folder: Path) -> None:
    """Write one small video with sound for each codec: a texture that moves by 2 px a frame."""
    import av
    import numpy as np

    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (HEIGHT // 8, (WIDTH + 2 * FRAMES) // 8 + 1, 3), np.uint8)
    texture = coarse.repeat(8, 0).repeat(8, 1)
    times = np.arange(int(SOUND_RATE * SOUND_SECONDS)) / SOUND_RATE
    tone = (0.3 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    for name, (encoder, options, sound_encoder) in VIDEOS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            video = container.add_stream(encoder, rate=RATE, options=options)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            sound = container.add_stream(sound_encoder, rate=SOUND_RATE)
            for t in range(FRAMES):
                picture = np.ascontiguousarray(texture[:, 2 * t : 2 * t + WIDTH])
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            layout = sound.codec_context.layout.name
            resampler = av.AudioResampler(sound.codec_context.format.name, layout, SOUND_RATE)
            frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
            frame.sample_rate = SOUND_RATE
            fifo = av.AudioFifo()
            for part in resampler.resample(frame):
                fifo.write(part)
            for part in fifo.read_many(sound.codec_context.frame_size or 1024, partial=True):
                container.mux(sound.encode(part))
            container.mux(sound.encode(None))


def check_extraction() -> None:
    """Extract and verify a video of each codec, and read it back."""
    from flowkit import Store
    from flowkit.decode import probe_video

    folder = Path("videos")
    write_videos(folder)
    # SVT-AV1 takes real-time priority where it may, and whatever is started here inherits it.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    expect({probe_video(folder / name).codec for name in VIDEOS} == CODECS, "a codec is missing")
    run_flowkit(
        "extract",
        "--videos",
        "videos",
        "--store",
        "store",
        "--size",
        "64x64",
        "--streams",
        "rgb,flow,audio",
        "--strict",
    )
    run_flowkit("verify", "store", "--deep")
    store = Store("store")
    expect(sorted(store) == sorted(VIDEOS), f"the store holds {sorted(store)}")
    for id in store:
        video = store[id]
        counts = (video.num_frames, video.num_flow, video.rgb(0).shape)
        expect(counts == (FRAMES, FRAMES - 1, (64, 64, 3)), f"{id}: {counts}")
        expect(len(video.audio()) == 2, f"{id}: {len(video.audio())} patches of sound, expected 2")
        # The texture moves to the left by 2 of 96 pixels, which is 1.33 of 64.
        flow = video.flow(5)[16:48, 16:48, 0].mean()
        expect(abs(flow + 4 / 3) < 0.35, f"{id}: mean flow {flow:.2f} px, expected -1.33")


def check_training() -> None:
    """Train each kind of network for a step a phase, and use what was trained."""
    where = ("--store", "store")
    for kind, (recipe, own) in TRAININGS.items():
        run = f"runs/{kind}"
        changes = [f"--set={key}={value}" for key, value in {**SMALL, **own}.items()]
        run_flowkit("train", recipe, *where, "--run", run, "--device", "cpu", *changes)
    run_flowkit("evaluate", "runs/2-D", *where, "--device", "cpu")
    video = "videos/val/jump/mpeg4.avi"
    answer = run_flowkit("predict", "runs/2-D", video, "--json", "--device", "cpu")
    expect({"walk", "jump"} <= set(json.loads(answer)), f"predict prints {answer}")
    run_flowkit(
        "features",
        "--store",
        "store",
        "--model",
        "runs/3-D",
        "--name",
        "clips",
        "--positions",
        "2",
        "--crops",
        "centre",
        "--device",
        "cpu",
        "--workers",
        "0",
    )
    run_flowkit("report", "runs/2-D", "--store", "store")
    expect(Path("runs/2-D/report.html").is_file(), "no report.html")
    run_flowkit("verify", "store", "--deep")


def read_versions() -> dict[str, str]:
    """The versions of the packages that matter most."""
    import cv2

    versions = {name: version(name) for name in SHOWN}
    return {"flowkit": version("flowkit-video"), **versions, "opencv": cv2.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="an empty folder to work in")
    parser.add_argument(
        "--allow-findings", action="store_true", help="go on when doctor warns of something"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flowkit-smoke-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        expect(not any(folder.iterdir()), f"{folder} is not empty; choose another one")
        os.chdir(folder)
        start = time.monotonic()
        findings = check_doctor(options.allow_findings)
        error = check_demo()
        check_extraction()
        check_training()
        outcome = {
            "error": error,
            "findings": findings,
            "seconds": round(time.monotonic() - start, 1),
            "versions": read_versions(),
        }
        print(json.dumps(outcome))
        os.chdir("/")


if __name__ == "__main__":
    main()
