"""FlexiCubes: closed manifolds for any signs, dual marching cubes at unit weights, weights, gradients, the peer."""

import math

import pytest
import torch
from torch import Tensor

from benchmarks.peer_flexicubes import PEER_FOLDER, beta_in_their_order, kaolin_flexicubes, peer_cubes
from geometry.cube_grid import CubeGrid, cube_grid
from geometry.extraction import ExtractedSurface
from geometry.flexicubes_extraction import NUM_WEIGHTS, WEIGHT_SCALE, build_cubes, find_cubes
from geometry.mesh import Mesh
from geometry.topology import count_components, edge_counts
from tests.compare import assert_close, assert_gradient_close
from tests.geometry.fields import noise, sphere, torus
from tests.geometry.measures import euler_number, is_watertight, signed_volume, singular_vertices
from torch_utils.ops.flexicubes import flexicubes_topology, flexicubes_vertices
from torch_utils.ops.flexicubes_cases import case_tables
from torch_utils.ops.loading import use_mode


def extract_cubes(
    sdf: Tensor,
    grid: CubeGrid,
    weights: Tensor | None = None,
    deformation: Tensor | None = None,
    *,
    centers: bool = False,
    closed: bool = True,
) -> ExtractedSurface:
    """Meshes of an SDF [B, V], weights [B, C, 21] (default 0) and a deformation [B, V, 3]."""
    found = find_cubes(sdf, grid, closed=closed)
    active, cubes = found.topology.active, found.topology.cubes
    moved = None if deformation is None else deformation.reshape(-1, 3)[active]
    if weights is None:
        weights = sdf.new_zeros(len(sdf), grid.cells**3, NUM_WEIGHTS)
    return build_cubes(
        found, grid, sdf.reshape(-1)[active], moved, weights.reshape(-1, NUM_WEIGHTS)[cubes], centers=centers
    )


def random_weights(grid: CubeGrid, batch: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, grid.cells**3, NUM_WEIGHTS, generator=generator)


def deformation(grid: CubeGrid, batch: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(batch, grid.num_vertices, 3, generator=generator) * 2 - 1) * 0.2 * grid.cell


def test_the_case_table() -> None:
    groups, ambiguous = case_tables(torch.device("cpu"))
    assert groups.amax() == 3  # up to four dual vertices
    assert int((ambiguous >= 0).sum()) == 36  # Wenger's C16 and C19, in all orientations
    for code in range(256):
        crossing = {3: groups[code] >= 0, 4: groups[code + 256] >= 0}
        assert torch.equal(crossing[3], crossing[4])
        for row in (code, code + 256):
            sizes = groups[row][groups[row] >= 0].bincount()
            assert (sizes >= 3).all()
            assert (sizes <= 7).all()
    for code in (ambiguous >= 0).nonzero()[:, 0].tolist():  # one loop, or two if resolved the other way
        assert (groups[code].amax() + 1, groups[code + 256].amax() + 1) == (1, 2)
        assert code.bit_count() in (5, 6)


@pytest.mark.parametrize("centers", [False, True])
def test_sphere_is_closed_outward_and_converges_quadratically(centers: bool) -> None:
    radius, errors = 0.35, []
    for cells in (8, 16, 32):
        grid = cube_grid(cells)
        mesh = extract_cubes(sphere(grid.positions, radius)[None], grid, centers=centers).mesh
        assert is_watertight(mesh)
        assert euler_number(mesh) == 2
        assert singular_vertices(mesh) == 0
        errors.append(1 - signed_volume(mesh) / (4 / 3 * math.pi * radius**3))
    assert 0 < errors[2] < 0.01
    assert all(1.7 < math.log2(errors[k] / errors[k + 1]) < 2.3 for k in range(2))


def test_torus_has_euler_number_zero() -> None:
    grid = cube_grid(20)
    mesh = extract_cubes(torus(grid.positions)[None], grid).mesh
    assert is_watertight(mesh)
    assert euler_number(mesh) == 0
    assert count_components(mesh) == 1
    assert abs(signed_volume(mesh) / (2 * math.pi**2 * 0.28 * 0.01) - 1) < 0.12  # means of crossings lie inside


