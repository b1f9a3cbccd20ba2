"""Images of meshes: colors where they belong, silhouettes, see-through surfaces, light."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset_tool.render.render_shape import render_shape, shape_seed
from dataset_tool.sources.find_shapes import find_shapes
from mesh_io.source_mesh import SourceMaterial, SourceMesh, SourcePart
from rendering.camera import Cameras
from rendering.camera_distribution import load_camera_distribution
from rendering.color import linear_to_srgb, srgb_to_linear
from rendering.deferred import rasterize_mesh
from rendering.look import Look
from rendering.textured.scene import Scene, build_scene
from rendering.textured.textures import build_pyramid, sample
from rendering.textured.views import render_views
from tests.dataset_tool.shapes import settings, write_blocks
from tests.rendering.scenes import orbit


def plane(material: SourceMaterial, depth: float = 0.0, side: float = 1.0, **attributes) -> SourcePart:
    """A square facing +Z with UVs over the whole image; its top edge is the image's first row."""
    h = side / 2
    corners = np.array([[-h, -h, depth], [h, -h, depth], [h, h, depth], [-h, h, depth]])
    uvs = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return SourcePart(corners, faces, material, **{"uvs": uvs, **attributes})


def images(
    *parts: SourcePart, resolution: int = 32, cameras: Cameras | None = None, look: Look | None = None, **options
) -> np.ndarray:
    """RGBA of the parts; by default from the front, where 1 unit is half the image."""
    mesh = SourceMesh("test", parts)
    return render_views(build_scene(mesh), cameras or orbit([0.0]), resolution, look or Look(), **options).images


