"""Rows of shading: a lit image beside the same one without light, and its ops beside their references."""

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
from torch_utils.ops.loading import use_mode
from torch_utils.ops.weighted_normals import weighted_normals

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


def _beside_reference(function: Callable[[], Tensor], leaves: tuple[Tensor, ...], moved: int) -> Job:
    """An op forward and backward, by its kernel and by its PyTorch reference."""
    gradient = torch.randn_like(function())

    def kernel() -> object:
        return torch.autograd.grad(function(), leaves, gradient)

    def reference() -> object:
        with use_mode("reference"):
            return kernel()

    return Job(kernel, reference, moved)


def shading_job(device: torch.device) -> Job:
    """As many points as an image has pixels, in random directions."""
    widths, environment = (3, 3, 3, 1, 1), preview_environment().to(device)
    values = torch.rand(SIDE**2, sum(widths), generator=torch.Generator().manual_seed(1)).to(device)
    parts = [part.contiguous() for part in values.split(widths, 1)]
    leaves = tuple(part.requires_grad_() for part in (parts[0] - 0.5, parts[1] - 0.5, *parts[2:]))
    surface = ShadingPoints(torch.zeros_like(leaves[0]), *leaves)
    # Inputs twice, their gradients, both outputs and their gradients.
    moved = 3 * tensor_bytes(values) + 4 * tensor_bytes(leaves[0])
    return _beside_reference(lambda: environment.reflected(surface), leaves, moved)


def normals_job(device: torch.device) -> Job:
    """Normals of the vertices of a bumpy sphere."""
    vertices, faces = (part.to(device) for part in bumpy_sphere(FACES))
    leaf = vertices.requires_grad_()
    moved = 4 * tensor_bytes(vertices) + 2 * tensor_bytes(faces)
    return _beside_reference(lambda: weighted_normals(leaf, faces), (leaf,), moved)


LIGHT_ROWS = [
    Row("shade", f"{SIDE}², {FACES // 1000}k faces, forward and backward", "unlit", light_job, 0.5),
    Row("environment_shading", f"{SIDE}² points, forward and backward", "our reference", shading_job, 5.0),
    Row("weighted_normals", f"{FACES // 1000}k faces, forward and backward", "our reference", normals_job, 2.0),
]
