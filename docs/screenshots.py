"""Makes the pictures in docs/screenshots from the page as it stands, in a headless Chromium: python docs/screenshots.py

Needs Chromium and `pip install "objremove[serve]" playwright`. Inter, where it is installed, is the typeface in the pictures.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "samples"
DESK = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"}
PHONE = {
    "viewport": {"width": 390, "height": 780},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
    "reduced_motion": "reduce",
}


@contextmanager
def server() -> Iterator[str]:
    """The address of a server that runs meanwhile."""
    command = [sys.executable, "-m", "objremove", "serve", "--no-open", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            yield next(match[0] for line in process.stdout if (match := re.search(r"http://\S+", line)))
        finally:
            process.terminate()


def visit(browser: Browser, address: str, *photos: str, **options: Any) -> Page:
    """A page with photos open and searched."""
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    if photos:
        page.set_input_files("#picker", [SAMPLES / photo for photo in photos])
        page.wait_for_selector("#chips[aria-busy=false]", state="attached")
        page.wait_for_timeout(500)
    return page


def drag(page: Page, *places: tuple[float, float]) -> None:
    """Drag over the photo, along places in shares of its width and height."""
    box = page.locator("#sheet").bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()
    page.wait_for_selector("#remove:enabled")
    page.wait_for_selector("#ping", state="hidden")


def remove(page: Page) -> None:
    """Remove, and wait for before and after."""
    page.click("#remove")
    page.wait_for_selector("#go-on")
    page.wait_for_timeout(1500)


def keep(page: Page, name: str) -> None:
    """Save what is seen, beside pictures of that name that were taken before."""
    target = HERE / "screenshots" / f"{name}.jpg"
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.save(target, quality=84, optimize=True, progressive=True)
    print(target.relative_to(HERE), f"{target.stat().st_size / 1000:.0f} kB")


def side_by_side(target: str, *names: str) -> None:
    """One picture of several, which go."""
    paths = [HERE / "screenshots" / f"{name}.jpg" for name in names]
    shots = [Image.open(path) for path in paths]
    sheet = Image.new("RGB", (sum(shot.width for shot in shots) + 24 * (len(shots) - 1), shots[0].height), "white")
    for i, shot in enumerate(shots):
        sheet.paste(shot, (i * (shots[0].width + 24), 0))
    sheet.resize((sheet.width * 2 // 3, sheet.height * 2 // 3), Image.Resampling.LANCZOS).save(
        HERE / "screenshots" / f"{target}.jpg", quality=84, optimize=True, progressive=True
    )
    for path in paths:
        path.unlink()


def main() -> None:
    """Take all pictures."""
    with server() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])

        page = visit(browser, address, "dogs.jpg", "wine.jpg", "cat.jpg", **DESK)
        page.hover("#chips .chip")
        keep(page, "found")
        page.click("#chips .chip")
        remove(page)
        keep(page, "compare")

        page = visit(browser, address, "wine.jpg", color_scheme="dark", **DESK)
        drag(page, (0.455, 0.105), (0.555, 0.36))
        page.keyboard.press("b")
        drag(page, (0.36, 0.21), (0.44, 0.21), (0.40, 0.26), (0.40, 0.33))
        keep(page, "dark")

        keep(visit(browser, address, "sunset.jpg", **DESK), "nothing-found")

        page = visit(browser, address, "cat.jpg", **DESK)
        page.click("#open-settings")
        page.wait_for_selector("#models fieldset")
        keep(page, "settings")

        keep(visit(browser, address, **PHONE), "phone-1")
        page = visit(browser, address, "dogs.jpg", **PHONE)
        page.tap("#chips .chip")
        keep(page, "phone-2")
        remove(page)
        keep(page, "phone-3")
        side_by_side("phone", "phone-1", "phone-2", "phone-3")


if __name__ == "__main__":
    main()