def front_colors(images: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(int(c) for c in image[image.shape[0] // 2, image.shape[1] // 2]) for image in images]


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_azimuth_0_sees_the_front_in_both_shapenet_layouts(tmp_path, layout):
    """An asymmetric model: red in front, green at its +X side, blue on top; views from 0°, 90° and 180°."""
    name = {"v2": "models/model_normalized.obj", "v1": "model.obj"}[layout]
    write_blocks(tmp_path / "02958343/abc123" / name, layout)
    record, _ = render_shape(find_shapes(tmp_path)[0], settings(64))
    front, side, back = record.images
    red, green, gray = (255, 0, 0, 255), (0, 255, 0, 255), (128, 128, 128, 255)
    assert front_colors(record.images) == [red, green, gray]
    # From the front, green sticks out to the right and blue upwards; from +X the front (red) points left.
    assert [green_side(image, (0, 255, 0)) for image in (front, back)] == ["right", "left"]
    assert green_side(side, (255, 0, 0)) == "left"
    blue = (front[..., 2] > 200) & (front[..., 0] < 60) & (front[..., 3] > 0)
    assert blue.nonzero()[0].mean() < 22
    origin = np.array(record.meta["source_to_world"]) @ [*{"v2": (0, 0, -1), "v1": (1, 0, 0)}[layout], 0]
    assert origin[2] > 0.5
    assert np.abs(origin[:2]).max() < 1e-12


def green_side(image: np.ndarray, color: tuple[int, ...]) -> str:
    """On which side of the image the pixels of that color lie that are not in its middle."""
    mask = (np.abs(image[..., :3].astype(int) - color).max(-1) < 60) & (image[..., 3] > 0)
    columns = mask.nonzero()[1] - 31.5
    return "right" if columns.sum() > 0 else "left"


def test_both_layouts_give_the_same_image(tmp_path):
    write_blocks(tmp_path / "a/02958343/abc/models/model_normalized.obj", "v2")
    write_blocks(tmp_path / "b/02958343/abc/model.obj", "v1")
    write_blocks(tmp_path / "c/abc.obj", "world")
    images = [render_shape(find_shapes(tmp_path / name)[0], settings(32))[0].images for name in "abc"]
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1
    assert np.abs(images[0].astype(int) - images[2]).max() <= 1


def test_shapes_depend_on_file_and_settings_alone(tmp_path):
    assert len({shape_seed(seed, name) for seed in (0, 1) for name in ("a", "b")}) == 4
    for name in ("a.obj", "b.obj"):
        write_blocks(tmp_path / name)
    given = settings(camera_distribution=load_camera_distribution("chair"))
    first, second = (render_shape(find_shapes(tmp_path)[0], given)[0] for _ in range(2))
    assert (first.images == second.images).all()
    assert (first.points == second.points).all()
    assert (first.cameras.camera_to_world == second.cameras.camera_to_world).all()
    assert json.dumps(first.meta) == json.dumps(second.meta)
    neighbor = render_shape(find_shapes(tmp_path)[1], given)[0]
    reseeded = render_shape(
        find_shapes(tmp_path)[0], settings(camera_distribution=load_camera_distribution("chair"), seed=1)
    )[0]
    for other in (neighbor, reseeded):
        assert not (first.points == other.points).all()
        assert not (first.cameras.camera_to_world == other.cameras.camera_to_world).all()


def test_masks_are_silhouettes():
    """Alpha against a raster 8 times finer, averaged."""
    from tests.rendering.scenes import sphere

    mesh = sphere(0.6, 12)
    part = SourcePart(mesh.vertices.double().numpy(), mesh.faces.numpy())
    cameras = orbit([0.0, 50.0], 20.0)
    alpha = images(part, cameras=cameras, resolution=32, supersample=2)[..., 3] / 255
    fine = rasterize_mesh(mesh, cameras, 32, supersample=8).rast[..., 3] > 0
    exact = fine.float().reshape(2, 32, 8, 32, 8).mean((2, 4)).numpy()
    assert np.abs(alpha - exact).max() < 0.12
    assert np.abs(alpha - exact).mean() < 0.005
    hard, soft = (alpha > 0.5), (exact > 0.5)
    assert (hard & soft).sum() / (hard | soft).sum() > 0.98


def test_factors_images_and_vertex_colors_multiply_in_linear_light():
    image = np.full((4, 4, 3), 188, np.uint8)
    colors = np.tile(np.array([[1.0, 0.5, 1.0, 1.0]], np.float32), (4, 1))
    part = plane(SourceMaterial(base_color=(0.5, 1.0, 0.25, 0.3), image=image), vertex_colors=colors)
    got = images(part)[0, 16, 16]
    image_linear = srgb_to_linear(torch.tensor(188 / 255))
    factor = srgb_to_linear(torch.tensor([0.5, 1.0, 0.25])) * srgb_to_linear(torch.tensor([1.0, 0.5, 1.0]))
    expected = linear_to_srgb(factor * image_linear) * 255
    assert np.abs(got[:3] - expected.numpy()).max() <= 1
    assert got[3] == 255, "OPAQUE ignores every alpha"


def test_the_image_stands_upright():
    """Row 0 of the image is the upper edge, column 0 the left one."""
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0], image[0, 1], image[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    got = images(plane(SourceMaterial(image=image, nearest=True)))[0]
    assert [got[12, 12, :3].tolist(), got[12, 20, :3].tolist(), got[20, 12, :3].tolist(), got[20, 20, :3].tolist()] == [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [0, 0, 0],
    ]


def test_each_part_has_its_own_material():
    left, right = plane(SourceMaterial(base_color=(1, 0, 0, 1))), plane(SourceMaterial(base_color=(0, 0, 1, 1)))
    left = SourcePart(left.vertices - np.array([0.5, 0, 0]), left.faces, left.material)
    right = SourcePart(right.vertices + np.array([0.5, 0, 0]), right.faces, right.material)
    got = images(left, right)[0]
    assert got[16, 8].tolist() == [255, 0, 0, 255]
    assert got[16, 24].tolist() == [0, 0, 255, 255]


def test_minified_textures_are_averaged_in_linear_light():
    """A fine black and white checkerboard seen from afar is mid gray of linear light, 188, without aliasing."""
    image = np.kron(np.indices((64, 64)).sum(0) % 2, np.ones((2, 2), int)).astype(np.uint8) * 255
    got = images(plane(SourceMaterial(image=np.repeat(image[..., None], 3, 2))), resolution=16)[0]
    inner = got[6:10, 6:10, :3].astype(int)
    assert np.abs(inner - 188).max() <= 6


@pytest.mark.parametrize(
    ("wrap", "expected"),
    [("repeat", [0, 1, 2, 3, 0, 1]), ("clamp", [0, 1, 2, 3, 3, 3]), ("mirror", [0, 1, 2, 3, 3, 2])],
)
def test_wrapping(wrap, expected):
    """Texel centers of four columns, walked one and a half times."""
    image = np.zeros((1, 4, 3), np.uint8)
    image[0, :, 0] = [0, 60, 120, 180]
    uv = torch.stack([(torch.arange(6) + 0.5) / 4, torch.full((6,), 0.5)], 1)
    material = SourceMaterial(image=image, wrap=(wrap, wrap))
    got = sample(build_pyramid(image), uv, torch.zeros(6, 2, 2), material)[:, 0]
    values = srgb_to_linear(torch.tensor([0, 60, 120, 180]) / 255)
    torch.testing.assert_close(got, values[expected])
    below = sample(build_pyramid(image), uv - 2, torch.zeros(6, 2, 2), material)[:4, 0]
    torch.testing.assert_close(below, values[[0] * 4] if wrap == "clamp" else values[expected[:4]])


def test_levels_follow_the_footprint():
    """Level l holds the average over 2^l texels; a sample of 2^½ texels is read at level 0, one of 2^1½ at level 1."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, ::2] = 255
    pyramid = build_pyramid(image)
    assert [tuple(level.shape[1:3]) for level in pyramid.levels] == [(8, 8), (4, 4), (2, 2), (1, 1)]
    uv = torch.tensor([[0.5 / 8, 0.5]]).repeat(4, 1)
    steps = torch.tensor([0.5, 2**0.5, 2.0, 2**1.5])[:, None, None] / 8 * torch.eye(2)
    got = sample(pyramid, uv, steps, SourceMaterial(image=image))[:, 0]
    torch.testing.assert_close(got, torch.tensor([1.0, 1.0, 0.75, 0.5]), atol=1e-5, rtol=0)


def test_axes_may_wrap_differently():
    """u repeats, v is clamped: above the upper edge the first row goes on."""
    image = np.zeros((4, 4, 3), np.uint8)
    image[0, :, 0] = [0, 60, 120, 180]
    image[3] = 255
    uv = torch.tensor([[1 + 1.5 / 4, -0.4], [-1 + 2.5 / 4, 0.0], [0.5, 1.7]])
    material = SourceMaterial(image=image, wrap=("repeat", "clamp"))
    got = sample(build_pyramid(image), uv, torch.zeros(3, 2, 2), material)[:, 0]
    torch.testing.assert_close(got, srgb_to_linear(torch.tensor([60, 120, 255]) / 255))


def test_cut_out_texels_show_what_lies_behind():
    image = np.full((8, 8, 4), 255, np.uint8)
    image[..., 1:3] = 0
    image[:, :4, 3], image[:, 4:, 3] = 200, 100  # either side of the cut-off: there wholly, or not at all
    mask = plane(SourceMaterial(image=image, alpha_mode="MASK", nearest=True), depth=0.2)
    behind = plane(SourceMaterial(base_color=(0, 0, 1, 1)), depth=-0.2, side=0.6)
    got = images(mask, behind)[0]
    assert got[16, 13].tolist() == [255, 0, 0, 255]
    assert got[16, 18].tolist() == [0, 0, 255, 255]
    assert got[16, 22].tolist() == [0, 0, 0, 0], "nothing behind the right edge"
    assert got[16, 8].tolist() == [255, 0, 0, 255]


def test_glass_lets_light_through():
    """40 % red glass before blue (OPAQUE: its alpha counts for nothing): mixed in linear light; alone 40 % opaque."""
    glass = plane(SourceMaterial(base_color=(1, 0, 0, 0.4), alpha_mode="BLEND"), depth=0.2)
    behind = plane(SourceMaterial(base_color=(0, 0, 1, 0.3)), depth=-0.2, side=0.4)
    got = images(glass, behind)[0]
    mixed = linear_to_srgb(torch.tensor([0.4, 0.0, 0.6])) * 255
    assert np.abs(got[16, 16, :3] - mixed.numpy()).max() <= 1
    assert got[16, 16, 3] == 255
    assert got[16, 9].tolist() == [255, 0, 0, 102]
    # Two panes of it: 1 − 0.6².
    twice = images(glass, plane(glass.material, depth=0.1))[0]
    assert abs(int(twice[16, 16, 3]) - 255 * (1 - 0.36)) <= 1


def test_transparent_pixels_are_black_and_edges_have_the_surface_color():
    """Straight alpha: an edge pixel has the surface's full color, whatever its coverage."""
    got = images(plane(SourceMaterial(base_color=(1, 0.5, 0, 1)), side=0.93))[0]
    assert not got[got[..., 3] == 0].any()
    edge = got[(got[..., 3] > 20) & (got[..., 3] < 235)]
    assert len(edge) > 20
    assert np.abs(edge[:, :3].astype(int) - [255, 128, 0]).max() <= 4


def test_soft_light_darkens_what_faces_down_and_albedo_does_not():
    white = plane(SourceMaterial())
    up = SourcePart(white.vertices[:, [0, 2, 1]] * [1, 1, -1], white.faces, white.material)
    above, below = orbit([0.0], 80.0), orbit([0.0], -80.0)
    soft = [int(images(up, cameras=c, look=Look("soft"))[0, 16, 16, 0]) for c in (above, below)]
    flat = [int(images(up, cameras=c, look=Look("albedo"))[0, 16, 16, 0]) for c in (above, below)]
    assert flat == [255, 255]
    assert soft[0] > soft[1] + 40


def test_vertex_normals_shade_smoothly_and_missing_ones_flatly():
    flat = plane(SourceMaterial())
    bent = np.array([[-1, 1, 1], [1, 1, 1], [1, -1, 1], [-1, -1, 1]], np.float32) / 3**0.5
    smooth = plane(SourceMaterial(), normals=bent)
    assert np.ptp(images(flat, look=Look("soft"))[0, 10:22, 16, 0]) == 0
    assert np.ptp(images(smooth, look=Look("soft"))[0, 10:22, 16, 0].astype(int)) > 20


def test_depth_and_normals():
    views = render_views(
        build_scene(SourceMesh("test", (plane(SourceMaterial(), depth=0.3),))), orbit([0.0, 180.0]), 16, geometry=True
    )
    assert views.depth.dtype == np.float32
    assert views.depth[0, 8, 8] == pytest.approx(1.7, abs=1e-5)
    assert views.depth[1, 8, 8] == pytest.approx(2.3, abs=1e-5)
    assert views.depth[0, 0, 0] == 0
    assert views.normals[0, 8, 8].tolist() == [0, 0, 1]
    assert views.normals[1, 8, 8].tolist() == [0, 0, -1]


def test_many_views_are_rendered_in_pieces(monkeypatch):
    import rendering.textured.views as module

    scene = build_scene(SourceMesh("test", (plane(SourceMaterial(base_color=(1, 0, 0, 1))),)))
    cameras = orbit([float(a) for a in range(0, 100, 20)])
    whole = render_views(scene, cameras, 16).images
    monkeypatch.setattr(module, "SAMPLES_PER_CALL", 2 * 32 * 32)
    assert (render_views(scene, cameras, 16).images == whole).all()


def test_near_a_silhouette_smooth_normals_stay_on_their_side():
    """Seen from below, a wall whose vertex normals look up, away from the camera: lit from above all the same."""
    bent = np.array([[0, 0.96, 0.28]] * 4, np.float32)
    got = images(plane(SourceMaterial(), normals=bent), cameras=orbit([0.0], -60.0), look=Look("soft", "sky"))[0]
    assert got[16, 16, 0] > 240


def test_occlusion_darkens_a_corner_and_nothing_else():
    floor = plane(SourceMaterial())
    floor = SourcePart(floor.vertices[:, [0, 2, 1]] * [1, 1, -1], floor.faces, floor.material)
    wall = plane(SourceMaterial(), depth=-0.5)
    wall = SourcePart(wall.vertices + np.array([0, 0.5, 0]), wall.faces, wall.material)
    cameras = orbit([0.0], 45.0)
    plain, dim = (
        images(floor, wall, resolution=64, cameras=cameras, look=Look("soft", "sky", occlusion=o))[0].astype(int)
        for o in (False, True)
    )
    assert (plain[..., 3] == dim[..., 3]).all()
    points = torch.tensor([[0.0, 0.02, -0.45], [0.0, 0.0, 0.45]])  # in the corner; far from the wall
    clip = cameras.transform_packed(points, torch.tensor([0, 2]))
    (x0, y0), (x1, y1) = ((clip[:, :2] / clip[:, 3:] + 1) * 32).long().tolist()
    assert dim[y0, x0, 0] < plain[y0, x0, 0] - 40
    assert abs(dim[y1, x1, 0] - plain[y1, x1, 0]) < 12


def test_a_mesh_of_600_thousand_faces():
    """A wavy sheet of 600,608 triangles: seen whole, its middle where it should be."""
    side = 549
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, side), np.linspace(-0.5, 0.5, side))
    vertices = np.stack([x, y, 0.01 * np.sin(40 * x)], -1).reshape(-1, 3)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).reshape(-1, 1)
    faces = np.concatenate([corner + np.array(ends) for ends in ((0, 1, side), (1, side + 1, side))]).astype(np.int32)
    sheet = SourcePart(vertices, faces, SourceMaterial(base_color=(0, 1, 0, 1)))
    assert len(faces) == 600_608
    got = images(sheet, resolution=64)[0]
    covered = got[..., 3] > 127
    assert abs(int(covered.sum()) - 32 * 32) < 70
    assert (got[covered][:, :3] == [0, 255, 0]).all()


