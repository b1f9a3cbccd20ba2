"""Rows of rasterize, interpolate, antialias, face_neighbors and texture."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.row import Job, Row, tensor_bytes
from rendering.camera import Cameras
from torch_utils.ops.antialias import antialias, antialias_reference
from torch_utils.ops.face_neighbors import face_neighbors, face_neighbors_reference
from torch_utils.ops.interpolate import interpolate
from torch_utils.ops.rasterize import rasterize
from torch_utils.ops.texture import texture


def bumpy_sphere(num_faces: int) -> tuple[Tensor, Tensor]:
    """A closed surface that hides some of itself: vertices [V, 3], faces [F, 3] int32, F ≤ num_faces."""
    rows = int((num_faces / 4) ** 0.5)
    columns = 2 * rows
    polar = torch.linspace(0.01, torch.pi - 0.01, rows + 1)[:, None]
    azimuth = torch.arange(columns) * 2 * torch.pi / columns
    radius = 0.42 + 0.06 * torch.sin(7 * azimuth) * torch.sin(5 * polar)
    x, y, z = polar.sin() * azimuth.cos(), polar.cos().expand(-1, columns), polar.sin() * azimuth.sin()
    vertices = (torch.stack([x, y, z], -1) * radius[..., None]).reshape(-1, 3)
    i, j = torch.arange(rows)[:, None] * columns, torch.arange(columns)
    k = (j + 1) % columns
    upper = torch.stack([i + j, i + k, i + columns + j], -1).reshape(-1, 3)
    lower = torch.stack([i + k, i + columns + k, i + columns + j], -1).reshape(-1, 3)
    return vertices, torch.cat([upper, lower]).int()


@dataclass(frozen=True)
class RasterInputs:
    """One mesh seen by N cameras, packed as the ops expect it."""

    vertices: Tensor
    faces_of_one: Tensor
    world_to_clip: Tensor
    positions: Tensor
    faces: Tensor
    face_offsets: Tensor
    attributes: Tensor
    size: int


def raster_inputs(views: int, size: int, num_faces: int, device: torch.device) -> RasterInputs:
    """A bumpy sphere of about `num_faces` triangles, seen by `views` cameras around it in images of `size`² px."""
    vertices, faces = bumpy_sphere(num_faces)
    cameras = Cameras.orbit(torch.linspace(0, 6, views), torch.linspace(-0.3, 0.5, views), 1.5, 0.9)
    matrices = cameras.world_to_clip()
    points = functional.pad(vertices, (0, 1), value=1.0)
    positions = torch.einsum("nij,vj->nvi", matrices, points).reshape(-1, 4)
    shift = torch.arange(views, dtype=torch.int32)[:, None, None] * vertices.shape[0]
    packed = (faces[None] + shift).reshape(-1, 3).to(device)
    offsets = torch.arange(views + 1) * faces.shape[0]
    attributes = (vertices + 0.5).repeat(views, 1).to(device)
    return RasterInputs(vertices, faces, matrices, positions.to(device), packed, offsets, attributes, size)


def rasterize_and_interpolate(inputs: RasterInputs, positions: Tensor, attributes: Tensor) -> tuple[Tensor, Tensor]:
    """Raster [N, H, W, 4] and an interpolated attribute [N, H, W, 3]."""
    rast, _ = rasterize(positions, inputs.faces, inputs.face_offsets, (inputs.size, inputs.size))
    return rast, interpolate(attributes, rast, inputs.faces)[0]


def opengl_peer(inputs: RasterInputs) -> tuple[Callable[[], object] | None, str]:
    """A call that draws the same two float images with moderngl and reads them back; or None and the reason."""
    try:
        import moderngl

        context = moderngl.create_context(standalone=True, backend="egl")  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001  (whatever the error, the row shows it)
        return None, f"no OpenGL: {error}"
    program = context.program(
        vertex_shader="""#version 330
            uniform mat4 matrix; in vec3 position; in vec3 color; in vec2 weight; out vec3 c; out vec2 b;
            void main() { gl_Position = matrix * vec4(position, 1); c = color; b = weight; }""",
        fragment_shader="""#version 330
            in vec3 c; in vec2 b; layout(location = 0) out vec4 rast; layout(location = 1) out vec4 value;
            void main() { rast = vec4(b, gl_FragCoord.z, gl_PrimitiveID + 1); value = vec4(c, 1); }""",
    )
    weights = np.tile(np.array([[1, 0], [0, 1], [0, 0]], np.float32), (inputs.faces_of_one.shape[0], 1))
    corners = inputs.vertices.numpy()[inputs.faces_of_one.numpy()].reshape(-1, 3)
    buffer = context.buffer(np.concatenate([corners, corners + 0.5, weights], 1).astype("f4").tobytes())
    array = context.vertex_array(program, [(buffer, "3f 3f 2f", "position", "color", "weight")])
    targets = [context.texture((inputs.size, inputs.size), 4, dtype="f4") for _ in range(2)]
    frame = context.framebuffer(targets, context.depth_texture((inputs.size, inputs.size)))
    frame.use()
    context.enable(moderngl.DEPTH_TEST)
    uniform = program["matrix"]
    assert isinstance(uniform, moderngl.Uniform)
    matrices = [np.ascontiguousarray(m.numpy().T).tobytes() for m in inputs.world_to_clip]
    memory = [np.empty((inputs.size, inputs.size, 4), np.float32) for _ in range(2)]

    def run() -> None:
        for matrix in matrices:
            frame.clear()
            uniform.write(matrix)
            array.render()
            for k, target in enumerate(memory):
                frame.read_into(target, components=4, attachment=k, dtype="f4")

    return run, context.info["GL_RENDERER"]


def drawing(device: torch.device) -> Job:
    """Eight views of 20,000 triangles. The peer is OpenGL."""
    inputs = raster_inputs(8, 256, 20000, device)
    rast, values = rasterize_and_interpolate(inputs, inputs.positions, inputs.attributes)
    peer, note = opengl_peer(inputs) if device.type == "cpu" else (None, "no peer on this device")
    moved = tensor_bytes(inputs.positions, inputs.faces, rast, rast, inputs.attributes, values)
    ours = partial(rasterize_and_interpolate, inputs, inputs.positions, inputs.attributes)
    return Job(ours, peer, moved, "" if peer else note)


def drawing_and_gradient(device: torch.device) -> Job:
    """Sixteen small views, forward and backward to positions and attributes, without a peer."""
    inputs = raster_inputs(16, 128, 4000, device)
    positions, attributes = inputs.positions.requires_grad_(), inputs.attributes.requires_grad_()

    def run() -> None:
        _, values = rasterize_and_interpolate(inputs, positions, attributes)
        torch.autograd.grad(values, (positions, attributes), torch.ones_like(values))

    pixels = 16 * 128 * 128
    moved = 2 * tensor_bytes(positions, attributes, inputs.faces) + pixels * 4 * (4 * 4 + 3 * 3)
    return Job(run, None, moved, "no peer")


def antialiasing(device: torch.device) -> Job:
    """Sixteen small views, forward and backward to color and positions. The peer is the PyTorch reference."""
    inputs = raster_inputs(16, 128, 4000, device)
    positions = inputs.positions.requires_grad_()
    rast, _ = rasterize(positions.detach(), inputs.faces, inputs.face_offsets, (inputs.size, inputs.size))
    neighbors = face_neighbors(inputs.faces)
    color = torch.rand(*rast.shape[:3], 4, device=device, requires_grad=True)

    def run(function: Callable[..., Tensor]) -> None:
        out = function(color, rast, positions, inputs.faces, neighbors)
        torch.autograd.grad(out, (color, positions), torch.ones_like(out))

    moved = 5 * tensor_bytes(color) + tensor_bytes(rast, positions, positions, inputs.faces, neighbors)
    return Job(lambda: run(antialias), lambda: run(antialias_reference), moved)


def neighbors(device: torch.device) -> Job:
    """The neighbors of all faces of sixteen copies. The peer is the PyTorch reference."""
    faces = raster_inputs(16, 8, 4000, device).faces
    ours, peer = (lambda: face_neighbors(faces)), (lambda: face_neighbors_reference(faces))
    return Job(ours, peer, 2 * tensor_bytes(faces))


def texturing(device: torch.device) -> Job:
    """Bilinear with border clamp, forward and backward. The peer's image has its faster layout."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1024, 1024, 3, generator=generator).to(device).requires_grad_()
    base = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, 256)] * 2, indexing="xy"), -1)
    uv = (base + 0.002 * torch.randn(8, 256, 256, 2, generator=generator)).to(device).requires_grad_()
    planes = image.detach().permute(0, 3, 1, 2).contiguous().requires_grad_()

    def ours() -> None:
        out = texture(image, uv, boundary="clamp")
        torch.autograd.grad(out, (image, uv), torch.ones_like(out))

    def peer() -> None:
        grid, images = 2 * uv - 1, planes.expand(8, -1, -1, -1)
        out = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
        torch.autograd.grad(out, (planes, uv), torch.ones_like(out))

    return Job(ours, peer, 3 * tensor_bytes(image) + 2 * tensor_bytes(uv) + 2 * 4 * 3 * uv.numel() // 2)


RASTER_ROWS = [
    Row("rasterize + interpolate", "20k triangles, 8 × 256²", "moderngl on llvmpipe", drawing, 2.0),
    Row("rasterize + interpolate, with gradient", "4k triangles, 16 × 128²", "–", drawing_and_gradient),
    Row("antialias, with gradient", "4k triangles, 16 × 128² × 4", "own reference", antialiasing),
    Row("face_neighbors", "64k triangles", "own reference (sort)", neighbors),
    Row("texture, with gradient", "1024² × 3 at 8 × 256²", "grid_sample", texturing),
]
