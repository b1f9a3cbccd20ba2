"""Do the textures that `tetragan texture --prompt` makes with the included prior show what the words say?

    python -m studies.texture_words chair.glb table.obj --prompt "a red {}" --prompt "a wooden {}" --out out/words

Textures every mesh by every prompt; `{}` stands for the category that the file's name begins with. clip-b, which guides
nothing, names the color or material of eight views of each from all that the captions know. Beside it stands how many
it names right of the same views in the flat mean colors of the captions' own finishes: what clip-b itself can tell.
Files that --out holds already are measured again and not made again. Exit status 1 where fewer than 80 % of the views
are named right.
"""

import sys
from pathlib import Path

import click
import numpy as np
import torch

from dataset_tool.sources.orientation import normalize
from guidance.clip import Clip, load_clip
from mesh_io.read import read_mesh
from networks.pretrained import INCLUDED
from rendering.camera import orbit_cameras
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from studies.plain_errors import PlainErrors
from studies.text_criteria.figures import Views
from studies.text_criteria.targets import Target, parse_target, reference_colors
from studies.text_criteria.zero_shot import named_values, share
from torch_utils.files import write_json
from torch_utils.progress import progress_bar
from training.adapt.settings import DEFAULT_PRIOR
from training.mesh_texture.prompt import PromptSettings
from training.mesh_texture.write import texture_mesh_by_prompt

AZIMUTHS_DEG, ELEVATION_DEG = tuple(range(0, 360, 45)), 20.0
SIDE_PX, SIDE, SIZE_PX = 64, 0.7, 256
NEEDED = 0.8
# Colors of a finish that clip-b is tried on.
FLAT_COLORS = 8


def views_of(path: Path) -> Views:
    """Base colors of a mesh file from all sides, as one sample of eight views."""
    scene = build_scene(normalize(read_mesh(path), "+Y", "+Z", SIDE)[0])
    images = render_views(scene, orbit_cameras(AZIMUTHS_DEG, ELEVATION_DEG), SIDE_PX, supersample=4).images
    rgba = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)[None] / 255
    return Views(rgba[:, :, :3], rgba[:, :, 3:])


def flat_share(clip: Clip, views: Views, target: Target) -> float | None:
    """Share of the views that are named right in flat colors of the finish; None for a target without colors."""
    colors = reference_colors(target)
    if colors is None:
        return None
    painted = [Views(color[:, None, None].expand_as(views.rgb), views.mask) for color in colors[:FLAT_COLORS]]
    return sum(share(named_values(clip, flat, target), target.value) for flat in painted) / len(painted)


@click.command(cls=PlainErrors)
@click.argument("meshes", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MESHES...")
@click.option("--prompt", "prompts", multiple=True, required=True, help='Such as "a red {}"; may be repeated.')
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True, help="Steps of each texture.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the textured meshes.")
def main(meshes: tuple[Path, ...], prompts: tuple[str, ...], steps: int, out: Path) -> None:
    """Texture MESHES by every prompt, and say how many views show what it says."""
    clip = load_clip(INCLUDED / "priors" / "clip-b")
    out.mkdir(parents=True, exist_ok=True)
    rows, shares = [], []
    for mesh in meshes:
        for template in prompts:
            prompt = template.format(mesh.stem.split("-")[0])
            path = out / f"{mesh.stem} {prompt}.glb"
            if not path.exists():
                settings = PromptSettings(prompt, size_px=SIZE_PX, steps=steps)
                with progress_bar(path.stem, steps) as advance:
                    texture_mesh_by_prompt(mesh, DEFAULT_PRIOR, path, settings, progress=advance)
            target = parse_target(prompt)
            views = views_of(path)
            named, flat = named_values(clip, views, target), flat_share(clip, views, target)
            right = share(named, target.value)
            shares.append(right)
            rows.append({"mesh": mesh.name, "prompt": prompt, "right": right, "named": named, "flat": flat})
            known = "" if flat is None else f"; flat colors: {flat:.0%}"
            click.echo(f"{mesh.name}, {prompt}: {right:.0%} ({', '.join(dict.fromkeys(named))}){known}")
    mean = sum(shares) / len(shares)
    write_json(out / "texture_words.json", {"mean": mean, "pairs": rows})
    click.echo(f"{mean:.0%} of the views of {len(rows)} meshes are named right; needed: {NEEDED:.0%}")
    sys.exit(0 if mean >= NEEDED else 1)


if __name__ == "__main__":
    main()
