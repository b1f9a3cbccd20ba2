"""The reader, the image bank and the pixels: the format read back, and what is refused."""

import io
import json
import shutil
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_tool.dataset import open_dataset
from dataset_tool.format.dataset_json import digest, is_safe_id
from dataset_tool.format.pixels import decode, decode_mask, premultiplied, straight
from dataset_tool.image_bank import ImageBank
from tests.dataset_tool.shapes import FRONT_CAMERAS, random_images, write_dataset
from torch_utils.errors import UserError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("reader") / "data", count=6)


@pytest.fixture
def copy(data, tmp_path):
    """A dataset that a test may spoil."""
    return shutil.copytree(data, tmp_path / "data")


def zipped(folder, path, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_everything_written_is_read_back(data, tmp_path, kind):
    dataset = open_dataset(data if kind == "folder" else zipped(data, tmp_path / "data.zip"))
    assert (dataset.category, dataset.resolution, dataset.camera_distribution) == ("blob", 16, FRONT_CAMERAS)
    assert sorted(dataset.shape_ids()) == [f"s{i}" for i in range(6)]
    assert dataset.storage.shape_ids() == [f"s{i}" for i in range(6)]
    for index in (0, 5):
        assert dataset.views(f"s{index}") == 3
        for view in range(3):
            assert (dataset.load(f"s{index}", view) == random_images(index, 3, 16)[view]).all()
        points = torch.rand(2048, 3, generator=torch.Generator().manual_seed(index)) - 0.5
        assert (torch.from_numpy(dataset.points(f"s{index}")) == points).all()
        assert dataset.meta(f"s{index}")["caption"] == f"blob {index}"
    cameras = dataset.cameras(["s4", "s1"], [2, 0])
    assert (cameras.camera_to_world[0] == FRONT_CAMERAS.sample(4, [2]).camera_to_world[0]).all()
    assert (cameras.camera_to_world[1] == FRONT_CAMERAS.sample(1, [0]).camera_to_world[0]).all()
    assert dataset.hash() == open_dataset(data).hash()


def test_a_render_under_way_is_no_shape(copy):
    (copy / "shapes/.half.tmp").mkdir()
    assert open_dataset(copy).storage.shape_ids() == [f"s{i}" for i in range(6)]


def test_webp_is_lossless_and_keeps_hidden_colors(tmp_path):
    dataset = open_dataset(write_dataset(tmp_path / "webp", count=2, image_format="webp"))
    assert (tmp_path / "webp/shapes/s0/000.webp").is_file()
    assert (dataset.load("s1", 2) == random_images(1, 3, 16)[2]).all()


def test_downsampling_is_in_premultiplied_alpha():
    """One opaque red pixel beside three transparent white ones: red at a quarter, not pink."""
    image = np.zeros((2, 2, 4), np.uint8)
    image[..., :3] = 255
    image[0, 0] = (255, 0, 0, 255)
    assert straight(image, 2).tolist() == [[[255, 0, 0, 64]]]
    assert premultiplied(image, 2).tolist() == [[[64, 0, 0, 64]]]
    assert premultiplied(image).tolist()[0] == [[255, 0, 0, 255], [0, 0, 0, 0]]


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_downsampling_agrees_with_exact_averages(factor):
    image = random_images(0, 3, 16)[0]
    color = image[..., :3] / 255 * image[..., 3:] / 255
    exact = np.concatenate([color, image[..., 3:] / 255], -1)
    side = 16 // factor
    exact = exact.reshape(side, factor, side, factor, 4).mean((1, 3))
    assert np.abs(premultiplied(image, factor) / 255 - exact).max() <= 0.5 / 255 + 1e-9
    back = straight(image, factor) / 255.0
    assert np.abs(back[..., 3] - exact[..., 3]).max() <= 0.5 / 255 + 1e-9
    assert (
        np.abs(back[..., :3] - exact[..., :3] / np.maximum(exact[..., 3:], 1e-9))[exact[..., 3] > 0].max() < 0.6 / 255
    )


@pytest.mark.parametrize("cached", [True, False])
def test_image_bank_batches(data, tmp_path, cached):
    dataset = open_dataset(data)
    bank = ImageBank(dataset, ["s3", "s1"], 8, cache=tmp_path if cached else None)
    bank.prefetch([5, 0])
    assert len(bank) == 6
    images, cameras = bank.batch([5, 0])
    assert images.shape == (2, 4, 8, 8)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    for row, (index, view) in enumerate([(1, 2), (3, 0)]):
        expected = premultiplied(random_images(index, 3, 16)[view], 2).astype(np.float32).transpose(2, 0, 1)
        torch.testing.assert_close(images[row, :3], torch.from_numpy(expected[:3] / 127.5 - 1))
        torch.testing.assert_close(images[row, 3], torch.from_numpy(expected[3] / 255))
        assert (cameras.camera_to_world[row] == dataset.cameras([f"s{index}"], [view]).camera_to_world[0]).all()


def test_what_was_fetched_ahead_is_used_and_nothing_else(data, monkeypatch):
    bank = ImageBank(open_dataset(data), "train")
    expected = [bank.batch(indices)[0] for indices in ([1, 0], [2, 3])]
    bank.prefetch([1, 0])
    assert bank._ahead is not None
    bank._ahead[1].result()
    monkeypatch.setattr(bank, "_fetch", lambda _: pytest.fail("fetched again"))
    assert torch.equal(bank.batch(torch.tensor([1, 0]))[0], expected[0])
    monkeypatch.undo()
    bank.prefetch([1, 0])
    assert torch.equal(bank.batch([2, 3])[0], expected[1])


def test_image_bank_takes_a_split_and_index_tensors(data):
    dataset = open_dataset(data)
    bank = ImageBank(dataset, "train")
    assert bank.shape_ids == dataset.splits["train"]
    assert bank.resolution == 16
    assert bank.shape_of.tolist() == [i for i in range(len(bank.shape_ids)) for _ in range(3)]
    assert torch.equal(bank.batch(torch.tensor([4]))[0], bank.batch([4])[0])
    assert bank.class_labels([0, 4]).tolist() == [0, 0]


@pytest.mark.parametrize("resolution", [12, 32, 5])
def test_unfit_resolutions_are_refused(data, resolution):
    with pytest.raises(UserError, match=f"resolution {resolution} does not divide the stored 16; use one of 16, 8, 4"):
        ImageBank(open_dataset(data), "train", resolution)


def test_hash_changes_with_a_split_and_with_content(copy):
    before = open_dataset(copy).hash()
    path = copy / "dataset.json"
    header = json.loads(path.read_text())
    header["splits"]["train"], header["splits"]["val"] = header["splits"]["val"], header["splits"]["train"]
    path.write_text(json.dumps(header))
    assert open_dataset(copy).hash() != before


def test_a_dataset_with_the_former_key_of_its_cameras_opens_and_keeps_its_hash(copy):
    current = open_dataset(copy)
    path = copy / "dataset.json"
    values = json.loads(path.read_text())
    values["camera_law"] = values.pop("camera_distribution")
    path.write_text(json.dumps(values))
    former = open_dataset(copy)
    assert former.camera_distribution == FRONT_CAMERAS
    # Runs remember the hash, which was taken over the former key.
    assert former.hash() == current.hash() == digest(values)


def spoil_cameras(copy, change):
    path = copy / "shapes/s0/transforms.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_intrinsics_of_frames_and_field_of_view_alone(copy):
    def only_angle(values):
        for name in ("fl_x", "fl_y", "cx", "cy"):
            del values[name]
        values["frames"][1] |= {"fl_x": 16, "fl_y": 8, "cx": 4, "cy": 12}

    spoil_cameras(copy, only_angle)
    cameras = open_dataset(copy).cameras(["s0", "s0"], [0, 1])
    torch.testing.assert_close(cameras.focal[0], FRONT_CAMERAS.sample(0, [0]).focal[0], atol=1e-4, rtol=0)
    assert cameras.focal[1].tolist() == [2, 1]
    assert cameras.principal.tolist() == [[0, 0], [-0.5, 0.5]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("frames"), "no 'frames'"),
        (lambda v: v["frames"].clear(), "at least one frame"),
        (lambda v: [v.pop("fl_x"), v.pop("camera_angle_x")], "no 'fl_x or camera_angle_x'"),
        (lambda v: v["frames"][1].pop("transform_matrix"), "no 'transform_matrix'"),
        (lambda v: v["frames"][1]["transform_matrix"][0].pop(), "not a transforms.json"),
        (lambda v: v["frames"][0]["transform_matrix"][0].__setitem__(0, float("nan")), "finite"),
        (
            lambda v: v["frames"][0]["transform_matrix"][1].__setitem__(1, 3.0),
            "frame 0: transform_matrix is not a rigid",
        ),
        (lambda v: v.update(k1=0.1), "distortion k1"),
        (lambda v: v.update(fl_x=-1), "positive focal"),
        (lambda v: v.update(w=0), "division by zero"),
        (lambda v: v.update(h=[1]), "not a transforms.json"),
        (lambda v: v["frames"][0]["transform_matrix"][0].__setitem__(3, 1e300), "expected a finite 4x4"),
        (lambda v: v["frames"][0]["transform_matrix"][0].__setitem__(0, 1e300), "expected a finite 4x4"),
    ],
)
def test_bad_cameras_are_one_line(copy, change, message):
    spoil_cameras(copy, change)
    with pytest.raises(UserError) as caught:
        open_dataset(copy).frames("s0")
    assert message in str(caught.value)
    assert "transforms.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_of_more_pixels_than_its_file_can_hold_is_not_decoded(copy):
    Image.new("L", (9000, 9000)).save(copy / "shapes/s0/000.png")
    with pytest.raises(UserError, match=r"000\.png: not a readable image \(9000x9000 px in \d+ bytes\)"):
        open_dataset(copy).load("s0", 0)


