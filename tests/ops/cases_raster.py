"""Sample inputs of rasterize, interpolate, face_neighbors, antialias and texture."""

import torch
from torch import Tensor

from tests.ops.case import Arguments, BadInput, Case, edit
from torch_utils.ops.antialias import antialias, antialias_reference
from torch_utils.ops.face_neighbors import face_neighbors, face_neighbors_reference
from torch_utils.ops.interpolate import interpolate, interpolate_reference
from torch_utils.ops.rasterize import rasterize, rasterize_reference
from torch_utils.ops.texture import mip_levels, texture, texture_reference


def triangle_soup(batch: int, faces: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Clip-space positions [ΣV, 4], faces [ΣF, 3] and offsets of loose triangles in front of the camera."""
    generator = torch.Generator().manual_seed(seed)
    count = batch * faces
    center = torch.rand(count, 1, 4, generator=generator, dtype=torch.float64) * 2 - 1
    corner = center + torch.rand(count, 3, 4, generator=generator, dtype=torch.float64) - 0.5
    corner[..., 2] *= 0.3
    corner[..., 3] = 1 + 0.5 * torch.rand(count, 3, generator=generator, dtype=torch.float64)
    positions = corner.reshape(-1, 4).to(torch.float32).to(dtype)
    return positions, torch.arange(3 * count, dtype=torch.int32).reshape(-1, 3), torch.arange(batch + 1) * faces


def _rasterize(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    positions, faces, offsets = triangle_soup(batch, 12, dtype)
    resolution = (9, width)
    return {
        "positions": positions,
        "faces": faces,
        "face_offsets": offsets,
        "resolution": resolution,
        "derivatives": True,
    }


def _raster(batch: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    positions, faces, offsets = triangle_soup(batch, 12, dtype)
    rast, rast_db = rasterize_reference(positions, faces, offsets, (9, width), derivatives=True)
    assert rast_db is not None
    return positions, faces, rast, rast_db


def _interpolate(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    positions, faces, rast, rast_db = _raster(batch, 8, dtype)
    generator = torch.Generator().manual_seed(1)
    attributes = torch.randn(positions.shape[0], width, generator=generator, dtype=torch.float64).to(dtype)
    return {"attributes": attributes, "rast": rast, "faces": faces, "rast_db": rast_db}


def _antialias(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    positions, faces, rast, _ = _raster(batch, 13, dtype)
    generator = torch.Generator().manual_seed(2)
    color = torch.randn(*rast.shape[:3], width, generator=generator, dtype=torch.float64).to(dtype)
    return {
        "color": color,
        "rast": rast,
        "positions": positions,
        "faces": faces,
        "neighbors": face_neighbors_reference(faces),
    }


def grid_faces(rows: int, columns: int) -> Tensor:
    """Faces [2·rows·columns, 3] of a flat patch of (rows + 1)·(columns + 1) vertices."""
    a = (torch.arange(rows)[:, None] * (columns + 1) + torch.arange(columns)).reshape(-1)
    b, c, d = a + 1, a + columns + 1, a + columns + 2
    return torch.cat([torch.stack([a, b, c], 1), torch.stack([b, d, c], 1)]).int()


def _face_neighbors(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    patches = [grid_faces(width, 3) + n * (width + 1) * 4 for n in range(batch)]
    extra = torch.tensor([[0, 1, 4], [5, 5, 6]], dtype=torch.int32)  # a third face on an edge, and a degenerate one
    return {"faces": torch.cat([*patches, extra]) if batch else torch.zeros(0, 3, dtype=torch.int32)}


def _texture(batch: int, width: int, dtype: torch.dtype, boundary: str = "wrap") -> Arguments:
    """Footprints from a tenth of a texel to many; coordinates off the texel grid, where the slope jumps."""
    generator = torch.Generator().manual_seed(4)
    height, columns = 6, 9

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    cell = torch.randint(-12, 40, (batch, 5, 4, 2), generator=generator)
    offset = 0.1 + 0.3 * uniform(batch, 5, 4, 2)  # off half texels too: they are edges of the coarser levels
    uv = (cell + offset) / torch.tensor([2 * columns, 2 * height])
    uv_db = torch.randn(batch, 5, 4, 4, generator=generator, dtype=torch.float64) * 10 ** (
        2 * uniform(batch, 5, 4, 1) - 2
    )
    return {
        "image": torch.randn(batch, height, columns, width, generator=generator, dtype=torch.float64).to(dtype),
        "uv": uv.to(dtype),
        "uv_db": uv_db.to(dtype),
        "boundary": boundary,
    }


def _texture_overloads(a: Arguments) -> list:
    levels = mip_levels(a["image"])
    texels = torch.cat([level.flatten(1, 2) for level in levels], 1).detach().requires_grad_()
    size = a["image"].shape[1:3]
    return [
        (torch.ops.tetragan.texture.default, (texels, a["uv"], a["uv_db"], *size, len(levels), 2, 0)),
        (torch.ops.tetragan.texture.default, (texels, a["uv"], None, *size, 1, 1, 1)),
    ]


RASTER_CASES = [
    Case(
        name="rasterize",
        function=rasterize,
        reference=rasterize_reference,
        make=_rasterize,
        gradients=("positions",),
        overloads=lambda a: [
            (
                torch.ops.tetragan.rasterize.default,
                (a["positions"], a["faces"], a["face_offsets"], *a["resolution"], derivatives, None),
            )
            for derivatives in (True, False)
        ],
        half=("positions",),
        bad_inputs=(
            BadInput("rank", edit("positions", lambda p: p[None]), "rasterize(): expected positions of shape [V, 4]"),
            BadInput("type", edit("positions", lambda p: p.int()), "expected positions of type float32", TypeError),
            BadInput("not a tensor", edit("positions", lambda p: 3), "expected positions to be a tensor", TypeError),
            BadInput("faces' type", edit("faces", lambda f: f.long()), "expected faces of type int32", TypeError),
            BadInput("index", edit("faces", lambda f: f + 10000), "expected faces in [0, "),
            BadInput("negative index", edit("faces", lambda f: f - 1), "expected faces in [0, "),
            BadInput("resolution 0", edit("resolution", lambda r: (0, 4)), "expected resolution (H, W) of integers"),
            BadInput("offsets", edit("face_offsets", lambda o: o + 1), "expected face_offsets to start at 0"),
            BadInput("offsets' end", edit("face_offsets", lambda o: o[:-1]), "expected face_offsets to end at"),
            BadInput("device", edit("faces", lambda f: f.to("meta")), "expected faces on cpu, got meta"),
        ),
    ),
    Case(
        name="interpolate",
        function=interpolate,
        reference=interpolate_reference,
        make=_interpolate,
        gradients=("attributes", "rast", "rast_db"),
        overloads=lambda a: [
            (torch.ops.tetragan.interpolate.default, (a["attributes"], a["rast"], a["faces"], a["rast_db"])),
            (torch.ops.tetragan.interpolate.default, (a["attributes"], a["rast"], a["faces"], None)),
        ],
        half=("attributes",),
        bad_inputs=(
            BadInput("rank", edit("rast", lambda r: r[0]), "interpolate(): expected rast of shape [N, H, W, 4]"),
            BadInput("attributes", edit("attributes", lambda x: x[:, 0]), "expected attributes of shape [V, A]"),
            BadInput(
                "mixed", edit("attributes", lambda x: x.float()), "expected attributes of type float64", TypeError
            ),
            BadInput("index", edit("attributes", lambda x: x[:4]), "expected faces in [0, 4)"),
            BadInput("db", edit("rast_db", lambda x: x[..., :3]), "expected rast_db of shape"),
        ),
    ),
    Case(
        name="face_neighbors",
        function=face_neighbors,
        reference=face_neighbors_reference,
        make=_face_neighbors,
        overloads=lambda a: [(torch.ops.tetragan.face_neighbors.default, (a["faces"],))],
        bad_inputs=(
            BadInput("type", edit("faces", lambda f: f.long()), "face_neighbors(): expected faces of type", TypeError),
            BadInput("shape", edit("faces", lambda f: f[:, :2]), "expected faces of shape [F, 3]"),
            BadInput("negative", edit("faces", lambda f: f - 1), "expected faces in [0, "),
        ),
    ),
    Case(
        name="antialias",
        function=antialias,
        reference=antialias_reference,
        make=_antialias,
        gradients=("color", "positions"),
        overloads=lambda a: [(torch.ops.tetragan.antialias.default, tuple(a.values()))],
        half=("color",),
        bad_inputs=(
            BadInput("size", edit("color", lambda c: c[:, :-1]), "antialias(): expected color of shape"),
            BadInput("mixed", edit("positions", lambda p: p.float()), "expected positions of type float64", TypeError),
            BadInput("index", edit("positions", lambda p: p[:3]), "expected faces in [0, 3)"),
            BadInput("neighbors", edit("neighbors", lambda n: n[:1]), "expected neighbors of shape"),
        ),
    ),
    Case(
        name="texture",
        function=texture,
        reference=texture_reference,
        make=_texture,
        gradients=("image", "uv", "uv_db"),
        overloads=_texture_overloads,
        half=("image",),
        tolerance={torch.float32: 2e-4, torch.float64: 1e-10},
        bad_inputs=(
            BadInput("rank", edit("uv", lambda x: x[0]), "texture(): expected uv of shape [N, h, w, 2]"),
            BadInput("batch", edit("image", lambda x: torch.cat([x, x])), "expected image of batch 1 or 2, got 4"),
            BadInput("mixed", edit("image", lambda x: x.float()), "expected image of type", TypeError),
            BadInput("no texels", edit("image", lambda x: x[:, :0]), "expected image sides in [1, "),
            BadInput("uv_db", edit("uv_db", lambda x: x[..., :2]), "expected uv_db of shape"),
            BadInput("boundary", edit("boundary", lambda x: "mirror"), "expected boundary to be one of wrap, clamp"),
        ),
    ),
]
