"""Row of shading: metallic-roughness surfaces under an environment beside the same image without light."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.row import Job, Row, tensor_bytes
from benchmarks.rows_raster import bumpy_sphere
from geometry.mesh import Mesh
from geometry.normals import vertex_normals
from rendering.brdf import ShadingPoints
from rendering.camera import Cameras
from rendering.color import linear_to_srgb, srgb_to_linear
from rendering.deferred import composite, rasterize_mesh, visible_attributes
from rendering.procedural_light import preview_environment

SIDE, FACES = 256, 20_000


def light_job(device: torch.device) -> Job:
    """Rasterize, shade and composite one image, forward and backward to vertices, base color, metallic, roughness."""
    vertices, faces = bumpy_sphere(FACES)
    cameras = Cameras.orbit(torch.tensor([0.5]), torch.tensor([0.4]), 1.5, 0.9).to(device)
    environment = preview_environment().to(device)
    points = vertices.to(device).requires_grad_()
    values = torch.rand(len(vertices), 5, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()

    def image(points: Tensor, values: Tensor, lit: bool) -> Tensor:
        mesh = Mesh.single(points, faces.to(device))
        raster = rasterize_mesh(mesh, cameras, SIDE)
        if not lit:
            return composite(raster, visible_attributes(raster, values)[:, :3])[0]
        attributes = torch.cat([vertex_normals(mesh), mesh.vertices, values], 1)
        seen = visible_attributes(raster, attributes)
        normal, position, base, metallic, roughness = seen.split((3, 3, 3, 1, 1), 1)
        towards = cameras.position() - position
        surface = ShadingPoints(position, normal, towards, srgb_to_linear(base), metallic, roughness)
        return composite(raster, linear_to_srgb(environment.reflected(surface)))[0]

    def both_ways(lit: bool) -> Callable[[], object]:
        gradient = torch.randn_like(image(points, values, lit))
        leaves = [points, values]
        return lambda: torch.autograd.grad(image(points, values, lit), leaves, gradient, allow_unused=True)

    moved = 2 * tensor_bytes(points, values, environment.filtered, environment.mirror)
    return Job(both_ways(True), both_ways(False), moved)


LIGHT_ROWS = [Row("shade", f"{SIDE}², {FACES // 1000}k faces, forward and backward", "unlit", light_job, 0.5)]
