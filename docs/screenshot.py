"""Take the README's picture of a report.

    python docs/screenshot.py runs/NAME/report/index.html docs/report.png

Needs playwright and a Chromium; the variable CHROMIUM names another than the one on the path.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright


def screenshot(page: Path, picture: Path, width: int, height: int) -> None:
    """Write what a browser window of `width` x `height` pixels shows of `page` as PNG."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        window = browser.new_page(viewport={"width": width, "height": height})
        window.goto(page.resolve().as_uri())
        window.wait_for_function("document.fonts.status === 'loaded'")
        window.screenshot(path=picture)
        browser.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="A picture of a page of a report.")
    parser.add_argument("page", type=Path, help="the report's index.html, or a lab's page")
    parser.add_argument("picture", type=Path, help="the PNG to write")
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--height", type=int, default=1000)
    given = parser.parse_args()
    screenshot(given.page, given.picture, given.width, given.height)


if __name__ == "__main__":
    main()
