"""The generator: separation of styles, batching, gradients, the sparse path, errors."""

import dataclasses

import pytest
import torch

from configs.loader import load_config
from geometry.mesh import Mesh
from geometry.topology import count_components, vertex_components
from networks.generator import Generator
from networks.heads import PointHead
from networks.surface_extraction import SurfaceField
from tests.compare import assert_close
from tests.geometry.tets import flipped_share
from tests.networks.helpers import cameras, latents, tiny_config


def make(seed: int = 0, **sections) -> Generator:
    torch.manual_seed(seed)
    return Generator(tiny_config(**sections))


def field_of(generator: Generator, planes: torch.Tensor, w_geo: torch.Tensor) -> SurfaceField:
    """The heads of the geometry network as functions of points."""
    return generator.geometry.field(planes, w_geo[:, generator.backbone.num_ws_geo :])


def sdf_grid(generator: Generator, planes: torch.Tensor, w_geo: torch.Tensor) -> torch.Tensor:
    """SDF at every grid vertex [B, V], as extraction evaluates it."""
    return field_of(generator, planes, w_geo).sdf_grid(generator.geometry.grid)


def grid_points(generator: Generator, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every grid vertex for every sample [B · V, 3], and offsets [B + 1]."""
    grid = generator.geometry.grid
    return grid.positions.repeat(batch, 1), torch.arange(batch + 1) * grid.num_vertices


def sdf_by_look_ups(generator: Generator, planes: torch.Tensor, w_geo: torch.Tensor) -> torch.Tensor:
    """SDF at every grid vertex [B, V] by plane look-ups, with gradient."""
    field = field_of(generator, planes, w_geo)
    points, offsets = grid_points(generator, len(planes))
    return field.sdf(points, field.features(points, offsets), offsets).view(len(planes), -1)


def count_solids(mesh: Mesh) -> int:
    """Connected components of one mesh that wind outward."""
    labels = vertex_components(mesh)[mesh.faces[:, 0].long()]
    a, b, c = mesh.vertices.detach()[mesh.faces.long()].unbind(1)
    volumes = torch.zeros(int(labels.max()) + 1).index_add_(0, labels, (a * torch.linalg.cross(b, c)).sum(-1))
    return int((volumes > 0).sum())


def test_slots_of_the_published_sizes() -> None:
    with torch.device("meta"):
        generator = Generator(load_config("car-get3d"))
    assert (generator.num_ws_geo, generator.num_ws_tex) == (22, 9)
    z = torch.empty(2, 512, device="meta")
    w_geo, w_tex = generator.map(z, z)
    geometry, texture = generator.planes(w_geo, w_tex)
    assert geometry.shape == texture.shape == (2, 3, 256, 256, 32)


def test_geometry_depends_on_w_geo_and_not_on_w_tex() -> None:
    generator = make()
    w_geo, w_tex = generator.map(*latents(generator.config, 2))
    other_geo, other_tex = generator.map(*latents(generator.config, 2, seed=5))
    first, second = generator.render(w_geo, w_tex, cameras(2)), generator.render(w_geo, other_tex, cameras(2))
    for field in ("vertices", "faces"):
        assert torch.equal(getattr(first.surface.mesh, field), getattr(second.surface.mesh, field))
    assert torch.equal(first.surface.sdf_a, second.surface.sdf_a)
    planes = [generator.planes(w_geo, w)[0] for w in (w_tex, other_tex)]
    assert torch.equal(sdf_grid(generator, planes[0], w_geo), sdf_grid(generator, planes[1], w_geo))
    assert (first.rgb - second.rgb).abs().max() > 0.01
    assert torch.equal(generator.mesh(w_geo).mesh.vertices, first.surface.mesh.vertices)
    changed = generator.mesh(other_geo).mesh.vertices
    assert changed.shape != first.surface.mesh.vertices.shape or not torch.equal(changed, first.surface.mesh.vertices)


@pytest.mark.parametrize("tet_grid", ["bcc", "kuhn"])
def test_the_fast_grid_evaluation_equals_plane_lookups(tet_grid: str) -> None:
    generator = make(geometry={"tet_grid": tet_grid, "box": 0.8})
    w_geo, w_tex = generator.map(*latents(generator.config, 3))
    planes, _ = generator.planes(w_geo, w_tex)
    assert_close(sdf_grid(generator, planes, w_geo), sdf_by_look_ups(generator, planes, w_geo), 1e-5, name="SDF")


def test_two_hidden_layers_take_the_dense_path_and_work() -> None:
    generator = make(geometry={"hidden_layers": 2})
    w_geo, w_tex = generator.map(*latents(generator.config, 2))
    assert generator.num_ws_geo == generator.backbone.num_ws_geo + 3
    planes, _ = generator.planes(w_geo, w_tex)
    assert torch.equal(sdf_grid(generator, planes, w_geo), sdf_by_look_ups(generator, planes, w_geo))
    assert generator.mesh(w_geo).mesh.faces.shape[0] > 0


def test_sparse_gradient_equals_the_dense_one() -> None:
    """The sparse path's gradient of the crossing values is that of the dense evaluation at the same vertices."""
    generator = make()
    w_geo, w_tex = (w.detach() for w in generator.map(*latents(generator.config, 2)))
    planes, _ = (p.detach().requires_grad_() for p in generator.planes(w_geo, w_tex))
    surface = generator.surface(planes, w_geo)
    (sparse,) = torch.autograd.grad(surface.sdf_a.sum(), planes)
    dense = sdf_by_look_ups(generator, planes, w_geo).reshape(-1)
    crossing = _first_ends(generator, planes, w_geo)
    assert_close(surface.sdf_a, dense[crossing], 1e-5, name="SDF")
    (expected,) = torch.autograd.grad(dense[crossing].sum(), planes)
    assert expected.abs().max() > 0
    assert_close(sparse, expected, 1e-4, name="gradient")


def _first_ends(generator: Generator, planes: torch.Tensor, w_geo: torch.Tensor) -> torch.Tensor:
    from geometry.extraction import find_surface

    found = find_surface(sdf_grid(generator, planes, w_geo), generator.geometry.grid)
    assert not found.replaced.any()
    return found.topology.edge_vertices[:, 0]


def test_starts_as_a_sphere_and_deforms_within_its_bound() -> None:
    config = load_config("chair")
    torch.manual_seed(0)
    generator = Generator(config)
    surface = generator.mesh(generator.map(*latents(config, 2))[0])
    radii = surface.mesh.vertices.detach().norm(dim=1)
    cell = generator.geometry.grid.cell
    assert abs(float(radii.mean()) - config.geometry.sphere_radius) < cell
    assert float(radii.std()) < 1.5 * cell
    assert not surface.empty.any() and surface.fallback_surface_loss.item() == 0
    w_geo, w_tex = generator.map(*latents(config, 1))
    planes, _ = generator.planes(w_geo, w_tex)
    field, grid = field_of(generator, planes, w_geo), generator.geometry.grid
    points, offsets = grid_points(generator, 1)
    movement = field.movement(points, field.features(points, offsets), offsets, grid.cell)
    assert movement.abs().max() > 0 and flipped_share(grid, grid.positions + movement) == 0


def test_an_empty_sample_gets_a_fallback_surface_and_its_loss_lowers_the_sdf() -> None:
    generator = make()
    with torch.no_grad():
        head: PointHead = generator.geometry.sdf
        head.layers[-1].bias.fill_(50.0)  # everything outside
    w_geo, _ = generator.map(*latents(generator.config, 2))
    surface = generator.mesh(w_geo)
    assert surface.empty.tolist() == [True, True]
    assert surface.mesh.face_offsets.diff().min() > 0
    surface.fallback_surface_loss.backward()
    assert head.layers[-1].bias.grad.item() > 0  # descent lowers the SDF


def test_connected_components_become_one_and_the_loss_pulls_the_network_to_it() -> None:
    separate, connected = (
        make(geometry={"cells": 12, "sdf_scale": 30.0, "connect_components": on}).eval() for on in (False, True)
    )
    w_geo, _ = separate.map(*latents(separate.config, 4))
    before, after = separate.mesh(w_geo), connected.mesh(w_geo)
    assert max(count_solids(before.mesh[b]) for b in range(4)) > 1
    assert [count_components(after.mesh[b]) for b in range(4)] == [1] * 4
    assert after.replaced > 0 and after.fallback_surface_loss > 0
    (gradient,) = torch.autograd.grad(
        after.fallback_surface_loss, list(connected.geometry.sdf.layers[-1].parameters())[:1]
    )
    assert gradient.abs().sum() > 0


def test_cameras_get_gradients() -> None:
    generator = make()
    seen = cameras(2)
    pose = seen.camera_to_world.clone().requires_grad_()
    rendered = generator.render(
        *generator.map(*latents(generator.config, 2)), dataclasses.replace(seen, camera_to_world=pose)
    )
    rendered.mask.sum().backward()
    assert pose.grad is not None and pose.grad.abs().sum() > 0


def test_views_share_a_shape_and_background_shows_behind_it() -> None:
    generator = make().eval()
    w_geo, w_tex = generator.map(*latents(generator.config, 2))
    seen = cameras(4)
    with torch.no_grad():
        both = generator.render(w_geo, w_tex, seen, background=1.0)
        one = generator.render(w_geo[1:], w_tex[1:], seen[2:], background=1.0)
    assert both.rgb.shape == (4, 3, 16, 16) and both.mask.shape == (4, 1, 16, 16)
    assert_close(both.rgb[2:], one.rgb, 1e-5, name="rgb")
    corner = both.mask[:, 0, 0, 0] == 0
    assert corner.any() and (both.rgb[corner][:, :, 0, 0] == 1).all()
    assert generator.render(w_geo, w_tex, seen, resolution=20).rgb.shape == (4, 3, 20, 20)


@pytest.mark.parametrize("mode", ["none", "silhouette", "full"])
def test_color_gradient_to_geometry_follows_the_setting(mode: str) -> None:
    generator = make(rendering={"color_gradient": mode})
    w_geo, w_tex = generator.map(*latents(generator.config, 2))
    rendered = generator.render(w_geo, w_tex, cameras(2))
    head = generator.geometry.sdf.layers[-1].weight
    (of_rgb,) = torch.autograd.grad(rendered.rgb.square().sum(), head, retain_graph=True, allow_unused=True)
    (of_mask,) = torch.autograd.grad(rendered.mask.square().sum(), head)
    assert of_mask.abs().sum() > 0
    assert (of_rgb is None or not of_rgb.any()) == (mode == "none")


def test_truncation_and_the_running_average() -> None:
    generator = make(mapping={"w_average_beta": 0.5})
    z = latents(generator.config, 64)
    w_geo, w_tex = generator.map(*z)
    generator.update_w_average(w_geo[:, 0], w_tex[:, 0])
    assert torch.allclose(generator.w_average_geo, w_geo[:, 0].mean(0) / 2, atol=1e-6)
    half, _ = generator.map(*z, truncation=0.5)
    assert torch.allclose(half[:, 0], (generator.w_average_geo + w_geo[:, 0]) / 2, atol=1e-6)
    none, _ = generator.map(*z, truncation=0.0)
    assert torch.equal(none, generator.w_average_geo.expand_as(none))


def test_labels_condition_both_mappings_and_are_required() -> None:
    generator = make(classes=3)
    z = latents(generator.config, 2)
    first = generator.map(*z, labels=torch.tensor([0, 1]))
    second = generator.map(*z, labels=torch.tensor([0, 2]))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a[0], b[0]) and not torch.equal(a[1], b[1])
    with pytest.raises(ValueError, match=r"map\(\): expected labels of 3 classes, got none"):
        generator.map(*z)


def test_hidden_layers_of_heads_are_normalized_and_output_layers_are_not() -> None:
    generator = make(texture={"plane_scale": 0.5})
    w = 4 * torch.randn(3, 2, generator.config.mapping.w_dim, generator=torch.Generator().manual_seed(0))
    hidden, features, rgb = generator.texture_head.rgb.weights(w)
    assert torch.allclose(hidden.norm(dim=1), torch.tensor(0.5), atol=1e-4)  # times the planes' gain
    assert torch.allclose(features.norm(dim=1), torch.tensor(1.0), atol=1e-4)
    assert rgb.norm(dim=1).std() > 0.1


def test_bf16_planes_stay_near_fp32() -> None:
    generator = make()
    w_geo, w_tex = generator.map(*latents(generator.config, 2))
    full = generator.planes(w_geo, w_tex)[0]
    generator.precision = "bf16"
    half = generator.planes(w_geo, w_tex)[0]
    assert half.dtype == torch.float32
    error = ((half - full).norm() / full.norm()).item()
    assert 0 < error < 0.03
