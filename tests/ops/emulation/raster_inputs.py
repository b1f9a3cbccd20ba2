"""Awkward inputs of the ops on triangles and grids: more than a block, odd sizes, broken and empty ones."""

from collections.abc import Iterator

import torch
from torch import Tensor

from geometry.tet_grid import tet_grid
from tests.ops.cases_raster import grid_faces, triangle_soup
from tests.ops.emulation.inputs import DTYPES, INF, NAN, Input, normal
from torch_utils.ops.antialias import antialias
from torch_utils.ops.connect_components import connect_components
from torch_utils.ops.face_neighbors import face_neighbors, face_neighbors_reference
from torch_utils.ops.interpolate import interpolate
from torch_utils.ops.marching_tets import edge_crossings, marching_tets_topology
from torch_utils.ops.rasterize import rasterize, rasterize_reference
from torch_utils.ops.texture import texture


def _scene(seed: int, images: int, dtype: torch.dtype, faces: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """A soup with degenerate, coincident, clipped, broken and large faces, and an empty image."""
    p, f, _ = triangle_soup(images, faces, dtype, seed)
    generator = torch.Generator().manual_seed(seed)
    some = [torch.randperm(len(f), generator=generator)[: max(len(f) // 10, 1)] for _ in range(4)]
    f[some[0], 1] = f[some[0], 0]
    f[some[1]] = f[(some[1] + 1) % len(f)]
    p[f[some[2], 0].long(), 3] -= 2.2
    p[f[some[3], 2].long(), 2] -= 1.5
    p[5 % len(p), 0] = NAN
    p[17 % len(p), 1] = INF
    p[torch.arange(0, len(p), 7), :2] *= 5
    counts = torch.full((images,), faces)
    if images >= 3:
        counts[0], counts[1] = counts[0] + counts[1], 0
    return p, f, torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])


def rasterize_inputs() -> Iterator[Input]:
    sizes = ((1, (1, 1)), (4, (7, 13)), (3, (64, 64)), (2, (130, 257)), (5, (33, 1)), (3, (1, 300)))
    for dtype in DTYPES:
        for seed, (images, size) in enumerate(sizes):
            p, f, o = _scene(seed, images, dtype)
            arguments = {"positions": p, "faces": f, "face_offsets": o, "resolution": size, "derivatives": True}
            yield Input(f"{dtype} {size}", rasterize, arguments, ("positions",))
        p, f, o = _scene(11, 3, dtype, faces=90)
        shifted = torch.cat([p.new_zeros(1), p.reshape(-1)])[1:].view(-1, 4)  # not at a multiple of 16 bytes
        arguments = {"positions": shifted, "faces": f, "face_offsets": o, "resolution": (60, 70)}
        yield Input(f"{dtype} shifted", rasterize, arguments)
        first = rasterize_reference(p, f, o, (60, 70))[0]
        arguments = {"positions": p, "faces": f, "face_offsets": o, "resolution": (60, 70), "previous": first}
        yield Input(f"{dtype} second layer", rasterize, arguments)
    for dtype in DTYPES:  # triangles over the whole image, each of which is listed; and ones smaller than a pixel
        p, f, o = triangle_soup(1, 300, dtype, 3)
        over = torch.tensor([[-9.0, -8.0], [9.0, -8.0], [0.0, 9.0]], dtype=dtype).repeat(300, 1)
        p[:, :2] = over + p[:, :2]
        arguments = {"positions": p, "faces": f, "face_offsets": o, "resolution": (70, 80), "derivatives": True}
        yield Input(f"listed faces {dtype}", rasterize, arguments, ("positions",))
        p, f, o = triangle_soup(1, 2000, dtype, 3)
        p[:, :2] *= 0.02
        arguments = {"positions": p, "faces": f, "face_offsets": o, "resolution": (200, 200)}
        yield Input(f"tiny faces {dtype}", rasterize, arguments, ("positions",))
    for vertices, offsets in ((0, [0, 0, 0]), (5, [0, 0]), (5, [0])):
        none = torch.zeros(0, 3, dtype=torch.int32)
        arguments = {"positions": torch.zeros(vertices, 4), "faces": none, "face_offsets": torch.tensor(offsets)}
        yield Input(f"nothing, {vertices}, {offsets}", rasterize, {**arguments, "resolution": (5, 9)})


def interpolate_inputs() -> Iterator[Input]:
    for dtype in DTYPES:
        for width in (0, 1, 3, 17, 130):
            p, f, o = triangle_soup(3, 40, dtype, 2)
            rast, db = rasterize_reference(p, f, o, (19, 23), derivatives=True)
            rast[0, 0, :6, 3] = torch.tensor([-1.0, NAN, INF, 1e9, 121.0, 0.4], dtype=dtype)
            arguments = {"attributes": normal(len(p), width, seed=1, dtype=dtype), "rast": rast, "faces": f}
            yield Input(f"{dtype} {width}", interpolate, arguments, ("attributes", "rast"))
            gradients = ("attributes", "rast", "rast_db")
            yield Input(f"{dtype} {width} db", interpolate, {**arguments, "rast_db": db}, gradients)


def face_neighbors_inputs() -> Iterator[Input]:
    generator = torch.Generator().manual_seed(0)
    meshes = {
        f"random {n} {v}": torch.randint(v, (n, 3), generator=generator).int()
        for n, v in ((1, 3), (2, 3), (30, 5), (300, 20), (4000, 900))
    }
    rim = torch.arange(1, 2001)
    meshes["fan"] = torch.stack([torch.zeros_like(rim), rim, rim.roll(-1)], 1).int()
    meshes["grid"] = grid_faces(40, 50)
    meshes["high ids"] = grid_faces(9, 9) + 2**30
    meshes["one face many times"] = torch.tensor([[4, 9, 2]]).repeat(700, 1).int()
    meshes["no area"] = torch.tensor([[7, 7, 7], [1, 1, 2], [1, 2, 2], [2, 1, 1]]).repeat(100, 1).int()
    for label, faces in meshes.items():
        yield Input(label, face_neighbors, {"faces": faces})


def _bumps(images: int, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Height fields seen from the front, one an image."""
    parts, faces = [], []
    for k in range(images):
        axes = torch.linspace(-0.9, 0.8, n + 1), torch.linspace(-0.7, 0.9, n + 1)
        x, y = torch.meshgrid(*axes, indexing="ij")
        z = 0.2 * torch.sin(5 * x + k + n) * torch.cos(4 * y) + normal(n + 1, n + 1, seed=n + k) * 0.15
        parts.append(torch.stack([x * 1.2 + 0.3 * z, y * 1.2 + 0.2 * z * x, z, 1.3 + 0.4 * z], -1).reshape(-1, 4))
        faces.append(grid_faces(n, n) + k * (n + 1) ** 2)
    return torch.cat(parts).to(dtype), torch.cat(faces), torch.arange(images + 1) * 2 * n * n


def _border_at_a_center(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A patch over 16² pixels whose border passes through the centers of column 4, within its first triangles."""
    x = torch.tensor([4.5, 5.0, 40.0]) / 8 - 1
    points = torch.cartesian_prod(x, torch.tensor([-9.0, 9.0]))
    faces = torch.tensor([[0, 2, 3], [0, 3, 1], [2, 4, 5], [2, 5, 3]], dtype=torch.int32)
    nearer_inside = torch.stack([-0.2 * points[:, 0], torch.ones(6)], 1)
    return torch.cat([points, nearer_inside], 1).to(dtype), faces


def _antialias_unchecked(**arguments: Tensor) -> Tensor:
    """As on a card: vertex ids out of range reach the kernel."""
    return torch.ops.tetragan.antialias(**arguments)[0]


def antialias_inputs() -> Iterator[Input]:
    sizes = ((1, 3, (17, 19), 1), (3, 6, (40, 33), 4), (2, 20, (64, 65), 5), (1, 5, (1, 40), 2), (1, 5, (40, 1), 2))
    for dtype in DTYPES:
        for images, n, size, channels in sizes:
            p, f, o = _bumps(images, n, dtype)
            rast, _ = rasterize_reference(p, f, o, size)
            color = normal(images, *size, channels, seed=4, dtype=dtype)
            arguments = {"color": color, "rast": rast, "positions": p, "faces": f}
            arguments["neighbors"] = face_neighbors_reference(f)
            yield Input(f"{dtype} {n} {size}", antialias, arguments, ("color", "positions"))
            broken = p.clone()
            broken[3], broken[9, 3] = NAN, -1
            yield Input(f"{dtype} {n} {size} broken", antialias, {**arguments, "positions": broken}, ("color",))
            wild = f.clone()
            wild[::7, 1], wild[3::11, 2], wild[5::13, 0] = len(p), -4, 2**31 - 1
            yield Input(f"{dtype} {n} {size} wild ids", _antialias_unchecked, {**arguments, "faces": wild})
        p, f = _border_at_a_center(dtype)
        rast, _ = rasterize_reference(p, f, torch.tensor([0, 4]), (16, 16))
        arguments = {"color": normal(1, 16, 16, 2, dtype=dtype), "rast": rast, "positions": p, "faces": f}
        arguments["neighbors"] = face_neighbors_reference(f)
        yield Input(f"{dtype} border at a center", antialias, arguments, ("color", "positions"))


def texture_inputs() -> Iterator[Input]:
    shapes = (((1, 1, 1, 1), (2, 5, 7)), ((3, 6, 9, 4), (3, 17, 19)), ((2, 5, 1, 2), (2, 9, 31)))
    for dtype in DTYPES:
        for image_shape, (n, h, w) in shapes:
            image, uv = normal(*image_shape, seed=1, dtype=dtype), normal(n, h, w, 2, seed=2, dtype=dtype) * 2
            spread = torch.rand(n, h, w, 1, generator=torch.Generator().manual_seed(1)).to(dtype)
            db = normal(n, h, w, 4, seed=3, dtype=dtype) * 10 ** (2 * spread - 2)
            uv[0, 0, :4, 0] = torch.tensor([NAN, INF, 1e20, -1e-9], dtype=dtype)
            db[0, 1, :4, 0] = torch.tensor([NAN, INF, 0, 1e30], dtype=dtype)
            for boundary in ("wrap", "clamp"):
                for kind in ("nearest", "bilinear", "trilinear"):
                    options = {"image": image, "uv": uv, "uv_db": db, "filter": kind, "boundary": boundary}
                    gradients = ("image", "uv", "uv_db") if kind == "trilinear" else ("image", "uv")
                    yield Input(f"{dtype} {image_shape} {boundary} {kind}", texture, options, gradients)


def _topology_parts(**arguments: Tensor) -> tuple[Tensor, ...]:
    t = marching_tets_topology(**arguments)
    return t.faces, t.edge_vertices, t.active, t.edge_active, t.vertex_offsets, t.face_offsets, t.active_offsets


def marching_tets_inputs() -> Iterator[Input]:
    grids = (
        ("bcc", 1, 1),
        ("kuhn", 1, 3),
        ("bcc", 4, 0),
        ("bcc", 5, 2),
        ("kuhn", 6, 65),
        ("bcc", 9, 3),
        ("bcc", 16, 2),
    )
    for dtype in DTYPES:
        for layout, cells, batch in grids:
            grid = tet_grid(layout, cells)
            sdf = normal(batch, grid.num_vertices, seed=cells, dtype=dtype)
            if batch >= 2:
                sdf[0] = 1
                sdf[1, ::5], sdf[1, 1::11], sdf[1, 2::13], sdf[1, 3::17] = 0, NAN, -0.0, -INF
            if batch >= 3:
                sdf[2] = -1
            tables = {"tets": grid.tets, "edges": grid.edges, "tet_edges": grid.tet_edges}
            yield Input(f"{dtype} {layout} {cells} {batch}", _topology_parts, {"sdf": sdf, **tables})
            pairs = marching_tets_topology(sdf, **tables).edge_vertices
            finite = torch.where(sdf < 0, sdf.clamp(-2, -0.01), sdf.abs().clamp(0.01, 2).nan_to_num(0.5)).reshape(-1)
            positions = grid.positions.to(dtype).repeat(batch, 1)
            arguments = {"sdf": finite, "positions": positions, "pairs": pairs}
            yield Input(f"{dtype} {layout} {cells} {batch} points", edge_crossings, arguments, ("sdf", "positions"))
    # As many scan blocks as a tile of the second scan has places, and one more or less.
    none = torch.zeros(0, 4, dtype=torch.int32)
    edges = torch.randint(500, (64 * 64 * 32 + 1, 2), generator=torch.Generator().manual_seed(0)).int()
    arguments = {"sdf": normal(1, 500), "tets": none, "tet_edges": torch.zeros(0, 6, dtype=torch.int32)}
    for count in (len(edges) - 32, len(edges) - 1, len(edges)):
        yield Input(f"{count} edges", _topology_parts, {**arguments, "edges": edges[:count]})


def connect_components_inputs() -> Iterator[Input]:
    for dtype in DTYPES:
        for layout, cells, batch, share in (
            ("bcc", 1, 2, 0.5),
            ("kuhn", 3, 1, 0.3),
            ("bcc", 5, 3, 0.1),
            ("bcc", 7, 2, 0.25),
        ):
            grid = tet_grid(layout, cells)
            generator = torch.Generator().manual_seed(cells)
            sdf = (torch.rand(batch, grid.num_vertices, generator=generator, dtype=torch.float64) - share).to(dtype)
            if batch > 1:
                sdf[1] = 1  # nothing inside
            broken = sdf.clone()
            broken[0, ::9], broken[0, 4::31] = NAN, 0
            for step in (
                0.0,
                0.05,
                2.0,
            ):  # where a step costs nothing, so would broken vertices, and ways would be equal
                arguments = {
                    "sdf": broken if step else sdf,
                    "edges": grid.edges,
                    "blocked": grid.boundary,
                    "depth": 0.5,
                }
                yield Input(f"{dtype} {layout} {cells} {share} {step}", connect_components, {**arguments, "step": step})
    for seed in range(4):  # whole numbers: many ways that cost the same
        grid = tet_grid("bcc", 3)
        sdf = torch.randint(-1, 3, (2, grid.num_vertices), generator=torch.Generator().manual_seed(seed)).double()
        arguments = {"sdf": sdf, "edges": grid.edges, "blocked": grid.boundary, "depth": 0.5, "step": 0.5}
        yield Input(f"ties {seed}", connect_components, arguments)