def test_deeply_nested_json_is_one_line(copy):
    for name, use in (
        ("dataset.json", lambda: open_dataset(copy)),
        ("shapes/s0/meta.json", lambda: open_dataset(copy).meta("s0")),
        ("shapes/s0/transforms.json", lambda: open_dataset(copy).frames("s0")),
    ):
        before = (copy / name).read_bytes()
        (copy / name).write_text("[" * 100_000)
        with pytest.raises(UserError, match=f"{name}: cannot be read as JSON"):
            use()
        (copy / name).write_bytes(before)


def test_masks_beside_rgb_images(copy):
    """A photograph with its mask: the mask's gray values become alpha."""
    rgb = np.full((16, 16, 3), 200, np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:8] = 255
    Image.fromarray(rgb).save(copy / "shapes/s0/000.png")
    Image.fromarray(mask).save(copy / "shapes/s0/mask0.png")
    assert (open_dataset(copy).load("s0", 0)[..., 3] == 255).all()
    spoil_cameras(copy, lambda v: v["frames"][0].update(mask_path="mask0.png"))
    image = open_dataset(copy).load("s0", 0)
    assert (image[..., 3] == mask).all()
    assert (image[..., :3] == 200).all()


def test_images_elsewhere_in_the_dataset_but_never_outside(copy):
    shutil.move(copy / "shapes/s0/000.png", copy / "image.png")
    spoil_cameras(copy, lambda v: v["frames"][0].update(file_path="..\\..\\image.png"))
    assert (open_dataset(copy).load("s0", 0) == random_images(0, 3, 16)[0]).all()
    shutil.move(copy / "image.png", copy.parent / "image.png")
    spoil_cameras(copy, lambda v: v["frames"][0].update(file_path="../../../image.png"))
    with pytest.raises(UserError, match="outside the dataset, where nothing is read; move it into the folder"):
        open_dataset(copy).load("s0", 0)


