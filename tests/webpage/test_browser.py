"""The page in Chromium with software GL: clicks, keys, downloads, two widths; and viewer.html from a file."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampling.directions import Directions, principal_directions
from sampling.styles import random_styles
from sampling.trained_generator import load

pytest.importorskip("uvicorn", reason="uvicorn is an extra")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("TETRAGAN_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium (apt-get install chromium, or TETRAGAN_CHROMIUM)", allow_module_level=True)

from tests.page_server import Server, started  # noqa: E402
from webpage.mesh_maker import MeshMaker  # noqa: E402
from webpage.query import MeshQuery  # noqa: E402
from webpage.viewer_file import viewer_html  # noqa: E402

WAIT_MS = 90_000
SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    generator = load("chair-64")
    axes = principal_directions(*random_styles(generator.network, 200), 2)
    attributes = Directions(
        ("size=big", "size=small", "legs=star"), axes.w_geo[:3], axes.w_tex[:3], (0.5, 0.4, 0.3), (3.0, 3.0, 3.0)
    )
    yield from started(MeshMaker(generator, attributes, {"mine": generator.sample(4), "other": generator.sample(5)}))


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE_GL)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator:
    own = browser.new_page(viewport={"width": 640, "height": 400}, accept_downloads=True)
    own.set_default_timeout(WAIT_MS)
    faults: list[str] = []
    own.on("pageerror", lambda error: faults.append(str(error)))
    own.on("request", lambda request: faults.append(request.url) if foreign(request.url) else None)
    yield own
    own.close()
    assert not faults, faults


def foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "blob:", "data:", "file:"))


def ready(page, query: str) -> None:
    """Wait until the textured mesh of a query is shown."""
    page.wait_for_selector(f'body[data-ready*="{query}"]')


def test_the_page_by_hand(server: Server, page, tmp_path: Path) -> None:
    page.goto(f"http://127.0.0.1:{server.port}/", timeout=WAIT_MS, wait_until="commit")
    ready(page, "shape_seed=0&texture_seed=0")
    page.locator("#gallery button").nth(2).click()
    ready(page, "shape_seed=2&texture_seed=2")
    assert "--shape-seeds 2 --texture-seeds 2" in page.locator("#command").inner_text()
    page.locator("#shape_seed_number").fill("5")
    page.locator("#shape_seed_number").press("Enter")
    ready(page, "shape_seed=5&texture_seed=2")
    textured = page.locator("#view").screenshot(timeout=WAIT_MS)
    page.locator("h1").click()
    page.keyboard.press("3")
    assert page.locator('[data-mode="normals"]').get_attribute("aria-pressed") == "true"
    assert page.locator("#view").screenshot(timeout=WAIT_MS) != textured
    page.locator("#pad").focus()
    page.keyboard.press("ArrowRight")
    ready(page, "x=0.550")
    assert "corners=" in page.locator("#command").inner_text()
    with page.expect_download() as download:
        page.locator('[data-ending="glb"]').click()
    download.value.save_as(tmp_path / "mesh.glb")
    expected = MeshQuery(truncation=0.7, corners="0,1,2,3", x=0.55, y=0.5)
    assert (tmp_path / "mesh.glb").read_bytes() == server.maker.mesh(expected, "glb")


def test_samples_of_a_file_and_sliders_by_hand(server: Server, page, tmp_path: Path) -> None:
    page.goto(f"http://127.0.0.1:{server.port}/", timeout=WAIT_MS, wait_until="commit")
    ready(page, "shape_seed=0&texture_seed=0")
    assert page.locator("#latent option").all_inner_texts() == ["seeds", "mine", "other"]
    assert page.locator("#attributes summary").all_inner_texts() == ["size", "legs"]
    assert page.locator(".idle").count() == 0
    page.locator("#latent").select_option("mine")
    ready(page, "latent=mine")
    assert page.locator(".idle").count() == 3  # neither seed nor ψ makes what is shown
    big = page.locator('[data-axis="size=big"]')
    big.fill("2")
    ready(page, "move=size%3Dbig%3A2")
    assert page.locator("#attributes output").all_inner_texts()[:2] == ["+2.0", "0"]
    page.locator("summary", has_text="Principal axes").click()
    page.locator('[data-axis="texture_pca1"]').fill("-1.5")
    ready(page, "texture_pca=0%2C-1.5")
    with page.expect_download() as download:
        page.locator('[data-ending="obj"]').click()
    download.value.save_as(tmp_path / "mesh.zip")
    expected = MeshQuery(truncation=0.7, latent="mine", move="size=big:2", texture_pca="0,-1.5,0,0")
    assert (tmp_path / "mesh.zip").read_bytes() == server.maker.mesh(expected, "obj")
    big.focus()
    page.keyboard.press("g")  # letters work while a slider has the focus
    assert page.locator("#pad img").first.get_attribute("title") == "Seed 12"
    page.locator("#reset").click()
    ready(page, "truncation=0.7&latent=mine")
    assert set(page.locator("#attributes output, #axes output").all_text_contents()) == {"0"}
    page.locator("#pad").click(position={"x": 60, "y": 75})
    ready(page, "corners=12%2C13%2C14%2C15&x=")
    assert page.locator("#latent").input_value() == "" and page.locator(".idle").count() == 2
    page.route("**/api/mesh.glb*", lambda route: route.abort())
    page.keyboard.press("r")
    page.wait_for_selector('#status:has-text("Is tetragan view still running?")')


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off(server: Server, page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 600})
    page.goto(f"http://127.0.0.1:{server.port}/", timeout=WAIT_MS, wait_until="commit")
    ready(page, "shape_seed=0")
    for selector in ("#modes", "#random", "#latent", "#pad", "#attributes", "#gallery", "#copy"):
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, selector


def test_the_viewer_file_needs_no_server(server: Server, page, tmp_path: Path) -> None:
    mesh = server.maker.mesh(MeshQuery(texture_size=64, faces=300), "glb")
    path = tmp_path / "viewer.html"
    path.write_text(viewer_html({"seed0000": mesh, "again": mesh}, "chair-64"), encoding="utf-8")
    page.goto(path.as_uri(), wait_until="commit")
    page.wait_for_selector('body[data-ready="seed0000"]')
    page.keyboard.press("n")
    page.wait_for_selector('body[data-ready="again"]')