@pytest.mark.parametrize("centers", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_any_signs_and_weights_give_a_closed_manifold(seed: int, centers: bool) -> None:
    grid = cube_grid(7)
    sdf = noise(grid.positions, seed) + (seed % 3 - 1) * 0.4
    mesh = extract_cubes(sdf[None], grid, random_weights(grid, 1), deformation(grid, 1), centers=centers).mesh
    assert is_watertight(mesh)
    assert singular_vertices(mesh) == 0


def test_two_cubes_that_share_an_ambiguous_face_stay_manifold() -> None:
    """All pairs of the cases that need it: without the other resolution four faces would meet in an edge."""
    _, ambiguous = case_tables(torch.device("cpu"))
    grid = cube_grid(5)
    corners = torch.tensor([[k & 1, k >> 1 & 1, k >> 2 & 1] for k in range(8)])
    tried = 0
    for low in (ambiguous == 1).nonzero()[:, 0].tolist():
        for high in (ambiguous == 0).nonzero()[:, 0].tolist():
            inside = torch.zeros(6, 6, 6, dtype=torch.bool)
            for code, x in ((low, 1), (high, 2)):
                for k, (i, j, h) in enumerate(corners.tolist()):
                    inside[x + i, 2 + j, 2 + h] = bool(code >> k & 1)
            if any(
                sum(int(inside[x + i, 2 + j, 2 + h]) << k for k, (i, j, h) in enumerate(corners.tolist())) != code
                for code, x in ((low, 1), (high, 2))
            ):
                continue  # the two do not agree on the face between them
            tried += 1
            sdf = torch.where(inside, -1.0, 1.0).reshape(1, -1)
            mesh = extract_cubes(sdf, grid).mesh
            assert is_watertight(mesh)
            assert singular_vertices(mesh) == 0
    assert tried == 18


def test_without_closing_the_boundary_meshes_are_open_only_there() -> None:
    grid = cube_grid(7)
    mesh = extract_cubes(noise(grid.positions)[None], grid, closed=False).mesh
    counts = edge_counts(mesh)
    assert counts.non_manifold == counts.flipped == 0
    assert counts.boundary > 0


def test_zero_weights_put_dual_vertices_at_the_means_of_the_crossings() -> None:
    """Dual marching cubes on a sphere, computed here cube by cube from the signs alone."""
    grid = cube_grid(6)
    sdf = sphere(grid.positions.double(), 0.31)
    mesh = extract_cubes(sdf[None], grid).mesh
    side = grid.cells + 1
    value, at = sdf.view(side, side, side), grid.positions.double().view(side, side, side, 3)
    expected = []
    for x in range(grid.cells):
        for y in range(grid.cells):
            for z in range(grid.cells):
                corner = [(x + i, y + j, z + k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
                points = [
                    at[a] + (at[b] - at[a]) * value[a] / (value[a] - value[b])
                    for n, a in enumerate(corner)
                    for b in corner[n + 1 :]
                    if sum(abs(p - q) for p, q in zip(a, b, strict=True)) == 1 and (value[a] < 0) != (value[b] < 0)
                ]
                if points:
                    expected.append(torch.stack(points).mean(0))
    assert_close(mesh.vertices, torch.stack(expected), 1e-12)


def test_weights_move_vertices_within_their_cube() -> None:
    grid = cube_grid(8)
    sdf = noise(grid.positions)[None]
    found = find_cubes(sdf, grid)
    weights = random_weights(grid, 1, scale=10.0)
    mesh = extract_cubes(sdf, grid, weights).mesh
    low = grid.positions[found.topology.active[found.topology.cube_corners[:, 0]]][found.topology.vertex_cube]
    offset = (mesh.vertices - low) / grid.cell
    assert offset.min() > -1e-5
    assert offset.max() < 1 + 1e-5
    assert (mesh.vertices - extract_cubes(sdf, grid).mesh.vertices).abs().max() > 0.1 * grid.cell


def test_gamma_chooses_the_diagonal_and_weighs_the_center() -> None:
    grid = cube_grid(6)
    sdf, weights = sphere(grid.positions)[None], random_weights(grid, 1)
    found = find_cubes(sdf, grid)
    gamma = 0.5 + WEIGHT_SCALE * (weights[0, found.topology.cubes, 20].sigmoid() - 0.5)
    g = gamma[found.topology.vertex_cube][found.topology.quads.long()]
    mesh = extract_cubes(sdf, grid, weights).mesh
    quads = found.topology.quads
    first = g[:, 0] * g[:, 2] > g[:, 1] * g[:, 3]
    shared = torch.where(first[:, None], quads[:, [0, 2]], quads[:, [1, 3]])
    pairs = mesh.faces.view(-1, 2, 3)
    for k in range(2):
        assert all((pairs[:, n] == shared[:, k : k + 1]).any(1).all() for n in range(2))
    corners = mesh.vertices[quads.long()]
    a, b = (g[:, 0] * g[:, 2])[:, None], (g[:, 1] * g[:, 3])[:, None]
    middle = (a * (corners[:, 0] + corners[:, 2]) / 2 + b * (corners[:, 1] + corners[:, 3]) / 2) / (a + b)
    trained = extract_cubes(sdf, grid, weights, centers=True).mesh
    assert_close(trained.vertices[len(mesh.vertices) :], middle, 1e-6)


def test_every_input_gets_a_gradient() -> None:
    grid = cube_grid(6)
    sdf = torch.stack([sphere(grid.positions), torus(grid.positions)]).requires_grad_()
    weights, moved = random_weights(grid, 2).requires_grad_(), deformation(grid, 2).requires_grad_()
    surface = extract_cubes(sdf, grid, weights, moved, centers=True)
    assert surface.cubes is not None
    generator = torch.Generator().manual_seed(0)
    loss = (surface.mesh.vertices * torch.randn(surface.mesh.vertices.shape, generator=generator)).sum()
    loss.backward()
    assert sdf.grad is not None and moved.grad is not None and weights.grad is not None
    assert sdf.grad.any(1).all() and moved.grad.any()
    for part in (weights.grad[..., :8], weights.grad[..., 8:20], weights.grad[..., 20]):
        assert part.any()
    weights.grad = None
    extract_cubes(sdf, grid, weights).cubes.spread.backward()  # type: ignore[union-attr]
    assert weights.grad[..., :20].any()


def test_gradcheck_of_extracted_vertices_and_spread() -> None:
    grid = cube_grid(3)
    sdf = (sphere(grid.positions.double(), 0.3)[None] + 0.02 * noise(grid.positions).double()).requires_grad_()
    weights, moved = (x.double().requires_grad_() for x in (random_weights(grid, 1, 0.5), deformation(grid, 1)))

    def function(s: Tensor, w: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        surface = extract_cubes(s, grid, w, d, centers=True)
        assert surface.cubes is not None
        return surface.mesh.vertices, surface.cubes.spread

    assert torch.autograd.gradcheck(function, (sdf, weights, moved), eps=1e-7, atol=1e-5)


def test_replaced_vertices_and_fallback_samples_pass_no_gradient() -> None:
    grid = cube_grid(6)
    sdf = torch.stack([torch.ones(grid.num_vertices), -torch.ones(grid.num_vertices), sphere(grid.positions, 0.6)])
    s, w, d = (
        sdf.clone().requires_grad_(),
        random_weights(grid, 3).requires_grad_(),
        deformation(grid, 3).requires_grad_(),
    )
    surface = extract_cubes(s, grid, w, d, centers=True)
    assert surface.empty.tolist() == [True, True, False]
    surface.mesh.vertices.square().sum().backward()
    for gradient in (s.grad, w.grad, d.grad):
        assert gradient is not None
        assert not gradient[:2].any()
        assert gradient[2].any()
    assert not s.grad[2][grid.boundary & (sdf[2] < 0)].any()  # type: ignore[index]
    for b in range(3):
        assert is_watertight(surface.mesh[b])


def test_kernel_and_reference_extract_the_same() -> None:
    grid = cube_grid(9)
    sdf = torch.stack([sphere(grid.positions), noise(grid.positions)])
    results = []
    for mode in ("require", "reference"):
        with use_mode(mode):
            leaves = [sdf.clone().requires_grad_(), random_weights(grid, 2).requires_grad_()]
            mesh = extract_cubes(leaves[0], grid, leaves[1], deformation(grid, 2), centers=True).mesh
            results.append((mesh, torch.autograd.grad(mesh.vertices.square().sum(), leaves)))
    assert torch.equal(results[0][0].faces, results[1][0].faces)
    assert_close(results[0][0].vertices, results[1][0].vertices, 1e-6)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        assert_gradient_close(a, b, 1e-4)


@pytest.mark.parametrize("centers", [False, True])
def test_batch_of_eight_equals_eight_batches_of_one_bitwise(centers: bool) -> None:
    grid = cube_grid(8)
    sdf = torch.stack([sphere(grid.positions, 0.1 + 0.04 * b) for b in range(7)] + [torch.ones(grid.num_vertices)])
    weights = random_weights(grid, 8)
    batch = extract_cubes(sdf, grid, weights, centers=centers).mesh
    for b in range(8):
        one = extract_cubes(sdf[b : b + 1], grid, weights[b : b + 1], centers=centers).mesh
        assert torch.equal(batch[b].vertices, one.vertices)
        assert torch.equal(batch[b].faces, one.faces)


def test_empty_batch_and_a_grid_that_is_too_coarse() -> None:
    grid = cube_grid(4)
    assert len(extract_cubes(torch.zeros(0, grid.num_vertices), grid).mesh) == 0
    with pytest.raises(ValueError, match=r"cube_grid\(\): expected at least two cells, got 1"):
        cube_grid(1)


def _same_surface(mesh: Mesh, vertices: Tensor, faces: Tensor, tolerance: float) -> None:
    """The same triangles, in any order of vertices and faces."""
    assert mesh.vertices.shape == vertices.shape
    distance, match = torch.cdist(mesh.vertices.double(), vertices.double()).min(1)
    assert distance.max() < tolerance
    assert len(match.unique()) == len(match)

    def canonical(f: Tensor) -> set:
        return {tuple(row[k:] + row[:k]) for row in f.tolist() for k in [row.index(min(row))]}

    assert canonical(match[mesh.faces.long()]) == canonical(faces)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["sphere", "torus", "noise"])
def test_surfaces_agree_with_kaolin(name: str, training: bool) -> None:
    peer = kaolin_flexicubes()
    if peer is None:
        pytest.skip(f"{PEER_FOLDER} does not name a folder with kaolin's FlexiCubes")
    grid = cube_grid(9)
    field = {"sphere": sphere, "torus": torus, "noise": noise}[name]
    found = find_cubes(field(grid.positions)[None], grid)
    sdf = torch.ones(grid.num_vertices).index_copy(0, found.topology.active, found.values)  # closed at the boundary
    weights = random_weights(grid, 1)[0]
    ours = extract_cubes(sdf[None], grid, weights[None], centers=training)
    vertices, faces, _ = peer(
        grid.positions, sdf, peer_cubes(grid.cells), grid.cells, alpha=weights[:, :8],
        beta=beta_in_their_order(peer, weights[:, 8:20]), gamma_f=weights[:, 20], training=training,
    )  # fmt: skip
    _same_surface(ours.mesh, vertices, faces, 1e-5)


def test_the_spread_agrees_with_kaolin() -> None:
    """Theirs is a list of one value for each edge of a dual vertex, without α; ours is the mean over those edges."""
    peer = kaolin_flexicubes()
    if peer is None:
        pytest.skip(f"{PEER_FOLDER} does not name a folder with kaolin's FlexiCubes")
    grid = cube_grid(9)
    sdf, weights = torus(grid.positions), random_weights(grid, 1)[0]
    weights[:, :8] = 0
    _, _, theirs = peer(
        grid.positions, sdf, peer_cubes(grid.cells), grid.cells, alpha=weights[:, :8],
        beta=beta_in_their_order(peer, weights[:, 8:20]), gamma_f=weights[:, 20],
    )  # fmt: skip
    topology = flexicubes_topology(sdf[None], grid.cells)
    beta = 1 + WEIGHT_SCALE * torch.tanh(weights[topology.cubes, 8:20])
    alpha = torch.ones(len(beta), 8)
    _, spreads = flexicubes_vertices(sdf[topology.active], grid.positions[topology.active], alpha, beta, topology)
    edges = torch.tensor([int(mask).bit_count() for mask in topology.vertex_edges])
    assert len(theirs) == int(edges.sum())
    assert abs(float((spreads * edges).sum() / theirs.sum()) - 1) < 1e-5
