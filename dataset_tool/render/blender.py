"""Render views with Blender's Cycles in a separate environment (bpy needs Python 3.11 and numpy < 2)."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dataset_tool.format import pixels
from mesh_io.source_mesh import SourceMesh, SourcePart
from rendering.camera import Cameras
from rendering.color import srgb_to_linear
from rendering.environment_file import write_environment
from rendering.look import Look
from rendering.textured.scene import DEFAULT_ROUGHNESS, known, linear_factors
from torch_utils.errors import UserError
from torch_utils.files import write_errors

BLENDER_VARIABLE = "TETRAGAN_BLENDER"
BLENDER_FOLDER = ".venv-blender"
SCRIPT = Path(__file__).with_name("blender_script.py")
SAMPLES = 32  # as published


@dataclass(frozen=True, eq=False)
class BlenderViews:
    """images [V, R, R, 4] uint8: straight alpha, sRGB. seconds: Cycles' time for each view. version: of Blender."""

    images: np.ndarray
    seconds: list[float]
    version: str


def blender_python() -> Path | None:
    """The Python that has Blender's module bpy; None where there is none.

    The environment variable names it. Without that, it is looked for in the folder that `make blender` makes, first in
    the current directory, then beside the project.
    """
    named = os.environ.get(BLENDER_VARIABLE)
    folders = [Path.cwd(), Path(__file__).parents[2]]
    places = [Path(named)] if named else [folder / BLENDER_FOLDER / "bin" / "python" for folder in folders]
    return next((place for place in places if place.is_file()), None)


def find_blender() -> Path:
    """`blender_python`, but a UserError with the command that makes the environment where there is none."""
    python = blender_python()
    if python is None:
        named = os.environ.get(BLENDER_VARIABLE)
        where = f"{BLENDER_VARIABLE}={named}: no such file" if named else f"Blender: no {BLENDER_FOLDER} here"
        raise UserError(f"{where}; make it with: make blender (or name a Python with bpy 4.5 in {BLENDER_VARIABLE})")
    return python


def blender_views(
    mesh: SourceMesh,
    cameras: Cameras,
    resolution: int,
    look: Look,
    *,
    supersample: int = 1,
    samples: int = SAMPLES,
    denoise: bool = True,
    device: str = "cpu",
) -> BlenderViews:
    """Render a mesh in world units through each camera.

    samples: per finished pixel. supersample: Cycles renders larger by this factor with samples / supersample² each, and
    the result is averaged down as in the built-in renderer. look: the light "studio" is GET3D's lamp, "sky" a white
    world; with occlusion the parts block light and reflect each other.
    denoise: denoise lit images, as GET3D does. UserError if the environment is missing or Blender fails.
    """
    python = find_blender()
    with tempfile.TemporaryDirectory(prefix="tetragan-blender-") as name:
        folder = Path(name)
        settings = {
            "resolution": resolution * supersample,
            "samples": max(1, round(samples / supersample**2)),
            "denoise": denoise and look.shading != "albedo",
            "shading": look.shading,
            "light": look.light,
            "occlusion": look.occlusion,
            "device": device,
            "threads": torch.get_num_threads(),
        }
        with write_errors(folder):
            job = _job(mesh, cameras, folder) | settings
            for index, environment in enumerate(look.environments):
                write_environment(folder / f"environment{index}.hdr", environment.image)
            job["environments"] = len(look.environments)
            (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        result = run_script(python, SCRIPT, folder, str(mesh.path))
        views = [folder / f"{view:03d}.png" for view in range(len(cameras))]
        images = [pixels.straight(pixels.decode(view.read_bytes(), str(view)), supersample) for view in views]
    return BlenderViews(_black_where_empty(np.stack(images)), result["seconds"], result["version"])


def run_script(python: Path, script: Path, folder: Path, what: str) -> dict[str, Any]:
    """Run a script on the job in `folder` with Blender's Python, and return the contents of its result.json."""
    log = folder / "log.txt"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            # Isolated mode: neither the paths of this process nor the script's folder are on the import path.
            [str(python), "-I", str(script), str(folder)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            # Not communicate(), because the pipe must stay open as long as this process lives.
            status = process.wait()
        finally:
            process.kill()
    path = folder / "result.json"
    if status or not path.is_file():
        raise UserError(f"{what}: {_cause(status, log.read_text(errors='replace'))}")
    return json.loads(path.read_text(encoding="utf-8"))


def _cause(status: int, log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = lines[-1][:300] if lines else "without a word"
    if "No module named 'bpy'" in last:
        return f"{BLENDER_VARIABLE}: that Python has no bpy; make one with: make blender"
    if status < 0:
        return f"Blender died of signal {-status} (out of memory?)"
    return f"Blender failed: {last}"


def _job(mesh: SourceMesh, cameras: Cameras, folder: Path) -> dict[str, Any]:
    """The input of the script: cameras and materials as plain values, arrays and textures as files in `folder`."""
    if bool(cameras.principal.any()) or bool((cameras.focal[:, 0] != cameras.focal[:, 1]).any()):
        raise ValueError("blender_views(): expected centered cameras with one focal length")
    arrays: dict[str, np.ndarray] = {}
    images: dict[int, str] = {}
    parts = []
    for index, part in enumerate(mesh.parts):
        arrays |= {f"{name}_{index}": array for name, array in _arrays(part).items()}
        parts.append(_material(part, folder, images))
    np.savez(folder / "parts.npz", **arrays)  # type: ignore[arg-type]
    return {
        "near": cameras.near,
        "far": cameras.far,
        "poses": cameras.camera_to_world.tolist(),
        "focal": cameras.focal[:, 0].tolist(),
        "parts": parts,
    }


def _arrays(part: SourcePart) -> dict[str, np.ndarray]:
    arrays = {"vertices": part.vertices.astype(np.float32), "faces": part.faces}
    if part.uvs is not None:
        arrays["uvs"] = part.uvs
    if part.vertex_colors is not None:
        linear = srgb_to_linear(torch.from_numpy(part.vertex_colors[:, :3])).numpy()
        arrays["colors"] = np.concatenate([linear, part.vertex_colors[:, 3:]], 1).astype(np.float32)
    if part.normals is not None:
        arrays["normals"] = part.normals
    return arrays


def _material(part: SourcePart, folder: Path, images: dict[int, str]) -> dict[str, Any]:
    material = part.material

    def saved(image: np.ndarray | None) -> str | None:
        if image is None or part.uvs is None:
            return None
        if id(image) not in images:
            images[id(image)] = f"image{len(images)}.png"
            Image.fromarray(image).save(folder / images[id(image)], compress_level=1)
        return images[id(image)]

    return {
        "factor": linear_factors([material])[0].tolist(),
        "image": saved(material.image),
        "surface_image": saved(material.surface_image),
        "wrap": list(material.wrap),
        "nearest": material.nearest,
        "alpha_mode": material.alpha_mode,
        "alpha_cutoff": material.alpha_cutoff,
        "metallic": known(material.metallic, 0.0),
        "roughness": known(material.roughness, DEFAULT_ROUGHNESS),
    }


def _black_where_empty(images: np.ndarray) -> np.ndarray:
    images[images[..., 3] == 0] = 0
    return images
