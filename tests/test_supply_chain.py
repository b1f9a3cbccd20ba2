"""No input runs code: no pickle is loaded, TorchScript only by hash, archives and addresses stay where they belong."""

import ast
import io
import pickle
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset_tool.dataset import open_dataset
from dataset_tool.sources.manifest import read_manifest
from mesh_io.read import FORMATS, read_mesh
from metrics.images.detectors import load_detector
from networks.pretrained import load_generator_file
from tests.dataset_tool.shapes import write_dataset
from tests.mesh_io.build import Gltf, save_image
from tetragan.view import view
from torch_utils.checkpoint import load_tensors
from torch_utils.errors import UserError
from training.run.state_file import newest_whole_state

ROOT = Path(__file__).parent.parent
PACKAGES = [path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"]
# Calls that may run code from a file, or unpack it anywhere, and the keyword that makes them safe (None: not allowed).
UNSAFE: dict[str, tuple[str, object] | None] = {
    "pickle.load": None, "pickle.loads": None, "pickle.Unpickler": None, "dill.load": None, "joblib.load": None,
    "marshal.loads": None, "shelve.open": None, "yaml.load": None, "yaml.unsafe_load": None, "yaml.full_load": None,
    "torch.load": ("weights_only", True), "np.load": ("allow_pickle", False), "eval": None, "exec": None,
    "os.system": None,
    "torch.hub.load": None, "pd.read_pickle": None, "extractall": None, "unpack_archive": None,
}  # fmt: skip
ALLOWED = {
    ("torch.jit.load", "metrics/images/detectors.py"): "after the file's hash was compared",
    (
        "np.load",
        "dataset_tool/render/blender_script.py",
    ): "runs in Blender on our own file; the default refuses pickles",
}


class Payload:
    """An object whose unpickling would leave a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def bomb(tmp_path):
    """(bytes of a pickle, the file that it makes when it is loaded)."""
    return pickle.dumps(Payload(tmp_path / "ran")), tmp_path / "ran"


def name_of(call: ast.Call) -> str:
    return ast.unparse(call.func)


def unsafe_calls(source: str, path: str) -> list[str]:
    """ "path:line: call" for every call of `UNSAFE` that lacks its keyword."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node)
        rule = next((rule for rule in (*UNSAFE, "torch.jit.load") if name == rule or name.endswith(f".{rule}")), None)
        if rule is None or (rule, path) in ALLOWED:
            continue
        if rule in ("eval", "exec") and "." in name:
            continue  # network.eval()
        safe = UNSAFE.get(rule)
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        if safe is None or given.get(safe[0]) is not safe[1]:
            found.append(f"{path}:{node.lineno}: {name}")
    return found


def sources():
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_no_call_runs_code_from_a_file():
    found = [line for path in sources() for line in unsafe_calls(path.read_text(), path.relative_to(ROOT).as_posix())]
    assert not found, "\n".join(found)
    imports = [path for path in sources() if "import pickle" in path.read_text() or "from pickle" in path.read_text()]
    assert not imports


def test_an_unsafe_call_is_seen():
    for source in (
        "torch.load(p)",
        "np.load(p)",
        "pickle.load(f)",
        "archive.extractall(p)",
        "torch.jit.load(p)",
        "eval(t)",
    ):
        assert unsafe_calls(source, "x.py"), source
    for source in (
        "torch.load(p, weights_only=True)",
        "np.load(p, allow_pickle=False)",
        "network.eval()",
        "json.load(f)",
    ):
        assert not unsafe_calls(source, "x.py"), source


LISTENS = re.compile(r"\.listen\(|\buvicorn\.|\bHTTPServer\b|\bsocketserver\b")


def test_nothing_listens_but_the_page_and_the_page_on_loopback():
    assert all(LISTENS.search(code) for code in ("s.listen(1)", "uvicorn.run(app)", "HTTPServer(('', 80), Page)"))
    listening = [path for path in sources() if LISTENS.search(path.read_text())]
    assert [path.parts[-2:] for path in listening] == [("webpage", "server.py")]
    (host,) = (parameter for parameter in view.params if "--host" in parameter.opts)
    assert host.default == "127.0.0.1"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_pickle_is_no_mesh(tmp_path, bomb, suffix):
    (tmp_path / f"a{suffix}").write_bytes(bomb[0])
    with pytest.raises(UserError):
        read_mesh(tmp_path / f"a{suffix}")
    assert not bomb[1].exists()


def test_pickles_are_refused_wherever_files_are_read(tmp_path, bomb):
    data, ran = bomb
    (tmp_path / "run").mkdir()
    buffer = io.BytesIO()
    torch.save({"a": Payload(ran)}, buffer)
    for content in (data, buffer.getvalue()):
        for name in ("a.safetensors", "a.pt", "a.pkl", "manifest.json", "run/state-00000001.safetensors"):
            (tmp_path / name).write_bytes(content)
        reads = [
            lambda: load_tensors(tmp_path / "a.safetensors"),
            lambda: load_generator_file(tmp_path / "a.pt"),
            lambda: newest_whole_state(tmp_path / "run"),
            lambda: read_manifest(tmp_path / "manifest.json"),
            lambda: load_detector(tmp_path / "a.pt", None, torch.device("cpu")),
        ]
        for read in reads:
            with pytest.raises(UserError):
                read()
    assert not ran.exists()


def test_a_pickle_inside_a_points_file_is_refused(tmp_path, bomb):
    root = write_dataset(tmp_path / "data", count=2)
    np.savez(root / "shapes" / "s0" / "points.npz", points=np.array([Payload(bomb[1])], dtype=object))
    with pytest.raises(UserError, match=r"points\.npz: cannot be read"):
        open_dataset(root).points("s0")
    assert not bomb[1].exists()


@pytest.mark.parametrize("name", ["../out.json", "/tmp/out.json", "shapes/../../out.json"])
def test_entries_of_an_archive_stay_inside(tmp_path, name):
    root = write_dataset(tmp_path / "data", count=2)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(root).as_posix())
        archive.writestr(name, "x")
    before = sorted(tmp_path.rglob("*"))
    dataset = open_dataset(tmp_path / "data.zip")
    for shape_id in dataset.shape_ids():
        dataset.load(shape_id, 0), dataset.points(shape_id), dataset.meta(shape_id)
    assert sorted(tmp_path.rglob("*")) == before and sorted(dataset.shape_ids()) == ["s0", "s1"]


