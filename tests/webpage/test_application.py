"""The page's API in a server of its own: same query, same bytes; many clients; what is refused."""

import copy
import io
import json
import struct
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from sampling.directions import Directions, principal_directions
from sampling.style_file import save_styles
from sampling.styles import random_styles
from sampling.trained_generator import load

pytest.importorskip("starlette", reason="starlette is an extra")
pytest.importorskip("uvicorn", reason="uvicorn is an extra")

from tests.command_line import assert_refused, run
from tests.page_server import Server, started
from tests.training.tiny import write_network
from webpage.guard import Guard
from webpage.mesh_maker import MeshMaker
from webpage.query import MeshQuery
from webpage.server import listening_socket

TOKEN = "a-token-of-this-test"
SMALL = "texture_size=64&faces=300"


@pytest.fixture(scope="module")
def maker() -> MeshMaker:
    generator = load("chair-64")
    directions = principal_directions(*random_styles(generator.network, 200), 1)
    attribute = Directions(("size=big",), directions.w_geo[:1], directions.w_tex[:1], (0.5,), (3.0,))
    return MeshMaker(generator, attribute, {"mine": generator.sample(4)})


@pytest.fixture(scope="module")
def server(maker: MeshMaker) -> Iterator[Server]:
    yield from started(maker)


@pytest.fixture(scope="module")
def guarded(maker: MeshMaker) -> Iterator[Server]:
    yield from started(maker, TOKEN)


def document(glb: bytes) -> dict:
    assert glb[:4] == b"glTF"
    return json.loads(glb[20 : 20 + struct.unpack("<I", glb[12:16])[0]])


def test_the_same_query_gives_the_same_bytes(server: Server) -> None:
    path = f"/api/mesh.glb?shape_seed=3&texture_seed=7&{SMALL}"
    first = server.get(path)
    assert first.status == 200 and first.headers["content-type"] == "model/gltf-binary"
    again = MeshMaker(server.maker.generator)  # nothing kept
    query = MeshQuery(shape_seed=3, texture_seed=7, texture_size=64, faces=300)
    assert again.mesh(query, "glb") == first.body
    extras = document(first.body)["asset"]["extras"]
    assert (extras["shape_seed"], extras["texture_seed"], extras["truncation"]) == (3, 7, 0.7)
    assert extras["network_sha256"] == server.maker.identity["sha256"]


