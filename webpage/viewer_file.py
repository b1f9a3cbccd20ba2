"""One self-contained HTML file that shows meshes: the viewer, three.js and the GLB files inside."""

import base64
import html
import json
from collections.abc import Mapping
from itertools import starmap
from pathlib import Path

STATIC = Path(__file__).parent / "static"
ADDONS = ("controls/OrbitControls.js", "loaders/GLTFLoader.js",
          "utils/BufferGeometryUtils.js")  # fmt: skip
RELATIVE = "'../utils/BufferGeometryUtils.js'"


def viewer_html(meshes: Mapping[str, bytes], title: str) -> str:
    """The page. meshes: GLB bytes by name, at least one; ValueError for none."""
    if not meshes:
        raise ValueError("viewer_html(): expected at least one mesh")
    vendor = STATIC / "vendor"
    modules = {"three": _text(vendor / "three.module.min.js"), "viewer": _text(STATIC / "viewer.js")}
    # Modules in data URLs have no place that a relative import could start from.
    modules |= {
        f"three/addons/{name}": _text(vendor / name).replace(RELATIVE, "'three/addons/utils/BufferGeometryUtils.js'")
        for name in ADDONS
    }
    imports = {name: "data:text/javascript;base64," + _base64(text.encode()) for name, text in modules.items()}
    license_text = _text(vendor / "LICENSE").strip()
    values = {
        "@TITLE@": html.escape(title),
        "@STYLE@": _text(STATIC / "style.css"),
        "@IMPORTS@": json.dumps({"imports": imports}),
        "@MESHES@": "\n".join([f"<!-- three.js:\n{license_text}\n-->", *starmap(_mesh_script, meshes.items())]),
    }
    page = _text(STATIC / "viewer.html")
    for mark, value in values.items():
        page = page.replace(mark, value)
    return page


def _mesh_script(name: str, data: bytes) -> str:
    label = html.escape(name, quote=True)
    return f'<script type="application/octet-stream" data-mesh="{label}">{_base64(data)}</script>'


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
