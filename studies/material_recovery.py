"""How well a generator finds metallic and roughness that no one told it (`texture.channels: pbr`).

    tetragan dataset procedural --category chair --count 2000 --seed 0 --out shapes
    tetragan dataset render shapes --out data --camera chair --resolution 64 --shading pbr --light random
    tetragan dataset render shapes --out truth --camera chair --resolution 64 --views 4 --extra material
    tetragan train --config chair --data data --out run --set texture.channels=pbr
    python -m studies.material_recovery --network run/network.safetensors --truth truth

Generated and true surfaces have no pairs. So each generated pixel is matched with the true one that is nearest in base
color and in height in the image: of two that look alike at the same place of a chair, the true one says what the
generated one should be made of. Reported are the area under the ROC curve of metallic against the matched truth, the
same for truth in random order, and the rank correlation of roughness.
"""

from pathlib import Path

import click
import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.stats import rankdata, spearmanr

from dataset_tool.dataset import open_dataset
from rendering.camera import orbit_cameras
from rendering.deferred import rasterize_mesh, visible_points
from sampling.trained_generator import load

HEIGHT_WEIGHT = 0.3
SIDE_PX = 64


def roc_area(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of scores [P] for labels [P] bool; 0.5 without both labels."""
    count = int(positive.sum())
    if count in (0, len(positive)):
        return 0.5
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count)))


def true_pixels(data: Path, shapes: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys [P, 4] (base color, height) and metallic, roughness [P, 2] of pixels of a dataset of base colors."""
    dataset = open_dataset(data)
    if dataset.header.renderer.get("shading") != "albedo":
        raise click.UsageError(f"--truth {data}: expected base colors, rendered with --shading albedo")
    keys, values = [], []
    for shape_id in dataset.splits["val"][:shapes] or dataset.splits["train"][:shapes]:
        with np.load(dataset.path / "shapes" / shape_id / "material.npz", allow_pickle=False) as file:
            material = file["material"]
        for view in range(min(4, len(material))):
            image = dataset.load(shape_id, view)
            rows, columns = np.nonzero(image[..., 3] == 255)
            height = 1 - rows / image.shape[0]
            keys.append(np.concatenate([image[rows, columns, :3] / 255, HEIGHT_WEIGHT * height[:, None]], 1))
            values.append(material[view, rows, columns] / 255)
    return np.concatenate(keys), np.concatenate(values)


@torch.no_grad()
def generated_pixels(network: str, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys [P, 4] and metallic, roughness [P, 2] of visible points of samples."""
    generator = load(network)
    if generator.network.config.texture.channels != "pbr":
        raise click.UsageError(f"--network {network}: its texture field emits colors only")
    keys, values = [], []
    for seed in range(samples):
        sample = generator.sample(seed)
        geometry, texture = generator.network.planes(sample.w_geo, sample.w_tex)
        raster = rasterize_mesh(generator.network.surface(geometry, sample.w_geo).mesh, orbit_cameras([30.0]), SIDE_PX)
        points = visible_points(raster, gradient=False)
        found = generator.network.materials(texture, sample.w_tex, points, raster.point_offsets).numpy()
        height = 1 - (raster.pixels[:, None] // SIDE_PX).numpy() / SIDE_PX
        keys.append(np.concatenate([found[:, :3], HEIGHT_WEIGHT * height], 1))
        values.append(found[:, 3:])
    return np.concatenate(keys), np.concatenate(values)


@click.command()
@click.option("--network", required=True)
@click.option("--truth", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--samples", default=64, show_default=True)
@click.option("--shapes", default=64, show_default=True)
def main(network: str, truth: Path, samples: int, shapes: int) -> None:
    """Print the two figures and those of chance."""
    true_keys, true_values = true_pixels(truth, shapes)
    keys, values = generated_pixels(network, samples)
    matched = true_values[cKDTree(true_keys).query(keys)[1]]
    shuffled = np.random.default_rng(0).permutation(matched)
    print(f"metallic AUC               {roc_area(values[:, 0], matched[:, 0] > 0.5):.3f}")
    print(f"metallic AUC by chance     {roc_area(values[:, 0], shuffled[:, 0] > 0.5):.3f}")
    print(f"roughness rank correlation {spearmanr(values[:, 1], matched[:, 1]).statistic:.3f}")


if __name__ == "__main__":
    main()
