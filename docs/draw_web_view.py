"""Draw the pictures of the web view in the README and the docs, with a headless Chromium.

    make demo && flowkit train cma --quick --store stores/motion8 --run runs/cma
    flowkit evaluate runs/cma --store stores/motion8
    python docs/draw_web_view.py stores/motion8 --run runs/cma

It writes docs/web_overview.jpg, web_browse.jpg, web_video.jpg and, with a run, web_runs.jpg and
web_attention.jpg.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parent
SIZE = {"width": 1280, "height": 860}
SETTLE_MS = 1500
"""Time for pictures to load and for flow to be coloured."""


def main() -> None:
    """Read the arguments and draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--id", default="clockwise/test_00004.mp4", help="video to show")
    options = parser.parse_args()
    command = [sys.executable, "-m", "flowkit", "view", str(options.store), "--port", "0"]
    command += ["--run", str(options.run)] if options.run else []
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = re.match(r"http://\S+", server.stdout.readline())
        assert address is not None, "the server did not start"
        draw_pages(address[0].rstrip("/"), options.id, options.run)
    finally:
        server.terminate()
        server.wait()


def draw_pages(address: str, id: str, run: Path | None) -> None:
    """Draw all pages of a server."""
    with urllib.request.urlopen(f"{address}/api/videos?text={id}") as answer:
        key = json.load(answer)["videos"][0]["key"]
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, device_scale_factor=1)
        draw_page(page, f"{address}/", "overview")
        draw_page(page, f"{address}/browse", "browse")
        draw_page(page, f"{address}/video/{key}?t=9", "video")
        if run is not None:
            draw_page(page, f"{address}/runs/{run.name}", "runs")
            page.goto(f"{address}/video/{key}?t=9")
            heading = page.get_by_role("heading", name="Attention")
            heading.wait_for()
            page.wait_for_timeout(4 * SETTLE_MS)
            heading.locator("..").screenshot(
                path=DOCS / "web_attention.jpg", type="jpeg", quality=85
            )
        browser.close()


def draw_page(page: Page, address: str, name: str) -> None:
    """Draw one page as docs/web_NAME.jpg."""
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=DOCS / f"web_{name}.jpg", type="jpeg", quality=85)


if __name__ == "__main__":
    main()