def bomb(path):
    """80 MB of zeros in 80 kB."""
    np.savez_compressed(path, points=np.zeros((20_000_000, 1), np.float32))


def boast(path):
    """A header that speaks of a terabyte."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**11, 3)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("points.npy", header.getvalue())


def truncate(path):
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("spoil", "use", "message"),
    [
        (lambda d: truncate(d / "shapes/s0/000.png"), lambda x: x.load("s0", 0), "000.png: not a readable image"),
        (lambda d: (d / "shapes/s0/000.png").unlink(), lambda x: x.load("s0", 0), "000.png: cannot be read"),
        (
            lambda d: Image.new("RGBA", (16, 8)).save(d / "shapes/s0/000.png"),
            lambda x: x.load("s0", 0),
            "expected 16x16 px, got 16x8",
        ),
        (lambda d: (d / "shapes/s0/transforms.json").unlink(), lambda x: x.views("s0"), "has no cameras for s0"),
        (lambda d: truncate(d / "shapes/s0/points.npz"), lambda x: x.points("s0"), "points.npz: cannot be read"),
        (lambda d: bomb(d / "shapes/s0/points.npz"), lambda x: x.points("s0"), "it unpacks to 80 MB"),
        (lambda d: boast(d / "shapes/s0/points.npz"), lambda x: x.points("s0"), "points.npz: cannot be read"),
        (
            lambda d: (d / "shapes/s0/meta.json").write_text("{"),
            lambda x: x.meta("s0"),
            "meta.json: cannot be read as JSON",
        ),
        (lambda d: (d / "shapes/s0/meta.json").write_text("[]"), lambda x: x.meta("s0"), "expected an object"),
    ],
)
def test_damaged_files_are_named(copy, spoil, use, message):
    spoil(copy)
    with pytest.raises(UserError) as caught:
        use(open_dataset(copy))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(version=9), "format version 9; this program reads version 1"),
        (lambda h: h.pop("format"), "not a TetraGAN dataset"),
        (lambda h: h.update(resolution="big"), "resolution"),
        (lambda h: h.update(splits={}), "its render was not finished"),
        (lambda h: h["splits"].update(train=["../../etc"]), "is not a shape id"),
        (lambda h: h["splits"].update(extra=[]), "splits: expected train, val, test, got extra"),
        (lambda h: h.update(labels={"s0": 3}), "s0 has class 3 of 0"),
        (lambda h: h["camera_distribution"].update(radius=-1), "camera_distribution"),
    ],
)
def test_bad_headers_are_one_line(copy, change, message):
    path = copy / "dataset.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(UserError) as caught:
        open_dataset(copy)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_dataset_is_refused(tmp_path, data):
    with pytest.raises(UserError, match="no such dataset; make one with: tetragan dataset render"):
        open_dataset(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no dataset\.json in it"):
        open_dataset(tmp_path / "empty")
    (tmp_path / "file").write_text("hello")
    with pytest.raises(UserError, match="expected a dataset folder or a zip"):
        open_dataset(tmp_path / "file")
    with pytest.raises(UserError, match="is compressed; expected a stored zip"):
        open_dataset(zipped(data, tmp_path / "deflated.zip", zipfile.ZIP_DEFLATED))


def test_damaged_zip_entries_are_named(data, tmp_path):
    path = zipped(data, tmp_path / "data.zip")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("shapes/s0/000.png")
    content[info.header_offset + 30 + len(info.filename) + 60] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"000\.png is damaged"):
        open_dataset(path).load("s0", 0)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a:b", "x" * 201])
def test_unsafe_ids(name):
    assert not is_safe_id(name)
    assert is_safe_id("1a04e3eab45ca15dd86060f189eb133")


def test_line_breaks_of_a_file_stay_out_of_messages(tmp_path):
    (tmp_path / "dataset.json").write_text(
        '{"format": "tetragan-dataset", "version": 1, "resolution": 1, "views": 2, "splits": {"t\\n\\u2028x": []}}',
        encoding="utf-8",
    )
    with pytest.raises(UserError) as error:
        open_dataset(tmp_path)
    assert r"t\n\u2028x" in str(error.value) and len(str(error.value).splitlines()) == 1


def test_floats_are_counted_before_they_are_decoded():
    """A deflated TIFF of zeros: 17 million floats in 70 kB."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((4300, 4000), np.float32)).save(file, "TIFF", compression="tiff_adobe_deflate")
    with pytest.raises(UserError, match="4000x4300 px in"):
        decode(file.getvalue(), "a.tiff")


def test_bits_are_counted_as_the_bytes_they_take():
    """A deflated TIFF of 37 million bits in 5 kB, as a view and as a mask."""
    file = io.BytesIO()
    Image.new("1", (6100, 6100)).save(file, "TIFF", compression="tiff_adobe_deflate")
    for read in (decode, decode_mask):
        with pytest.raises(UserError, match="6100x6100 px in"):
            read(file.getvalue(), "a.tiff")
    file = io.BytesIO()
    Image.new("1", (4096, 4096)).save(file, "TIFF", compression="tiff_adobe_deflate")
    assert decode_mask(file.getvalue(), "a.tiff")[0].max() == 0


def test_a_tiff_whose_strip_offsets_are_floats():
    """Pillow 13 raises a TypeError when it decodes it."""
    file = io.BytesIO()
    Image.new("L", (4, 4), 7).save(file, "TIFF")
    data = file.getvalue()
    entry = data.index(struct.pack("<HHI", 273, 4, 1))
    damaged = data[: entry + 2] + struct.pack("<HIf", 11, 1, 4.0) + data[entry + 12 :]
    for read in (decode, decode_mask):
        with pytest.raises(UserError, match=r"a\.tiff: not a readable image"):
            read(damaged, "a.tiff")
