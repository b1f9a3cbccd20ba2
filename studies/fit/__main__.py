"""Fit generators to single shapes through images alone, without a GAN: geometry networks × extractors.

    python -m studies.fit --out DIR [--models FOLDER] [--shapes torus,rings,kkf_armchair.glb] [--variants …]

Every variant first fits its SDF to the visual hull of 24 views, then learns from their colors and coverage by gradient
descent, the hull still beside them. Writes fit.json, table.md and, for each fit, held-out views beside those of the
target. Finished fits are kept.
"""

import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import trimesh
from torch import Tensor
from torch.nn import functional

from configs.loader import load_config
from configs.schema import Config
from geometry.regularizers import sdf_sign_loss
from networks.generator import Generator, Rendered
from rendering.images import save_png
from rendering.labeled_grid import labeled_grid
from rendering.textured.scene import build_scene
from studies.fit.measures import (
    coverage_iou,
    covered_psnr,
    linking_number,
    rms_distance,
    summary_of_topology,
)
from studies.fit.targets import SCALE, Target, build_target, colored_mesh, lit_views, ring_axes
from torch_utils.process import peak_memory_mb

SETTINGS = (
    "data.resolution=256", "backbone.plane_resolution=64", "geometry.box=1.0", "geometry.connect_components=false",
    "rendering.supersample=1", "training.precision=fp32",
)  # fmt: skip
NETWORKS: dict[str, tuple[str, ...]] = {
    "triplane": ("geometry.hidden=32",),
    "volume": (
        "geometry.network=volume", "geometry.volume_channel_base=512", "geometry.volume_channel_max=32",
        "geometry.hidden=32", "geometry.hidden_layers=2", "geometry.deformation_hidden_layers=1",
    ),
}  # fmt: skip
EXTRACTORS: dict[str, tuple[str, ...]] = {
    "tets": ("geometry.cells=32",),
    "tets-fine": ("geometry.cells=64",),
    "subdivided": ("geometry.cells=32", "geometry.subdivide=1"),
    "flexicubes": ("geometry.cells=32", "geometry.extraction=flexicubes"),
}
VARIANTS = [f"{network}-{extractor}" for network in NETWORKS for extractor in EXTRACTORS if extractor != "tets-fine"]
VIEWS, VIEWS_PER_STEP, LEARNING_RATE = 24, 3, 0.01
HULL_STEPS, HULL_POINTS = 400, 8192
COLUMNS, LIT_PX = 4, 256


def fit_generator(target: Target, config: Config, steps: int) -> tuple[Generator, float]:
    """A generator whose sample at the zero latent is the target, and the seconds that a step took."""
    torch.manual_seed(0)
    generator = Generator(config).train()
    optimizer = torch.optim.Adam(generator.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, LEARNING_RATE / 20)
    order = torch.Generator().manual_seed(0)
    for _ in range(HULL_STEPS):
        optimizer.zero_grad(set_to_none=True)
        w_geo, _ = _styles(generator)
        geometry = generator.geometry_planes(generator.features(w_geo), w_geo)
        _hull_loss(generator, geometry, w_geo, target, order).backward()
        optimizer.step()
    start = time.perf_counter()
    for step in range(steps):
        chosen = torch.randperm(len(target.cameras), generator=order)[:VIEWS_PER_STEP]
        side = target.views.shape[-1] // (2 if step < steps // 2 else 1)
        views = functional.interpolate(target.views[chosen], (side, side), mode="area")
        w_geo, w_tex = _styles(generator)
        geometry, texture = generator.planes(w_geo, w_tex)
        rendered = generator.render(w_geo, w_tex, target.cameras[chosen], resolution=side, planes=(geometry, texture))
        loss = _loss(rendered, views, config) + _hull_loss(generator, geometry, w_geo, target, order)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return generator.eval(), (time.perf_counter() - start) / steps


def _styles(generator: Generator) -> tuple[Tensor, Tensor]:
    """The styles of the one latent that is fitted."""
    z = torch.ones(1, generator.config.mapping.z_dim)
    return generator.map(z, z)


def _hull_loss(generator: Generator, geometry: Tensor, w_geo: Tensor, target: Target, order: torch.Generator) -> Tensor:
    """Cross-entropy of the SDF at random points with the visual hull: inside where every view has coverage.

    Holes cannot be pierced by gradients of images, which a surface without holes does not have; the hull has them. Nor
    do images hold a surface of one color in its place: without the hull it drifts.
    """
    config = generator.config.geometry
    points = (torch.rand(HULL_POINTS, 3, generator=order) - 0.5) * config.box
    clip = target.cameras.transform_packed(points, torch.tensor([0, HULL_POINTS]))
    at = (clip[:, :2] / clip[:, 3:]).view(len(target.cameras), 1, HULL_POINTS, 2)
    inside = functional.grid_sample(target.views[:, 3:], at, align_corners=False).amin(0).view(-1) > 0.5
    sdf = generator.signed_distance(geometry, w_geo, points, torch.tensor([0, HULL_POINTS]))
    return functional.binary_cross_entropy_with_logits(-sdf * config.cells_per_unit, inside.float())


