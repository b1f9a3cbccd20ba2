"""Both geometry networks with all three extractors: gradients, batching, separation of styles, resolution, sizes."""

import pytest
import torch
from click import UsageError
from torch.nn import functional

from configs.loader import load_config
from geometry.cube_grid import CubeGrid
from geometry.topology import count_components
from networks.describe import describe
from networks.generator import Generator
from networks.volume_backbone import conv3d
from networks.volume_geometry import encoding, volume_grid_sample, volume_sample
from tests.compare import assert_close
from tests.geometry.measures import is_watertight
from tests.networks.helpers import cameras, latents, tiny_config
from tests.networks.test_generator import count_solids

VOLUME = {"network": "volume", "volume_resolution": 8, "volume_channel_base": 64, "volume_channel_max": 12}
NETWORKS = {"triplane": {}, "volume": {**VOLUME, "hidden_layers": 2, "deformation_hidden_layers": 1}}
EXTRACTORS = {"tets": {}, "subdivided": {"subdivide": 1}, "flexicubes": {"extraction": "flexicubes"}}
EXACT = "donot_use_mm_for_euclid_dist"
SYMMETRIC = {"symmetric": {"symmetric": True}, "symmetric-subdivided": {"symmetric": True, "subdivide": 1}}
variants = pytest.mark.parametrize(
    "geometry",
    [pytest.param({**n, **e}, id=f"{a}-{b}") for a, n in NETWORKS.items() for b, e in EXTRACTORS.items()]
    + [pytest.param(each, id=name) for name, each in SYMMETRIC.items()],
)


def make(geometry: dict, seed: int = 0, **sections) -> Generator:
    torch.manual_seed(seed)
    return Generator(tiny_config(geometry=geometry, **sections))


@variants
def test_every_parameter_gets_a_gradient(geometry: dict) -> None:
    generator = make(geometry).train()
    rendered = generator.render(*generator.map(*latents(generator.config, 3)), cameras(6))
    torch.manual_seed(1)
    loss = (rendered.rgb * torch.randn_like(rendered.rgb)).mean()
    loss = loss + (rendered.mask * torch.randn_like(rendered.mask)).mean()
    loss.backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    groups = generator.parameter_groups()
    grouped = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(grouped) == sorted(map(id, generator.parameters()))
    empty = {name for name, group in groups.items() if not group}
    assert empty == ({"backbone.trunk"} if geometry.get("network") == "volume" else set())


@variants
@pytest.mark.parametrize("training", [False, True])
def test_a_batch_of_eight_equals_eight_of_one(geometry: dict, training: bool) -> None:
    generator = make(geometry).train(training)
    w_geo, w_tex = generator.map(*latents(generator.config, 8))
    seen = cameras(8)
    with torch.no_grad():
        together = generator.render(w_geo, w_tex, seen)
        for n in range(8):
            alone = generator.render(w_geo[n : n + 1], w_tex[n : n + 1], seen[n])
            assert_close(alone.surface.mesh.vertices, together.surface.mesh[n].vertices, 1e-5, name="vertices")
            assert torch.equal(alone.surface.mesh.faces, together.surface.mesh[n].faces)
            assert_close(alone.rgb[0], together.rgb[n], 1e-4, name="rgb")
            assert_close(alone.mask[0], together.mask[n], 1e-4, name="mask")
            assert is_watertight(together.surface.mesh[n])


@variants
def test_w_tex_leaves_the_geometry_bitwise_alone_and_w_geo_gets_no_gradient_from_texture(geometry: dict) -> None:
    generator = make(geometry).eval()
    w_geo, w_tex = generator.map(*latents(generator.config, 2))
    _, other = generator.map(*latents(generator.config, 2, seed=5))
    first, second = (generator.render(w_geo, w, cameras(2)).surface.mesh for w in (w_tex, other))
    assert torch.equal(first.vertices, second.vertices)
    assert torch.equal(first.faces, second.faces)
    assert torch.equal(generator.mesh(w_geo).mesh.vertices, first.vertices)
    if geometry.get("network") == "volume":
        leaf = w_geo.detach().requires_grad_()
        planes = generator.planes(leaf, w_tex)[1]
        assert not planes.requires_grad or torch.autograd.grad(planes.sum(), leaf, allow_unused=True) == (None,)
        moved = generator.planes(w_geo + 0.1, w_tex)[1]
        assert not torch.equal(moved, planes)  # but the texture depends on the shape


