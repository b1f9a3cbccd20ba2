"""The add-on's client of the API, without Blender: queries, names, addresses, and every way in which a page refuses."""

import http.server
import subprocess
import threading
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="starlette is an extra")
pytest.importorskip("uvicorn", reason="uvicorn is an extra")

from blender_addon.client import Page, PageError, mesh_query, object_name
from mesh_io.read import read_mesh
from sampling.trained_generator import load
from tests.page_server import Server, started
from tetragan.view import view
from webpage.mesh_maker import MeshMaker
from webpage.query import PCA_AXES, MeshQuery, parse_query

ROOT = Path(__file__).parents[2]
TOKEN = "a token of sixteen characters"


@pytest.fixture(scope="module")
def maker() -> MeshMaker:
    return MeshMaker(load("chair-64"))


@pytest.fixture(scope="module")
def page(maker: MeshMaker) -> Iterator[Server]:
    yield from started(maker)


@pytest.fixture(scope="module")
def locked(maker: MeshMaker) -> Iterator[Server]:
    yield from started(maker, TOKEN)


def test_a_mesh_is_the_pages_own(page: Server, tmp_path: Path) -> None:
    query = mesh_query(3, 5, 0.5, shape_pca=[1.5, 0, -0.25, 0], faces=200, texture_size=64)
    assert query == {
        "shape_seed": "3", "truncation": "0.5", "texture_seed": "5", "shape_pca": "1.5,0,-0.25", "faces": "200",
        "texture_size": "64",
    }  # fmt: skip
    client = Page.parse(f"127.0.0.1:{page.port}/")
    data = client.mesh(query)
    assert data == page.get("/api/mesh.glb?" + "&".join(f"{k}={v}" for k, v in query.items())).body
    (tmp_path / "a.glb").write_bytes(data)
    assert read_mesh(tmp_path / "a.glb").merged()[1].shape[0] > 0
    assert client.info()["pca_axes"] == PCA_AXES and client.on_this_machine


def test_queries_are_what_the_api_takes() -> None:
    move = " type=stool:1.5 "
    query = mesh_query(0, 0, 0.7, label=1, texture_pca=[0, 0, 0, -4], shape_pca=[0, 0, 0, 0], move=move)
    assert set(query) == {"shape_seed", "truncation", "class", "texture_pca", "move", "faces", "texture_size"}
    parsed = parse_query(MeshQuery, list(query.items()), classes=2)
    assert (parsed.shape_seed, parsed.texture_seed, parsed.label, parsed.move) == (0, None, 1, "type=stool:1.5")
    assert parsed.moves() == ([], [0, 0, 0, -4])


def test_meshes_are_called_as_generate_calls_them() -> None:
    assert object_name(mesh_query(3, None, 1.0)) == "seed0003"
    assert object_name(mesh_query(3, 7, 1.0)) == "shape0003_texture0007"


def test_the_token_may_come_with_the_address(locked: Server) -> None:
    plain = f"http://127.0.0.1:{locked.port}"
    assert Page.parse(plain, TOKEN).info()["classes"] == 0
    assert Page.parse(f"{plain}/?token={TOKEN}".replace(" ", "+")).info()["classes"] == 0
    with pytest.raises(PageError, match="needs its token, which tetragan view prints"):
        Page.parse(plain).info()
    with pytest.raises(PageError, match="the token is wrong"):
        Page.parse(plain, "another token of that length").mesh(mesh_query(0, None, 1))


@pytest.mark.parametrize("address", ["", "ftp://127.0.0.1", "http://", "http://[::1", "http://a:b", "http://me@host"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(PageError, match="expected an address such as"):
        Page.parse(address)


def test_addresses() -> None:
    assert Page.parse("localhost:8017").address == "http://localhost:8017"
    assert Page.parse(" https://[::1]:80/x ") == Page("https://[::1]:80")
    assert Page.parse("http://[::1]:80").on_this_machine and Page.parse("localhost").on_this_machine
    assert not Page.parse("192.168.0.7:8017").on_this_machine and not Page.parse("example.org").on_this_machine
    with pytest.raises(PageError, match="copy it again"):
        Page.parse("localhost", "tok\nen")


def test_a_value_out_of_range_is_the_pages_own_line(page: Server) -> None:
    with pytest.raises(PageError, match=r"^truncation: ") as caught:
        Page.parse(f"127.0.0.1:{page.port}").mesh(mesh_query(0, None, 2.5))
    assert "\n" not in str(caught.value)


def test_nobody_there_is_one_line_with_the_command() -> None:
    with pytest.raises(PageError, match=r"^no page at http://127.0.0.1:9 \(.*\); start one: tetragan view$"):
        Page.parse("127.0.0.1:9").info()


@contextmanager
def stranger(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """A server that is no page of ours: its address, and the requests that reached it."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            answer(self)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


def _says(status: int, body: bytes, **headers: str) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_other_servers_are_told_apart() -> None:
    for body in (b"<html>", b"[]", b'{"network": 3}', b"\xff"):
        with stranger(_says(200, body)) as (address, _), pytest.raises(PageError, match="not a page of tetragan view"):
            Page.parse(address).info()
    with stranger(_says(200, b"<html>")) as (address, _), pytest.raises(PageError, match="sent no GLB file"):
        Page.parse(address).mesh({})
    with stranger(_says(500, b"oh\nno")) as (address, _), pytest.raises(PageError, match="answered 500"):
        Page.parse(address).info()
    with stranger(lambda handler: handler.wfile.write(b"\0\r\n\r\n")) as (address, _), pytest.raises(PageError) as bad:
        Page.parse(address).info()
    assert "\n" not in str(bad.value)


def test_a_token_does_not_follow_a_redirect() -> None:
    with (
        stranger(_says(200, b"{}")) as (elsewhere, seen),
        stranger(_says(302, b"", Location=elsewhere)) as (address, _),
    ):
        with pytest.raises(PageError, match="answered 302"):
            Page.parse(address, TOKEN).info()
        assert seen == []


def test_a_slow_page_is_waited_for_no_longer_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blender_addon.client.TIMEOUT", 0.2)
    release = threading.Event()
    with stranger(lambda _: release.wait(5) and None) as (address, _):
        with pytest.raises(PageError, match="did not answer within 0 seconds"):
            Page.parse(address).mesh({})
        release.set()


def test_the_default_address_is_that_of_view() -> None:
    port = next(parameter for parameter in view.params if parameter.name == "port").default
    assert f'"http://127.0.0.1:{port}"' in (ROOT / "blender_addon" / "panel.py").read_text(encoding="utf-8")


def test_the_manifest_has_what_blender_asks_for() -> None:
    manifest = tomllib.loads((ROOT / "blender_addon" / "blender_manifest.toml").read_text(encoding="utf-8"))
    assert manifest["schema_version"] == "1.0.0" and manifest["type"] == "add-on"
    assert manifest["id"].isidentifier() and manifest["blender_version_min"] == "4.2.0"
    assert manifest["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for text in (manifest["tagline"], *manifest["permissions"].values()):
        assert len(text) <= 64 and text[-1].isalnum()


def test_the_zip_holds_the_add_on_alone(tmp_path: Path) -> None:
    made = subprocess.run(
        ["make", "blender-addon", f"ADDON={tmp_path / 'addon.zip'}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "addon.zip" in made.stdout
    with zipfile.ZipFile(tmp_path / "addon.zip") as archive:
        assert sorted(archive.namelist()) == ["__init__.py", "blender_manifest.toml", "client.py", "panel.py"]