def _loss(rendered: Rendered, views: Tensor, config: Config) -> Tensor:
    rgb = (rendered.rgb + 1) / 2
    loss = (rgb - views[:, :3]).abs().mean() + 2 * (rendered.mask - views[:, 3:]).square().mean()
    surface, cells = rendered.surface, config.geometry.cells_per_unit
    loss = loss + 0.01 * sdf_sign_loss(surface.sdf_a * cells, surface.sdf_b * cells) + surface.fallback_surface_loss
    if surface.cubes is not None:
        loss = loss + config.loss.cube_spread_weight * surface.cubes.spread
        loss = loss + 0.1 * config.loss.cube_weights_weight * surface.cubes.weights
    return loss


@torch.no_grad()
def held_out_scores(generator: Generator, target: Target) -> dict[str, Any]:
    """Scores on the held-out views."""
    rendered = generator.render(*_styles(generator), target.held_out, resolution=target.held_out_views.shape[-1])
    mesh = rendered.surface.mesh
    rgb, truth = (rendered.rgb + 1) / 2, target.held_out_views
    found = {
        "iou": coverage_iou(rendered.mask, truth[:, 3:]),
        "rms_percent": 100 * rms_distance(mesh, target.surface) / SCALE,
        "psnr_db": covered_psnr(rgb, truth[:, :3], truth[:, 3:]),
        "topology": summary_of_topology(mesh),
        "faces": int(mesh.faces.shape[0]),
    }
    if target.name == "rings":
        found["linking"] = linking_number(mesh, ring_axes())
    return found


@torch.no_grad()
def lit_grid(generator: Generator, target: Target) -> np.ndarray:
    """Held-out views of the fit above those of the target, lit alike."""
    w_geo, w_tex = _styles(generator)
    geometry, texture = generator.planes(w_geo, w_tex)
    mesh = generator.surface(geometry, w_geo).mesh
    colors = generator.texture(texture, w_tex, mesh.vertices, mesh.vertex_offsets)
    scene = build_scene(colored_mesh("fit", trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), colors.numpy()))
    cameras = target.held_out[:COLUMNS]
    rows = [lit_views(shape, cameras, LIT_PX) for shape in (scene, target.scene)]
    return labeled_grid(np.concatenate(rows), ["fit", "target"], [""] * COLUMNS)


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row for each fit."""
    lines = [
        "| shape | network | extractor | IoU | RMS, % of the size | RGB PSNR, dB | topology | faces | ms a step | MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        linking = f", linking number {r['linking']:.2f}" if "linking" in r else ""
        lines.append(
            f"| {r['shape']} | {r['network']} | {r['extractor']} | {r['iou']:.4f} | {r['rms_percent']:.2f} "
            f"| {r['psnr_db']:.1f} | {r['topology']}{linking} | {r['faces']:,} | {r['ms']:.0f} | {r['mb']} |"
        )
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--models", type=click.Path(path_type=Path), help="Folder with the model files among --shapes.")
@click.option("--shapes", default="torus,rings", show_default=True)
@click.option("--variants", default=",".join(VARIANTS), show_default=True)
@click.option("--steps", type=int, default=600, show_default=True)
@click.option("--resolution", type=int, default=256, show_default=True)
def main(out: Path, models: Path | None, shapes: str, variants: str, steps: int, resolution: int) -> None:
    """Fit every variant to every shape."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    record = out / "fit.json"
    results: list[dict[str, Any]] = json.loads(record.read_text()) if record.exists() else []
    for shape in shapes.split(","):
        target = build_target(shape, models, resolution, VIEWS)
        for variant in variants.split(","):
            network, _, extractor = variant.partition("-")
            done = any((r["shape"], r["network"], r["extractor"]) == (target.name, network, extractor) for r in results)
            if done:
                continue
            config = load_config("chair", [*SETTINGS, *NETWORKS[network], *EXTRACTORS[extractor]])
            generator, seconds = fit_generator(target, config, steps)
            found = held_out_scores(generator, target)
            save_png(out / f"{target.name}-{variant}.png", lit_grid(generator, target))
            memory = peak_memory_mb(torch.device("cpu"))
            row = {"shape": target.name, "network": network, "extractor": extractor, "steps": steps}
            results.append({**row, **found, "ms": 1000 * seconds, "mb": memory})
            record.write_text(json.dumps(results, indent=1))
            (out / "table.md").write_text(table(results))
            click.echo(table(results[-1:]).splitlines()[-1])


if __name__ == "__main__":
    main()
