"""The image of the local page in the README, from Chromium with software GL.

    tetragan view --network chair-64 &
    python -m studies.page_image --seed 9 --out docs/images/page.png

Needs playwright, and Chromium (apt-get install chromium; TETRAGAN_CHROMIUM names another one).
"""

import os
import shutil
from pathlib import Path

import click

from torch_utils.errors import UserError
from torch_utils.files import write_errors

SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WAIT_MS = 300_000


@click.command()
@click.option("--page", "address", default="http://127.0.0.1:8017/", show_default=True, help="A running page.")
@click.option("--seed", default=9, show_default=True, type=click.IntRange(0, 11), help="One of the gallery.")
@click.option("--width", default=1280, show_default=True, type=click.IntRange(320, 4096), help="Of the window, px.")
@click.option("--height", default=860, show_default=True, type=click.IntRange(240, 4096), help="Of the window, px.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/images/page.png"), show_default=True)
def main(address: str, seed: int, width: int, height: int, out: Path) -> None:
    """Open the page, choose a seed of its gallery, and save the window as a PNG."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("TETRAGAN_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise UserError("no Chromium: apt-get install chromium, or name one in TETRAGAN_CHROMIUM")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=SOFTWARE_GL)
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        page.set_default_timeout(WAIT_MS)
        page.goto(address, wait_until="commit")
        page.locator(f'#gallery button[data-seed="{seed}"]').click()
        page.wait_for_selector(f'body[data-ready*="shape_seed={seed}&"]')
        # Not wait_for_function: the page's security policy refuses the strings that it evaluates.
        while not page.evaluate("[...document.querySelectorAll('#gallery img, #pad img')].every((i) => i.complete)"):
            page.wait_for_timeout(200)
        page.evaluate("document.getElementById('status').style.visibility = 'hidden'")  # the time of this machine
        with write_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=out, timeout=WAIT_MS)
        browser.close()
    click.echo(out)


if __name__ == "__main__":
    main()
