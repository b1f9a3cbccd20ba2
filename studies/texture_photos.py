"""Do the textures that `tetragan texture --photos` makes look like the photos?

    python -m studies.texture_photos table.ply mug.ply --photos photos/teal --photos photos/rust --out out/photos

Textures every mesh by every folder of photos, and once by the prompt alone. The colors of eight views of each are
compared with those of the photos, inside the object: the distance of their means, and that of their distributions (mean
over directions of the distance between quantiles, sliced Wasserstein). Both in sRGB of 0 to 1. Beside them stands the
gray mesh that all begin with. Files that --out holds already are measured again and not made again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from torch.nn import functional

from studies.plain_errors import PlainErrors
from studies.texture_words import views_of
from torch_utils.files import make_folder, write_json
from torch_utils.progress import progress_bar
from training.adapt.settings import DEFAULT_PRIOR
from training.mesh_texture.prompt import PromptMethod, PromptSettings
from training.mesh_texture.write import texture_mesh_by_photos, texture_mesh_by_prompt
from training.photos.read import read_photos

SIZE_PX, DIRECTIONS, QUANTILES = 256, 32, 100
# Pixels that the object covers less than this are not counted.
COVERED = 0.99
GRAY = torch.full((1, 3), 0.5)


def covered_colors(images: Tensor) -> Tensor:
    """Colors [P, 3] of the pixels of premultiplied images [4, H, W] or [N, 4, H, W] that an object covers."""
    flat = images.movedim(-3, -1).reshape(-1, 4)
    return flat[flat[:, 3] > COVERED, :3]


def mean_distance(first: Tensor, second: Tensor) -> float:
    """Euclidean distance of the mean colors of [P, 3] and [Q, 3]."""
    return float((first.mean(0) - second.mean(0)).norm())


def palette_distance(first: Tensor, second: Tensor) -> float:
    """Sliced Wasserstein distance of colors [P, 3] and [Q, 3]: 0 where they occur equally often."""
    ways = functional.normalize(torch.randn(DIRECTIONS, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    at = (torch.arange(QUANTILES) + 0.5) / QUANTILES
    one, other = (torch.quantile(colors @ ways.T, at, dim=0) for colors in (first, second))
    return float((one - other).abs().mean())


def mesh_colors(path: Path) -> Tensor:
    """Base colors [P, 3] of a textured mesh, seen from eight sides."""
    views = views_of(path)
    return covered_colors(torch.cat([views.rgb * views.mask, views.mask], 2)[0])


@click.command(cls=PlainErrors)
@click.argument("meshes", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MESHES...")
@click.option("--photos", "folders", multiple=True, required=True, type=click.Path(path_type=Path), help="Repeatable.")
@click.option("--prompt", default="a chair", show_default=True, help="What the photos show.")
@click.option(
    "--method",
    "methods",
    type=click.Choice(["sds", "dds", "pgsd"]),
    multiple=True,
    default=("dds",),
    show_default=True,
    help="Repeatable.",
)
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True, help="Steps of each texture.")
@click.option("--photo-steps", type=click.IntRange(1), help="Steps of the learning.  [default: as the command]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the textured meshes.")
def main(
    meshes: tuple[Path, ...],
    folders: tuple[Path, ...],
    prompt: str,
    methods: tuple[PromptMethod, ...],
    steps: int,
    photo_steps: int | None,
    out: Path,
) -> None:
    """Texture MESHES by every folder of photos, and say how far their colors are from those of the photos."""
    make_folder(out)
    rows: list[dict[str, Any]] = []
    for mesh in meshes:
        words = out / f"{mesh.stem} words.glb"
        if not words.exists():
            settings = PromptSettings(prompt, size_px=SIZE_PX, steps=steps)
            texture_mesh_by_prompt(mesh, DEFAULT_PRIOR, words, settings)
        for folder in folders:
            made: dict[str, Path] = {method: out / f"{mesh.stem} {folder.name} {method}.glb" for method in methods}
            for method in methods:
                path = made[method]
                if not path.exists():
                    settings = PromptSettings(prompt, method=method, size_px=SIZE_PX, steps=steps)
                    texture_mesh_by_photos(
                        mesh, folder, DEFAULT_PRIOR, path, settings, photo_steps=photo_steps, bar=progress_bar
                    )
            distances = distances_of(folder, {"words": words, **made})
            rows.append({"mesh": mesh.stem, "photos": folder.name, **distances})
            shown = ", ".join(f"{name} {mean:.2f} {palette:.2f}" for name, (mean, palette) in distances.items())
            click.echo(f"{mesh.stem}, {folder.name}: {shown}")
    write_json(out / "texture_photos.json", rows)
    for name in ("gray", "words", *methods):
        mean, palette = (sum(float(row[name][part]) for row in rows) / len(rows) for part in (0, 1))
        click.echo(f"{name}: mean color {mean:.3f}, palette {palette:.3f} from the photos, over {len(rows)} pairs")


def distances_of(folder: Path, meshes: Mapping[str, Path]) -> dict[str, tuple[float, float]]:
    """Distances of mean and palette from the photos of a folder, of gray and of each mesh file."""
    wanted = torch.cat([covered_colors(image) for image in read_photos(folder).images])
    colors = {"gray": GRAY, **{name: mesh_colors(path) for name, path in meshes.items()}}
    return {name: (mean_distance(wanted, own), palette_distance(wanted, own)) for name, own in colors.items()}


if __name__ == "__main__":
    main()
