"""How well metallic-roughness surfaces agree with Blender's Principled BSDF under the same environment.

    python -m studies.material_agreement --out out/materials                  # nine spheres, the room of previews
    python -m studies.material_agreement --light room.hdr chair.glb car.glb --out out/materials

Nine spheres: metallic 0, 0.5, 1 from top to bottom and roughness 0.1, 0.5, 0.9 from left to right. PSNR: of sRGB values
in the pixels that either renderer covers. Exit status 1 below the threshold. `spheres.png` has, side by side, the
built-in render, Blender's, and their difference times four.
"""

from pathlib import Path

import click
import numpy as np
import torch

from dataset_tool.render.blender import blender_views
from dataset_tool.render.lights import environments_of
from dataset_tool.sources.find_shapes import find_shapes
from dataset_tool.sources.orientation import normalize
from mesh_io.read import read_mesh
from mesh_io.source_mesh import SourceMaterial, SourceMesh, SourcePart
from rendering.camera import Cameras
from rendering.images import save_png
from rendering.look import Look
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from studies.renderer_agreement import foreground_psnr

MIN_PSNR = 30.0
METALLIC, ROUGHNESS = (0.0, 0.5, 1.0), (0.1, 0.5, 0.9)
COLOR = (0.86, 0.55, 0.32)


def sphere(rows: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] on the unit sphere and faces [F, 3]."""
    polar, turn = np.meshgrid(
        np.linspace(0, np.pi, rows + 1), np.linspace(0, 2 * np.pi, 2 * rows, endpoint=False), indexing="ij"
    )
    vertices = np.stack([np.sin(polar) * np.sin(turn), np.cos(polar), np.sin(polar) * np.cos(turn)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rows) * 2 * rows, np.arange(2 * rows), indexing="ij")
    k = (j + 1) % (2 * rows)
    below = i + 2 * rows
    upper, lower = np.stack([i + j, below + j, i + k], -1), np.stack([i + k, below + j, below + k], -1)
    faces = np.concatenate([upper[1:].reshape(-1, 3), lower[:-1].reshape(-1, 3)])
    return vertices, faces.astype(np.int32)


def nine_spheres() -> SourceMesh:
    """The spheres in the plane z = 0, in world units."""
    vertices, faces = sphere()
    used, flat = np.unique(faces, return_inverse=True)
    vertices, faces = vertices[used], flat.reshape(-1, 3).astype(np.int32)
    parts = []
    for row, metallic in enumerate(METALLIC):
        for column, roughness in enumerate(ROUGHNESS):
            material = SourceMaterial(f"{metallic} {roughness}", (*COLOR, 1.0), metallic=metallic, roughness=roughness)
            place = vertices * 0.14 + np.array([(column - 1) * 0.31, (1 - row) * 0.31, 0])
            parts.append(SourcePart(place, faces, material, normals=vertices.astype(np.float32)))
    return SourceMesh(Path("spheres"), tuple(parts))


@click.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--light", default="studio", show_default=True, help="studio, or an environment file.")
@click.option("--resolution", default=256, show_default=True)
@click.option("--samples", default=128, show_default=True, help="Samples of Cycles for each output pixel.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--threads", default=1, show_default=True)
def main(models: tuple[Path, ...], light: str, resolution: int, samples: int, out: Path, threads: int) -> None:
    """Print the PSNR of the nine spheres, or of each model, and write the images."""
    torch.set_num_threads(threads)
    look, low = Look("pbr", environments=environments_of(light, [])), []
    jobs = [("spheres", nine_spheres())]
    if models:
        read = [(path, find_shapes(path)[0]) for path in models]
        jobs = [
            (path.stem, normalize(read_mesh(path, surfaces=True), found.up, found.front, 0.9)[0])
            for path, found in read
        ]
    cameras = Cameras.orbit(torch.tensor([0.0]), torch.tensor([0.0]), 2.6, 0.42)
    for name, mesh in jobs:
        ours = render_views(build_scene(mesh), cameras, resolution, look).images
        theirs = blender_views(mesh, cameras, resolution, look, supersample=2, samples=samples).images
        psnr = foreground_psnr(ours, theirs)
        print(f"{name:40} PSNR {psnr:5.1f} dB", flush=True)
        shown = [view[0, ..., :3].astype(float) for view in (ours, theirs)]
        row = [*shown, 4 * np.abs(shown[0] - shown[1])]
        save_png(out / f"{name}.png", np.concatenate(row, 1).clip(0, 255).astype(np.uint8))
        low += [name] if psnr < MIN_PSNR else []
    if low:
        raise click.ClickException(f"below {MIN_PSNR} dB: {', '.join(low)}")


if __name__ == "__main__":
    main()
