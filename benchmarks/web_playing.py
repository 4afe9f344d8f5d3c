"""How many frames a second the web view plays, RGB beside flow, in headless Chromium.

    python benchmarks/web_playing.py STORE [--seconds 10] [--chromium /usr/bin/chromium]

The first video of the store is played at twice and at four times its speed, in a loop. A video of
25 frames a second can show 50 at twice its speed; at four times, the screen's 60 are the limit.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import urllib.request

from machine import describe_machine
from playwright.sync_api import sync_playwright

WARM_UP = 2
MEASURE = """async ([warmUp, seconds]) => {
    const {addVideoPanel} = await import("/static/video.js");
    const player = await new Promise((done) =>
        addVideoPanel("playing", (_, context) => done(context.player)));
    player.play();
    await new Promise((done) => setTimeout(done, 1000 * warmUp));
    player.resetStatistics();
    await new Promise((done) => setTimeout(done, 1000 * seconds));
    const {since, shown, skipped} = player.statistics;
    return [1000 * shown / (performance.now() - since), skipped];
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    options = parser.parse_args()
    print(describe_machine())
    command = [sys.executable, "-m", "flowkit", "view", options.store, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.match(r"http://\S+", server.stdout.readline())[0].rstrip("/")
            measure(address, options)
        finally:
            server.terminate()


def measure(address: str, options: argparse.Namespace) -> None:
    """Play the first video and print the frames that were shown."""
    with urllib.request.urlopen(f"{address}/api/videos?limit=1") as answer:
        key = json.load(answer)["videos"][0]["key"]
    with sync_playwright() as api:
        browser = api.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        for speed in (2, 4):
            page.goto(f"{address}/video/{key}?speed={speed}&loop=1")
            page.locator(".stage").nth(1).wait_for()
            rate, skipped = page.evaluate(MEASURE, [WARM_UP, options.seconds])
            print(f"speed {speed}: {rate:.1f} frames a second, {skipped} skipped")
        browser.close()


if __name__ == "__main__":
    main()