@pytest.mark.parametrize("uri", ["https://example.org/a.bin", "file:///etc/passwd", "../secret.bin", "/etc/hostname"])
def test_addresses_in_a_mesh_stay_in_its_folder(tmp_path, uri):
    (tmp_path / "tree").mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 4096)
    builder = Gltf()
    file = builder.scene(builder.primitive()).save(tmp_path / "tree" / "a.gltf", buffer_uri=uri)
    with pytest.raises(UserError, match=r"not a local file|outside the source folder"):
        read_mesh(file)
    save_image(tmp_path / "secret.png")
    text = "mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nusemtl m\nf 1/1 2/1 3/1\n"
    (tmp_path / "tree" / "a.obj").write_text(text)
    (tmp_path / "tree" / "m.mtl").write_text("newmtl m\nmap_Kd ../secret.png\n")
    with pytest.raises(UserError, match="outside the source folder"):
        read_mesh(tmp_path / "tree" / "a.obj")


def loose_installs(text: str) -> list[str]:
    """Commands that install a package in whatever version is the newest."""
    return re.findall(r"pip install (?!--|-e |-r |-c constraints)[^`\n\"]*", text)


def test_every_install_that_users_are_told_goes_through_the_tested_versions() -> None:
    files = subprocess.run(["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in files.stdout.split() if not name.startswith("tests/")]
    loose = {name: found for name in names if (found := loose_installs((ROOT / name).read_text(encoding="utf-8")))}
    assert not loose
    assert loose_installs("run `pip install scipy`") == ["pip install scipy"]
    assert not loose_installs("pip install -c constraints.txt scipy, or pip install -e .")


def test_no_link_is_tracked() -> None:
    """A link leads out of the project, or replaces what lies in its place on another machine."""
    listed = subprocess.run(["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not [line for line in listed.stdout.splitlines() if line.startswith("120000 ")]