def test_a_full_disk_is_one_line_and_the_page_goes_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/api/mesh.glb?shape_seed=4&{SMALL}"

    def full(**options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.TemporaryDirectory", full)
        answer = server.get(path)
        assert answer.status == 507
        assert "cannot be written (No space left on device)" in json.loads(answer.body)["error"]
    assert server.get(path).status == 200


def test_geometry_comes_without_a_texture(server: Server) -> None:
    bare = document(server.get("/api/mesh.glb?shape_seed=3&texture_size=0&faces=300").body)
    textured = document(server.get(f"/api/mesh.glb?shape_seed=3&{SMALL}").body)
    assert "images" not in bare and len(textured["images"]) == 1
    counts = [each["accessors"][each["meshes"][0]["primitives"][0]["indices"]]["count"] for each in (bare, textured)]
    assert counts[0] == counts[1] <= 900


def test_a_corner_of_the_pad_is_its_seed(server: Server) -> None:
    def positions(query: str) -> dict:
        entry = document(server.get(f"/api/mesh.glb?{query}&texture_size=0").body)
        return entry["accessors"][entry["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]

    corner, seed = positions("corners=3,4,5,6&x=1&y=0"), positions("shape_seed=4")
    assert corner["max"] == pytest.approx(seed["max"], abs=1e-4) and corner["count"] == seed["count"]
    assert positions("corners=3,4,5,6&x=0.5&y=0.5")["max"] != pytest.approx(seed["max"], abs=1e-4)
    assert positions("shape_seed=4&shape_pca=0,0") == seed
    assert positions("shape_seed=4&shape_pca=2.5")["max"] != pytest.approx(seed["max"], abs=1e-4)


def test_moves_along_attributes_and_samples_of_a_file(server: Server) -> None:
    def positions(query: str) -> dict:
        entry = document(server.get(f"/api/mesh.glb?{query}&texture_size=0").body)
        return entry["accessors"][entry["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]

    info = json.loads(server.get("/api/info").body)
    assert (info["attributes"], info["latents"]) == (["size=big"], ["mine"])
    seed = positions("shape_seed=4")
    assert positions("latent=mine") == seed and positions("latent=mine&shape_seed=9") == seed
    moved = positions("latent=mine&move=size=big:2")
    assert moved["max"] != pytest.approx(seed["max"], abs=1e-4)
    assert moved == positions("shape_seed=4&move=size=big:2")


def test_obj_is_an_archive_and_images_are_png(server: Server) -> None:
    archive = server.get(f"/api/mesh.obj?shape_seed=3&{SMALL}")
    assert archive.body[:2] == b"PK" and b"seed0003.obj" in archive.body
    image = server.get("/api/image.png?shape_seed=3&resolution=32")
    assert image.headers["content-type"] == "image/png" and image.body[1:4] == b"PNG"


def test_ten_clients_get_the_same(server: Server) -> None:
    def ask(number: int) -> bytes:
        return server.get(f"/api/mesh.glb?shape_seed={20 + number % 2}&texture_size=0&faces=300").body

    with ThreadPoolExecutor(10) as clients:
        bodies = list(clients.map(ask, range(10)))
    assert len(set(bodies)) == 2 and all(body[:4] == b"glTF" for body in bodies)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("shape_seed=-1", "shape_seed"),
        ("shape_seed=x", "shape_seed"),
        ("shape_seed=99999999999", "shape_seed"),
        ("truncation=2.5", "truncation"),
        ("truncation=nan", "truncation"),
        ("texture_size=100000", "texture_size"),
        ("faces=4", "faces"),
        ("corners=1,2,3", "corners"),
        ("corners=1,2,3,9999999999", "corners"),
        ("x=1.5", "x"),
        ("shape_pca=9", "shape_pca"),
        ("shape_pca=a", "shape_pca"),
        ("shape_pca=nan", "shape_pca"),
        ("shape_pca=1,1,1,1,1", "shape_pca"),
        ("move=type", "move type: expected a direction and a number"),
        ("move=type:5", "from -4 to 4"),
        ("move=type:2", "no direction 'type'; there are size=big"),
        ("latent=yours", "this page has mine"),
        ("class=0", "unconditional"),
        ("shape_sed=3", "shape_sed"),
        ("shape_seed=3&shape_seed=4", "twice"),
    ],
)
def test_values_out_of_range_are_refused(server: Server, query: str, said: str) -> None:
    answer = server.get(f"/api/mesh.glb?{query}")
    assert answer.status == 422 and said in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    "path",
    ["/static/../query.py", "/static/%2e%2e/query.py", "/static/..%2fquery.py", "/static//etc/passwd", "/api/mesh.py",
     "/static/vendor/../../query.py", "/" + quote("../../etc/passwd", safe=""), "/static/"],
)  # fmt: skip
def test_paths_outside_are_not_found(server: Server, path: str) -> None:
    assert server.get(path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_get_is_answered(server: Server, method: str) -> None:
    assert server.get("/api/mesh.glb", method).status == 405


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.2", "", "localhost@evil.example:1"]
)
def test_foreign_hosts_are_refused(server: Server, host: str) -> None:
    assert server.get("/api/info", Host=host).status == 403
    assert server.get("/", Host=host).status == 403


def test_foreign_pages_are_refused(server: Server) -> None:
    own = f"http://127.0.0.1:{server.port}"
    assert server.get("/api/info", Origin=own).status == 200
    assert (
        server.get("/api/info", Host=f"localhost:{server.port}", Origin=f"http://localhost:{server.port}").status == 200
    )
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{server.port}", "http://127.0.0.1:1"):
        assert server.get("/api/info", Origin=origin).status == 403
    assert server.get("/api/image.png", Sec_Fetch_Site="cross-site").status == 403
    assert server.get("/api/image.png", Sec_Fetch_Site="same-site").status == 403
    assert server.get("/api/info", Sec_Fetch_Site="same-origin").status == 200


def test_a_token_is_needed(guarded: Server) -> None:
    assert guarded.get("/api/info").status == 401
    assert guarded.get("/").status == 401 and guarded.get("/static/viewer.js").status == 401
    assert guarded.get("/?token=wrong").status == 401 and guarded.get("/?token=").status == 401
    assert guarded.get("/api/info", Authorization="Bearer wrong").status == 401
    assert guarded.get("/api/info", Cookie="tetragan_token=").status == 401
    assert guarded.get("/api/info", Authorization=f"Bearer {TOKEN}").status == 200
    first = guarded.get(f"/?token={TOKEN}&shape_seed=4")
    assert first.status == 303 and first.headers["location"] == "/?shape_seed=4"
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
    assert guarded.get("/api/info", Cookie=cookie.split(";")[0]).status == 200


def test_answers_carry_the_security_headers(server: Server) -> None:
    for answer in (server.get("/"), server.get("/api/info"), server.get("/", Host="evil.example")):
        assert answer.headers["server"] == "tetragan" and answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_the_api_is_documented(server: Server) -> None:
    described = json.loads(server.get("/api/openapi.json").body)
    parameters = described["paths"]["/api/mesh.glb"]["get"]["parameters"]
    by_name = {entry["name"]: entry for entry in parameters}
    assert {"shape_seed", "texture_seed", "truncation", "class", "corners", "shape_pca", "faces"} <= set(by_name)
    assert by_name["truncation"]["schema"]["maximum"] == 2 and by_name["truncation"]["description"]


def test_a_port_in_use_says_by_whom(server: Server, guarded: Server) -> None:
    def refusal(port: int) -> object:
        return run("view", "--network", "chair-64", "--port", port)

    assert_refused(refusal(server.port), f"port {server.port} is in use", "chair-64", "process")
    assert_refused(refusal(guarded.port), "a TetraGAN page that needs a token")
    with listening_socket("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        assert_refused(refusal(port), "another program", f"--port {port + 1}")


def test_other_mistakes_of_the_command() -> None:
    assert_refused(run("view", "--network", "nowhere", "--port", 39417), "nowhere")
    assert run("view", "--network", "chair-64", "--token", "short").status == 2
    with pytest.raises(ValueError, match="token"):
        Guard(lambda *_: None, "0.0.0.0", None)  # type: ignore[arg-type]


def test_bare_geometry_comes_in_the_format_that_was_named(server: Server) -> None:
    archive = server.get("/api/mesh.obj?shape_seed=3&texture_size=0&faces=300")
    assert archive.headers["content-type"] == "application/zip" and archive.body[:2] == b"PK"
    with zipfile.ZipFile(io.BytesIO(archive.body)) as opened:
        assert opened.namelist() == ["seed0003.obj"]
    assert server.get("/api/mesh.glb?shape_seed=3&texture_size=0&faces=300").body[:4] == b"glTF"


def test_a_texture_is_made_on_the_cpu_wherever_the_network_computes(tmp_path: Path) -> None:
    query, maker = (
        MeshQuery(shape_seed=6, texture_size=64, faces=300),
        MeshMaker(load(write_network(tmp_path / "n.safetensors"))),
    )
    maker._begin(query)  # as on a card, whose results come to the CPU
    maker.generator.network = copy.deepcopy(maker.generator.network).to("meta")
    assert len(document(maker.mesh(query, "glb"))["images"]) == 1


def test_browsers_keep_no_mesh_for_the_page_of_another_network(server: Server) -> None:
    assert server.get(f"/api/mesh.glb?shape_seed=3&{SMALL}").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "cookie", ['settings={"a": 1}; tetragan_token=%s', "tetragan_token=%s; a b=c", "x; tetragan_token=%s"]
)
def test_odd_cookies_of_other_programs_do_not_hide_the_token(guarded: Server, cookie: str) -> None:
    assert guarded.get("/api/info", Cookie=cookie % TOKEN).status == 200
    assert guarded.get("/api/info", Cookie=cookie % "wrong").status == 401


def test_a_host_name_may_be_written_in_capitals() -> None:
    guard = Guard(lambda *_: None, "MyBox.local", TOKEN)  # type: ignore[arg-type]
    assert guard._knows("mybox.local:8017") and guard._knows("MyBox.local") and not guard._knows("other.local")


def test_two_files_with_a_sample_of_one_name_are_refused(tmp_path: Path) -> None:
    generator = load("chair-64")
    sample = generator.sample(seeds=[0])
    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for file in files:
        save_styles(file, ["mine"], sample.w_geo, sample.w_tex, generator.identity())
    latents = [part for file in files for part in ("--latents", file)]
    assert_refused(run("view", "--network", "chair-64", "--port", 39418, *latents), "b.safetensors", "mine")
