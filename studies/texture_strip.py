"""What `tetragan texture` made of one mesh, under three lights: a row for each prompt.

    tetragan texture chair.glb --prompt "a red chair" --out red.glb
    python -m studies.texture_strip chair.glb "a red chair=red.glb" --out strip.png

The first column is the mesh in plain gray. The lights are the room of previews and two random environments of
`dataset render --light random`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from dataset_tool.sources.orientation import normalize
from mesh_io.read import read_mesh
from mesh_io.source_mesh import SourceMaterial, SourceMesh
from rendering.camera import orbit_cameras
from rendering.environment_light import EnvironmentLight
from rendering.images import LIGHT_BACKGROUND, save_png
from rendering.labeled_grid import labeled_grid
from rendering.look import Look
from rendering.procedural_light import preview_environment, random_environment
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from studies.plain_errors import PlainErrors
from torch_utils.errors import UserError

AZIMUTH_DEG, ELEVATION_DEG = 35.0, 15.0
SIDE_PX, SIDE = 192, 0.8
GRAY = SourceMaterial("gray", (0.8, 0.8, 0.8, 1.0))
LIGHTS = {"room": None, "light 2": 2, "light 5": 5}


def environments() -> list[EnvironmentLight]:
    """The three lights."""
    return [preview_environment() if index is None else random_environment(index) for index in LIGHTS.values()]


def in_gray(mesh: SourceMesh) -> SourceMesh:
    """The same shape without its materials."""
    parts = [replace(part, material=GRAY, uvs=None, vertex_colors=None) for part in mesh.parts]
    return replace(mesh, parts=tuple(parts))


def lit_images(mesh: SourceMesh, lights: Sequence[EnvironmentLight]) -> NDArray[np.uint8]:
    """A mesh under each light [lights, side, side, 3], on a light ground."""
    cameras = orbit_cameras([AZIMUTH_DEG] * len(lights), ELEVATION_DEG)
    scene = build_scene(normalize(mesh, "+Y", "+Z", SIDE)[0])
    look = Look("pbr", environments=lights, occlusion=True)
    views = render_views(scene, cameras, SIDE_PX, look, supersample=4).images
    alpha = views[..., 3:] / 255.0
    return np.rint(views[..., :3] * alpha + 255 * np.array(LIGHT_BACKGROUND) * (1 - alpha)).astype(np.uint8)


def parse_result(text: str) -> tuple[str, Path]:
    """The prompt and the file of "PROMPT=FILE". UserError for any other text."""
    prompt, equals, file = text.partition("=")
    if not (prompt.strip() and equals and file):
        raise UserError(f'{text}: expected PROMPT=FILE, such as "a red chair=red.glb"')
    return prompt.strip(), Path(file)


@click.command(cls=PlainErrors)
@click.argument("mesh", type=click.Path(path_type=Path))
@click.argument("results", nargs=-1, required=True, metavar="PROMPT=FILE...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A PNG.")
def main(mesh: Path, results: tuple[str, ...], out: Path) -> None:
    """Draw MESH in gray, and what each prompt made of it under three lights."""
    rows = [parse_result(text) for text in results]
    lights = environments()
    plain = lit_images(in_gray(read_mesh(mesh)), lights[:1])
    lit = [np.concatenate([plain, lit_images(read_mesh(file, surfaces=True), lights)]) for _, file in rows]
    save_png(out, labeled_grid(np.concatenate(lit), [prompt for prompt, _ in rows], ["mesh", *LIGHTS]))
    click.echo(f"{out}: {len(rows)} rows, each under {len(lights)} lights")


if __name__ == "__main__":
    main()
