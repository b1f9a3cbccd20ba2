"""Datasets of other programs, converted in place: the cameras mean the same, the images stay where they are."""

import json
import math
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_tool.check import check_dataset
from dataset_tool.dataset import open_dataset
from dataset_tool.edit import pack
from dataset_tool.sources.convert import HALF_HEIGHT, Assumptions, convert
from rendering.camera import Cameras
from tests.rendering.scenes import clip_positions
from tests.tetragan.test_dataset import invoke
from torch_utils.errors import UserError


def write_image(path, seed, size=(16, 16), mode="RGBA"):
    """A file of random pixels; returns them."""
    channels = len(mode)
    pixels = np.random.default_rng(seed).integers(1, 256, (size[1], size[0], channels), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def pixel(cameras, point):
    """NDC of a world point in each camera [N, 2]."""
    points = torch.tensor(point, dtype=torch.float32).expand(len(cameras), 3)
    clip = clip_positions(cameras, points, torch.arange(len(cameras)))
    return clip[:, :2] / clip[:, 3:]


def stamps(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}


def get3d(root, count=3, views=2):
    for index in range(count):
        folder = f"02958343/car{index}"
        (root / "camera" / folder).mkdir(parents=True)
        np.save(root / "camera" / folder / "rotation.npy", np.array([0.0, 90.0 + index])[:views])
        np.save(root / "camera" / folder / "elevation.npy", np.array([10.0, 20.0])[:views])
        for view in range(views):
            write_image(root / "img" / folder / f"{view:03d}.png", 10 * index + view)
    return root


def test_get3d(tmp_path):
    """Blender's camera at rotation 0 stands behind the OBJ's −Z; ShapeNet v1 faces +X: that is its right side, 90°."""
    root = get3d(tmp_path / "data")
    before = stamps(root)
    text = invoke("convert", root, "--category", "car")
    assert "3 shapes (train 2, val 0, test 1) of 2 views, 16 px, layout get3d" in text
    assert stamps(root) == before, "no image is copied or touched"
    dataset = open_dataset(root)
    assert sorted(dataset.shape_ids()) == ["car0", "car1", "car2"]
    cameras = dataset.cameras(["car1", "car1"], [0, 1])
    torch.testing.assert_close(cameras.azimuth_rad().rad2deg(), torch.tensor([90.0, -179.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(cameras.elevation_rad().rad2deg(), torch.tensor([10.0, 20.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(cameras.position().norm(dim=1), torch.full((2,), 1.2))
    expected = np.random.default_rng(11).integers(1, 256, (16, 16, 4), dtype=np.uint8)
    assert (dataset.load("car1", 1) == expected).all()
    camera_distribution = dataset.camera_distribution
    assert camera_distribution.elevation_deg.bounds() == pytest.approx((10, 20), abs=1e-3)
    assert camera_distribution.radius.bounds() == pytest.approx((1.2, 1.2))
    # A packed conversion carries its images along.
    pack(dataset, tmp_path / "data.zip")
    assert (open_dataset(tmp_path / "data.zip").load("car1", 1) == expected).all()


def test_get3ds_cameras_are_those_of_its_blender_scene(tmp_path):
    """The published scene, multiplied out: a camera at (0, 1.2, 0) whose parent turns by elevation about X, then by
    rotation about Z; the OBJ imported with its Y up and its −Z along Blender's +Y. A ShapeNet v1 model faces +X.
    """
    root = get3d(tmp_path / "data")
    convert(root, Assumptions())
    cameras = open_dataset(root).cameras(["car2"] * 2, [0, 1])
    for view, (rotation, elevation) in enumerate(np.radians([[0.0, 10.0], [92.0, 20.0]])):
        c, s = math.cos(rotation), math.sin(rotation)
        about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        c, s = math.cos(elevation), math.sin(elevation)
        about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        pose = look_at(about_z @ about_x @ [0, 1.2, 0], [0, 0, 1])
        for front, up, side in ((0.4, 0.1, 0.2), (0.0, -0.3, 0.0)):
            # Along the model's front (+X), up (+Y) and left (−Z, that is +Y in Blender); ours: +Z, +Y, +X.
            local = np.linalg.inv(pose) @ [front, side, up, 1]
            focal = 35 / 16
            expected = focal * local[0] / -local[2], -focal * local[1] / -local[2]
            got = pixel(cameras, (side, up, front))[view]
            assert got.tolist() == pytest.approx(expected, abs=1e-5)


def look_at(position, up):
    """OpenGL camera-to-world of a camera at `position` that looks at the origin."""
    backward = np.asarray(position, float) / np.linalg.norm(position)
    right = np.cross(up, backward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(backward, right), backward], 1)
    pose[:3, 3] = position
    return pose


def nerf_scene(folder, positions, names=("train", "val", "test")):
    """NeRF-synthetic: +Z up, file names without suffix, one transforms file a split."""
    for number, name in enumerate(names):
        frames = []
        for index, position in enumerate(positions[number::3]):
            write_image(folder / name / f"r_{index}.png", 10 * number + index)
            frames.append(
                {"file_path": f"./{name}/r_{index}", "transform_matrix": look_at(position, [0, 0, 1]).tolist()}
            )
        (folder / f"transforms_{name}.json").write_text(json.dumps({"camera_angle_x": 0.69, "frames": frames}))


def test_nerf_synthetic(tmp_path):
    """+Z becomes up, −Y the front, and the framing that of the published cameras."""
    root = tmp_path / "data"
    nerf_scene(root / "lego", [(0, -4, 0), (4, 0, 0), (0, -3, 3), (1, -4, 1)])
    nerf_scene(root / "ship", [(0, -4, 0), (0, 4, 0), (-4, 0, 1)])
    before = stamps(root)
    convert(root, Assumptions())
    assert stamps(root) == before
    dataset = open_dataset(root)
    assert sorted(dataset.shape_ids()) == ["lego", "ship"]
    assert [dataset.views(name) for name in ("lego", "ship")] == [4, 3]
    cameras = dataset.cameras(["lego"] * 4, range(4))
    # Views in the order train (positions 0 and 3), val, test.
    azimuth, elevation = cameras.azimuth_rad().rad2deg(), cameras.elevation_rad().rad2deg()
    torch.testing.assert_close(azimuth, torch.tensor([0.0, 14.036, 90.0, 0.0]), atol=1e-2, rtol=0)
    torch.testing.assert_close(elevation, torch.tensor([0.0, 13.633, 0.0, 45.0]), atol=1e-2, rtol=0)
    both = Cameras.cat([cameras, dataset.cameras(["ship"] * 3, range(3))])
    seen = both.position().norm(dim=1) / both.focal[:, 1]
    assert float(seen.mean()) == pytest.approx(HALF_HEIGHT, rel=1e-5)
    # A point above the origin in their world lies above the middle in every image, where it did before.
    scale = np.linalg.norm(np.array(dataset.meta("lego")["source_to_world"])[:3, 0])
    assert (pixel(cameras, (0.0, float(scale), 0.0))[:, 1] < -0.1).all()
    expected = -math.cos(math.radians(45)) / (math.sqrt(18) - math.sin(math.radians(45))) / math.tan(0.69 / 2)
    assert float(pixel(cameras[3], (0.0, float(scale), 0.0))[0, 1]) == pytest.approx(expected, rel=1e-4)


def test_photographs_with_masks(tmp_path):
    """nerfstudio's transforms.json with intrinsics and mask_path; a frame without a mask among others is refused."""
    root = tmp_path / "photos"
    frames = []
    for index, position in enumerate([(0, -2, 0), (2, 0, 0)]):
        write_image(root / f"images/{index}.png", index, mode="RGB")
        mask = np.zeros((16, 16), np.uint8)
        mask[4:9, 5:] = 255
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / f"masks/{index}.png")
        pose = look_at(position, [0, 0, 1]).tolist()
        frames.append({"file_path": f"images/{index}.png", "mask_path": f"masks/{index}.png", "transform_matrix": pose})
    values = {"w": 16, "h": 16, "fl_x": 20, "fl_y": 20, "cx": 7, "cy": 9, "frames": frames}
    (root / "transforms.json").write_text(json.dumps(values))
    convert(root, Assumptions(world_scale=0.5))
    dataset = open_dataset(root)
    assert dataset.shape_ids() == ["photos"]
    image = dataset.load("photos", 1)
    assert (image[..., 3] == mask).all()
    camera = dataset.cameras(["photos"], [0])
    assert camera.principal[0].tolist() == pytest.approx([-0.125, 0.125])
    assert camera.focal[0].tolist() == pytest.approx([2.5, 2.5])
    assert float(camera.position().norm()) == pytest.approx(1.0)
    del frames[1]["mask_path"]
    (root / "dataset.json").unlink()
    (root / "transforms.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="1 of 2 frames have no mask_path"):
        convert(root, Assumptions())


def test_eg3d(tmp_path):
    """OpenCV axes: y down, z forward; images of one folder are views of one shape."""
    root = tmp_path / "data"
    labels = []
    for index, (shape, position) in enumerate([("a", (0, 0, 2.7)), ("a", (2.7, 0, 0)), ("b", (0, 1, 2.5))]):
        write_image(root / shape / f"{index}.png", index)
        pose = look_at(position, [0, 1, 0]) @ np.diag([1.0, -1, -1, 1])
        intrinsics = [[1.2, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]]
        labels.append([f"{shape}/{index}.png", [*pose.reshape(-1).tolist(), *np.reshape(intrinsics, -1).tolist()]])
    original = json.dumps({"labels": labels})
    (root / "dataset.json").write_text(original)
    convert(root, Assumptions(world_scale=1.0))
    assert (root / "dataset.eg3d.json").read_text() == original
    dataset = open_dataset(root)
    assert (dataset.views("a"), dataset.views("b")) == (2, 1)
    cameras = dataset.cameras(["a", "a", "b"], [0, 1, 0])
    expected = torch.tensor([0.0, 90.0, 0.0])
    torch.testing.assert_close(cameras.azimuth_rad().rad2deg(), expected, atol=1e-3, rtol=0)
    assert (pixel(cameras, (0.0, 0.0, 0.0)).abs() < 1e-5).all()
    assert ((cameras.position() * cameras.camera_to_world[:, :3, 2]).sum(1) > 2).all(), "they look at the origin"
    assert (cameras.camera_to_world[:, 1, 1] > 0.9).all(), "and stand upright"
    assert (pixel(cameras, (0.0, 0.3, 0.0))[:, 1] < 0).all()
    assert cameras.focal[0].tolist() == pytest.approx([2.4, 2.4])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: (r / "img/02958343/car1/001.png").unlink(), "1 images, but 2 rotations and 2 elevations"),
        (lambda r: np.save(r / "camera/02958343/car1/rotation.npy", [np.nan, 1]), "expected finite angles"),
        (lambda r: (r / "camera/02958343/car1/elevation.npy").unlink(), "elevation.npy: cannot be read"),
        (
            lambda r: (r / "camera/02958343/car1/elevation.npy").write_bytes(b"\x80\x04."),
            "elevation.npy: cannot be read",
        ),
        (
            lambda r: write_image(r / "img/02958343/car1/000.png", 0, (8, 8)),
            "000.png: 8x8 px, but most shapes have 16x16; bring them to one",
        ),
        (lambda r: write_image(r / "img/02958343/car1/000.png", 0, (8, 16)), "8x16 px; expected square images"),
        (lambda r: (r / "img/02958343/car1/000.png").write_bytes(b"no"), "cannot be read as an image"),
    ],
)
def test_a_damaged_shape_is_left_out_and_named(tmp_path, spoil, message):
    """Alone, it is what the command fails with."""
    root = get3d(tmp_path / "data")
    spoil(root)
    failures = {}
    convert(root, Assumptions(), failed=failures.__setitem__)
    assert sorted(open_dataset(root).shape_ids()) == ["car0", "car2"]
    [(name, reason)] = failures.items()
    assert "car1" in name and message in reason and "\n" not in reason
    if "most shapes" in message:
        return
    for other in ("car0", "car2"):
        shutil.rmtree(root / "camera/02958343" / other)
    (root / "dataset.json").unlink()
    with pytest.raises(UserError) as caught:
        convert(root, Assumptions())
    assert message in str(caught.value) and not (root / "dataset.json").exists()


def test_the_command_names_what_it_leaves_out(tmp_path, monkeypatch):
    root = tmp_path / "data"
    for name in ("a", "b", "broken"):
        nerf_scene(root / name, [(0, -4, 0), (4, 0, 0), (0, -3, 3)])
    (root / "broken/transforms_train.json").write_text('{"frames": [')
    (root / "locked").mkdir()
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    text = invoke("convert", root)
    assert "locked cannot be listed (Permission denied) and is passed over" in text
    assert "failed: " in text and "transforms_train.json: cannot be read as JSON" in text
    assert "2 shapes" in text and "1 left out (listed above; fix it, remove" in text
    assert sorted(open_dataset(root).shape_ids()) == ["a", "b"]
    nerf_scene(root / "fixed", [(0, -4, 0), (4, 0, 0), (0, -3, 3)])
    (root / "dataset.json").unlink()
    assert "3 shapes" in invoke("convert", root)


def test_as_many_images_of_one_size_as_of_another_are_refused(tmp_path):
    root = get3d(tmp_path / "data", count=2)
    write_image(root / "img/02958343/car1/000.png", 0, (8, 8))
    with pytest.raises(UserError, match=r"images of several sizes: 16x16 .*, 8x8"):
        convert(root, Assumptions())


def test_unknown_layouts_and_unfit_images(tmp_path):
    with pytest.raises(UserError, match="no known layout: expected img/ and camera/"):
        convert(tmp_path, Assumptions())
    nerf_scene(tmp_path, [(0, -4, 0), (4, 0, 0), (0, -3, 3)])
    for path in tmp_path.rglob("r_0.png"):
        write_image(path, 0, (16, 12))
    with pytest.raises(UserError, match="16x12 px; expected square images: crop them"):
        convert(tmp_path, Assumptions())


@pytest.mark.parametrize("layout", ["nerf", "eg3d"])
def test_a_conversion_that_was_stopped_is_done_again(tmp_path, monkeypatch, layout):
    root = tmp_path / "data"
    if layout == "nerf":
        nerf_scene(root, [(0, -4, 0), (4, 0, 0), (0, -3, 3)])
    else:
        write_image(root / "a.png", 0)
        pose = look_at((0, 0, 2.7), [0, 1, 0]) @ np.diag([1.0, -1, -1, 1])
        label = [*pose.reshape(-1).tolist(), 1.2, 0, 0.5, 0, 1.2, 0.5, 0, 0, 1]
        (root / "dataset.json").write_text(json.dumps({"labels": [["a.png", label]]}))
    with monkeypatch.context() as patch:
        patch.setattr("dataset_tool.sources.convert.write_header", lambda *_: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            convert(root, Assumptions())
    convert(root, Assumptions())
    dataset = open_dataset(root)
    assert dataset.load(dataset.shape_ids()[0], 0).any()


def test_a_converted_dataset_is_not_converted_again(tmp_path):
    root = tmp_path / "data"
    nerf_scene(root, [(0, -4, 0), (4, 0, 0), (0, -3, 3)])
    convert(root, Assumptions())
    with pytest.raises(UserError, match="is a TetraGAN dataset already"):
        convert(root, Assumptions())


def masked_photographs(root, masks, images=None, views=4):
    """Square photographs around the origin with these masks (and images) of 16 px."""
    frames = []
    for index in range(views):
        azimuth = 2 * math.pi * index / views
        pixels = np.full((16, 16, 3), 200, np.uint8) if images is None else images[index % len(images)]
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / f"images/{index}.png")
        pose = look_at((2 * math.cos(azimuth), 2 * math.sin(azimuth), 0), [0, 0, 1]).tolist()
        frames.append({"file_path": f"images/{index}.png", "transform_matrix": pose})
        if masks is not None:
            masks[index % len(masks)].save(root / f"images/{index}_mask.png")
            frames[-1]["mask_path"] = f"images/{index}_mask.png"
    (root / "transforms.json").write_text(json.dumps({"w": 16, "h": 16, "fl_x": 20, "frames": frames}))
    return root


def block(value, dtype=np.uint8, background=0):
    """A mask that is `value` in the middle."""
    mask = np.full((16, 16), background, dtype)
    mask[4:12, 5:13] = value
    return Image.fromarray(mask)


def test_masks_of_0_and_1_are_scaled_and_said(tmp_path):
    root = masked_photographs(tmp_path / "data", [block(1)])
    notes = []
    convert(root, Assumptions(), note=notes.append)
    assert notes == ["mask values 0 and 1 are taken as 0 and 255 (images/0_mask.png)"]
    alpha = open_dataset(root).load("data", 2)[..., 3]
    assert (alpha == np.asarray(block(255))).all()
    assert "blank views" not in {finding.kind for finding in check_dataset(open_dataset(root))}


def test_inverted_masks_are_refused_until_the_user_says_which_they_are(tmp_path):
    root = masked_photographs(tmp_path / "data", [block(0, background=255)])
    with pytest.raises(UserError, match=r"4 of 4 masks look inverted: .* add --masks black"):
        convert(root, Assumptions())
    assert not (root / "dataset.json").exists()
    convert(root, Assumptions(masks="black"))
    assert (open_dataset(root).load("data", 0)[..., 3] == np.asarray(block(255))).all()
    assert "mask of the background?" not in {finding.kind for finding in check_dataset(open_dataset(root))}
    other = masked_photographs(tmp_path / "other", [block(0, background=255)])
    convert(other, Assumptions(masks="white"))
    assert "mask of the background?" in {finding.kind for finding in check_dataset(open_dataset(other))}


def test_premultiplied_alpha_is_refused_until_the_user_says_which_it_is(tmp_path):
    alpha = np.zeros((16, 16), int)
    alpha[3:13, 3:13] = 128
    alpha[4:12, 4:12] = 255
    color = np.array([210, 120, 60])
    straight = np.concatenate([np.where(alpha[..., None] > 0, color, 0), alpha[..., None]], -1).astype(np.uint8)
    multiplied = straight.copy()
    multiplied[..., :3] = (straight[..., :3].astype(int) * alpha[..., None] + 127) // 255
    root = masked_photographs(tmp_path / "data", None, [multiplied])
    with pytest.raises(UserError, match="4 of 4 images look as if their colors were multiplied by alpha"):
        convert(root, Assumptions())
    convert(root, Assumptions(alpha="premultiplied"))
    assert np.abs(open_dataset(root).load("data", 0).astype(int) - straight).max() <= 1
    other = masked_photographs(tmp_path / "other", None, [straight])
    convert(other, Assumptions())
    assert (open_dataset(other).load("other", 0) == straight).all()


def test_views_of_no_use_are_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    edge = np.zeros((16, 16), np.uint8)
    edge[:9, 3:9] = 255
    masks = [
        Image.fromarray(np.zeros((16, 16), np.uint8)),
        Image.fromarray(edge),
        block(255),
        block(255, background=255),
    ]
    root = masked_photographs(tmp_path / "data", masks, [noise, noise, np.full((16, 16, 3), 90, np.uint8), noise])
    convert(root, Assumptions())
    found = {(finding.kind, finding.detail) for finding in check_dataset(open_dataset(root))}
    assert found >= {
        ("blank views", "views 0"),
        ("object cut by the frame", "views 1"),
        ("one color only", "views 2"),
        ("no mask (opaque views)", "views 3"),
    }


def test_side_files_of_macos_are_no_images(tmp_path):
    root = get3d(tmp_path / "data")
    (root / "img/02958343/car0/._000.png").write_bytes(b"\0\5\x16\7")
    (root / "camera/__MACOSX/car0").mkdir(parents=True)
    np.save(root / "camera/__MACOSX/car0/rotation.npy", [1.0])
    assert convert(root, Assumptions()).views == 2