@variants
def test_untrained_surfaces_are_nearly_spheres(geometry: dict) -> None:
    generator = make({**geometry, "cells": 16}).eval()
    w_geo, _ = generator.map(*latents(generator.config, 2))
    with torch.no_grad():
        mesh = generator.mesh(w_geo).mesh
    cell = generator.geometry.grid.cell
    assert abs(float(mesh.vertices.norm(dim=1).mean()) - generator.config.geometry.sphere_radius) < cell
    assert count_components(mesh) == 2


@pytest.mark.parametrize("geometry", SYMMETRIC.values(), ids=SYMMETRIC)
@pytest.mark.parametrize("cells", [12, 13])
def test_symmetric_shapes_and_textures_are_their_own_mirror_images(geometry: dict, cells: int) -> None:
    generator = make({**geometry, "cells": cells, "sdf_scale": 2.0, "deformation": 0.4}).eval()
    assert generator.geometry.deformation is not None
    with torch.no_grad():
        for head in (generator.geometry.sdf, generator.geometry.deformation):
            head.layers[-1].weight *= 8
        w_geo, w_tex = generator.map(*latents(generator.config, 2))
        planes, texture_planes = generator.planes(w_geo, w_tex)
        points, mirror = torch.rand(64, 3) - 0.5, torch.tensor([-1.0, 1.0, 1.0])
        offsets = torch.tensor([0, 30, 64])
        fields = [generator.signed_distance(planes, w_geo, each, offsets) for each in (points, points * mirror)]
        colors = [generator.texture(texture_planes, w_tex, each, offsets) for each in (points, points * mirror)]
        meshes = generator.mesh(w_geo).mesh
    assert_close(*fields, 1e-5, name="SDF")
    assert_close(*colors, 1e-5, name="colors")
    assert fields[0].std() > 0.05
    for b in range(2):
        vertices = meshes[b].vertices
        assert is_watertight(meshes[b])
        # Each vertex is one of the mirror image, too, away from the box's border: its tetrahedra are not mirrored.
        inside = (vertices.abs() < 0.4).all(1)
        assert inside.float().mean() > 0.3
        assert torch.cdist(vertices[inside], vertices * mirror, compute_mode=EXACT).amin(1).max() < 1e-5
        turned = vertices[:, [2, 1, 0]] * mirror
        assert torch.cdist(vertices, turned, compute_mode=EXACT).amin(1).max() > 1e-2, (
            "no ball, which every mirror leaves alone"
        )


@variants
def test_one_component(geometry: dict) -> None:
    generator = make({**geometry, "cells": 10, "connect_components": True, "sdf_scale": 4.0}).eval()
    loose = make({**geometry, "cells": 10, "sdf_scale": 4.0}).eval()
    for network in (generator, loose):
        network.geometry.sdf.layers[-1].weight.data *= 8
    w_geo, _ = generator.map(*latents(generator.config, 3))
    with torch.no_grad():
        connected, apart = generator.mesh(w_geo).mesh, loose.mesh(w_geo).mesh
    assert is_watertight(connected[0])
    solids = [count_solids(connected[b]) for b in range(3)]
    assert solids == [1, 1, 1]
    assert max(count_solids(apart[b]) for b in range(3)) > 1


def test_both_networks_extract_finer_grids_from_the_same_weights() -> None:
    """The same surface on more cells, by every extractor: twice the cells, and half the distance between the two."""
    for network in NETWORKS.values():
        for extractor in EXTRACTORS.values():
            if extractor.get("extraction") == "flexicubes":
                continue  # its weights belong to cells; they move the surface within a cell
            coarse = make({**network, **extractor, "cells": 12, "deformation": 0.0}).eval()
            fine = make({**network, **extractor, "cells": 24, "deformation": 0.0}).eval()
            fine.load_state_dict(coarse.state_dict())
            w_geo, _ = coarse.map(*latents(coarse.config, 1))
            with torch.no_grad():
                a, b = coarse.mesh(w_geo).mesh.vertices, fine.mesh(w_geo).mesh.vertices
            assert float(torch.cdist(a, b).amin(1).max()) < coarse.geometry.grid.cell


def test_flexicubes_splits_quadrilaterals_around_centers_in_training_only() -> None:
    generator = make({"extraction": "flexicubes"})
    w_geo, _ = generator.map(*latents(generator.config, 1))
    with torch.no_grad():
        trained, sampled = generator.train().mesh(w_geo).mesh, generator.eval().mesh(w_geo).mesh
    assert isinstance(generator.geometry.grid, CubeGrid)
    assert trained.faces.shape[0] == 2 * sampled.faces.shape[0]