LOOKS = [Look(), Look("soft"), Look("soft", "sky", occlusion=True)]


def glass_before_a_image() -> Scene:
    """Texture, glass and vertex normals: every branch of the renderer."""
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    bent = np.array([[-1, 1, 1], [1, 1, 1], [1, -1, 1], [-1, -1, 1]], np.float32) / 3**0.5
    glass = plane(SourceMaterial(base_color=(1, 0.2, 0.2, 0.4), alpha_mode="BLEND"), depth=0.2, side=0.5, normals=bent)
    leaf = plane(SourceMaterial(image=image, alpha_mode="MASK", wrap=("mirror", "clamp")), depth=-0.2)
    return build_scene(SourceMesh(Path("glass.glb"), (glass, leaf)))


@pytest.mark.parametrize("look", LOOKS)
def test_the_device_is_an_argument(look):
    scene, cameras = glass_before_a_image(), orbit([0.0, 50.0])
    first = render_views(scene, cameras, 32, look, geometry=True)
    again = render_views(scene, cameras, 32, look, geometry=True, device=torch.device("cpu"))
    assert (first.images == again.images).all()
    assert (first.depth == again.depth).all()


@pytest.mark.cuda
@pytest.mark.parametrize("look", LOOKS)
def test_cuda_draws_what_the_cpu_draws(look):
    scene, cameras = glass_before_a_image(), orbit([0.0, 50.0])
    first = render_views(scene, cameras, 64, look, geometry=True)
    again = render_views(scene, cameras, 64, look, geometry=True, device="cuda")
    assert (np.abs(first.images.astype(int) - again.images.astype(int)).max(-1) > 2).mean() < 0.01
    assert first.depth is not None
    assert (np.abs(first.depth - again.depth) > 1e-3).mean() < 0.01