def test_volume_lookup_matches_grid_sample_and_a_linear_function() -> None:
    generator = torch.Generator().manual_seed(0)
    volumes = torch.randn(3, 5, 4, 4, 4, generator=generator, dtype=torch.float64)
    points = torch.rand(20, 3, generator=generator, dtype=torch.float64) * 2.4 - 1.2
    together = volume_sample(volumes, points.repeat(3, 1), torch.tensor([0, 20, 40, 60])).view(3, 20, 5)
    assert_close(volume_grid_sample(volumes, points), together, 1e-12)
    axis = (torch.arange(4) + 0.5) / 2 - 1
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    linear = torch.stack([x, y, z])[None].double()
    inside = points.clamp(-0.75, 0.75)
    assert_close(volume_sample(linear, inside, torch.tensor([0, 20])), inside, 1e-12)
    leaf = volumes.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: volume_sample(v, points, torch.tensor([0, 7, 20, 20])), (leaf,))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("batch", [1, 2])
def test_volumes_are_convolved_as_by_pytorch(batch: int, kernel: int) -> None:
    x = torch.randn(batch, 3, 8, 5, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, kernel, kernel, kernel, dtype=torch.float64, requires_grad=True)
    expected = functional.conv3d(x, weight, padding=kernel // 2)
    grad = torch.randn_like(expected)
    found = conv3d(x, weight)
    assert_close(found, expected, 1e-12)
    for ours, theirs in zip(
        torch.autograd.grad(found, (x, weight), grad), torch.autograd.grad(expected, (x, weight), grad), strict=True
    ):
        assert_close(ours, theirs, 1e-12)


def test_encoding() -> None:
    points = torch.tensor([[0.0, 0.5, -1.0]])
    assert_close(encoding(points), torch.tensor([[0.0, 1, 0, 1, 0, -1]]), 1e-6)


def test_published_sizes_of_the_volume_network() -> None:
    """GET3D's first generator: about 107 billion multiply-adds a sample, on 98,653 grid vertices (36 cells)."""
    config = load_config("car-get3d-volume")
    backbone = describe(config)[0]
    trunks = [layer for layer in backbone.layers if layer.name.startswith(("sdf.", "deformation."))]
    shapes = {layer.shape for layer in trunks if layer.name.endswith("second")}
    assert shapes == {(256, 4, 4, 4), (256, 8, 8, 8), (128, 16, 16, 16), (64, 32, 32, 32)}
    texture = [layer for layer in backbone.layers if layer.name.startswith("texture.")]
    assert texture[-1].shape == (96, 256, 256)
    with torch.device("meta"):
        geometry = Generator(config).geometry
    assert geometry.deformation is not None
    heads = [layer.weight for head in (geometry.sdf, geometry.deformation) for layer in head.layers]
    assert [tuple(weight.shape) for weight in heads] == [
        (256, 70), (256, 256), (256, 256), (1, 256), (256, 70), (256, 256), (3, 256)
    ]  # fmt: skip
    total = backbone.multiply_adds + 98_653 * sum(weight.numel() for weight in heads)
    assert total == pytest.approx(107e9, rel=0.05)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("geometry.subdivide=1", "geometry.subdivide: belongs to extraction=tets; expected 0"),
        ("geometry.tet_grid=kuhn", "geometry.tet_grid: belongs to extraction=tets; expected bcc"),
        ("loss.floater_weight=0.1", "loss.floater_weight: belongs to geometry.extraction=tets"),
        ("geometry.symmetric=true", "geometry.symmetric: belongs to extraction=tets; expected false with flexicubes"),
        ("geometry.volume_resolution=24", "expected a power of two of at least 4, got 24"),
        ("geometry.subdivide=2", "geometry.subdivide"),
    ],
)
def test_settings_that_do_not_fit_are_refused(override: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config("chair", ["geometry.extraction=flexicubes", override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_volume_network_has_no_symmetry() -> None:
    with pytest.raises(
        UsageError, match=r"geometry\.symmetric: belongs to network=triplane; expected false with volume"
    ):
        load_config("chair-get3d-volume", ["geometry.symmetric=true"])


@pytest.mark.parametrize(
    ("preset", "change"),
    [
        ("chair-get3d-volume", []),
        ("chair-get3d-volume", ["geometry.subdivide=1"]),
        ("chair-get3d", []),
        ("chair-get3d", ["geometry.extraction=flexicubes"]),
    ],
)
def test_each_row_of_the_paper_is_a_preset(preset: str, change: list[str]) -> None:
    """The table of docs/reproduce.md; nothing is allocated."""
    with torch.device("meta"):
        generator = Generator(load_config(preset, change))
    assert (generator.geometry.weights is not None) == ("flexicubes" in str(change))
    assert generator.config.geometry.network == ("volume" if "volume" in preset else "triplane")
